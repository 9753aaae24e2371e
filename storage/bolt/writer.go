package bolt

import (
	"context"
	"errors"

	"go.etcd.io/bbolt"
)

// maxBatch is the greatest number of changes in one transaction. More of them
// only make the first one wait longer.
const maxBatch = 256

var errClosed = errors.New("the store is closed")

// change is a call's part of a transaction. do may run more than once.
type change struct {
	do   func(*bbolt.Tx) error
	err  error // of the last run of do, or of the commit
	done chan struct{}
}

// write runs do in a transaction and returns when it is on disk. Calls that
// come while a transaction is being written wait for it, and then share the
// next one; a call that comes alone starts at once. The queue is the callers
// themselves, so it needs no bound of its own.
func (s *Store) write(ctx context.Context, do func(*bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &change{do: do, done: make(chan struct{})}
	select {
	case s.changes <- c:
		<-c.done // it has begun: only its outcome counts now
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.quit:
		return errClosed
	}
}

// writer is the one goroutine that changes the file.
func (s *Store) writer() {
	defer close(s.stopped)
	var batch []*change
	for {
		select {
		case c := <-s.changes:
			batch = append(batch[:0], c)
		case <-s.quit:
			return
		}
		batch = s.gather(batch)
		s.commit(batch)
		for i, c := range batch {
			close(c.done)
			batch[i] = nil
		}
	}
}

// gather adds the calls that wait. (Giving those just answered a chance to
// come back first was measured and gains nothing.)
func (s *Store) gather(batch []*change) []*change {
	for len(batch) < maxBatch {
		select {
		case c := <-s.changes:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// commit writes the changes in one transaction and sets their errors. A change
// that fails is left out and the others are done again without it.
func (s *Store) commit(batch []*change) {
	for {
		failed := false
		err := s.update(func(tx *bbolt.Tx) error {
			for _, c := range batch {
				if c.err != nil {
					continue
				}
				if c.err = c.do(tx); c.err != nil {
					failed = true
					return c.err
				}
			}
			return nil
		})
		if err == nil {
			return
		}
		if failed {
			continue
		}
		for _, c := range batch {
			if c.err == nil {
				c.err = err
			}
		}
		return
	}
}

// update runs one transaction. After a panic in one the locks of the file's
// map may be held, so nothing is written any more.
func (s *Store) update(do func(*bbolt.Tx) error) error {
	if s.damage != nil {
		return s.damage
	}
	panicked := true
	err := guard(func() error {
		err := s.db.Update(do)
		panicked = false
		return err
	})
	if panicked {
		s.damage = err
	}
	return err
}

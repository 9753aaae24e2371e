// Package bolt is the Store of one machine: a single bbolt file, crash-safe,
// without a server. Writes of concurrent callers share transactions
// (writer.go), since each one costs an fsync; reads copy out of the mapped
// file in short transactions, so that none holds up a writer.
//
// keys.go says what the file holds, records.go how a record looks. The package
// knows nothing of HTTP or of what is allowed: roles/lapi calls it.
package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"cs/platform"
	"cs/storage"
)

// lockWait is how long Open waits for another process to let go of the file,
// such as the one that is just being replaced.
const lockWait = time.Second

// growBy is by how much the file grows at a time, where it has a map ahead:
// there are holes in it until something is written.
const growBy = 1 << 20

var _ storage.Store = (*Store)(nil)

// Store is an open file. Use Open; Close it.
type Store struct {
	path    string
	file    *os.File // the one db has
	db      *bbolt.DB
	changes chan *change
	quit    chan struct{} // closed: take no more changes
	stopped chan struct{} // closed: the writer is gone
	close   func() error
	damage  error // the panic that ended the writing; the writer's own
}

// Open opens the file, or makes it with mode 0600, and checks it. Its
// directory must exist. The error is storage.ErrLocked when another process
// holds the file for longer than a second, and storage.ErrCorrupt when it is
// damaged; both name the file.
func Open(ctx context.Context, path string) (*Store, error) {
	s := &Store{
		path:    path,
		changes: make(chan *change),
		quit:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	s.close = sync.OnceValue(s.shut)
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	go s.writer()
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	_, err := os.Stat(s.path)
	isNew := errors.Is(err, fs.ErrNotExist)
	if err := s.lock(ctx); err != nil {
		return err
	}
	if err := guard(s.prepare); err != nil {
		s.release()
		return err
	}
	if isNew {
		// The acknowledged writes are in the file; this keeps its name.
		if err := platform.SyncDir(filepath.Dir(s.path)); err != nil {
			s.release()
			return err
		}
	}
	return nil
}

// lock opens the file, trying again until lockWait is over while another
// process has it.
func (s *Store) lock(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lockWait, storage.ErrLocked)
	defer cancel()
	for {
		err := guard(func() (err error) {
			s.db, err = bbolt.Open(s.path, 0o600, &bbolt.Options{
				Timeout:         1, // try once: the waiting is done here
				FreelistType:    bbolt.FreelistMapType,
				InitialMmapSize: mapAhead,
				NoStatistics:    true,
				OpenFile: func(name string, flag int, perm os.FileMode) (f *os.File, err error) {
					f, err = os.OpenFile(name, flag, perm)
					s.file = f
					return f, err
				},
			})
			return err
		})
		if err == nil {
			s.db.AllocSize = growBy
			return nil
		}
		s.release()
		if !errors.Is(err, berrors.ErrTimeout) {
			return s.explain(err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// explain turns bbolt's findings about the file as a whole into ErrCorrupt.
func (s *Store) explain(err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, storage.ErrCorrupt):
		return err
	case errors.As(err, &path) && path.Path == s.path:
		return path.Err // Open says the path
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return corrupt(err)
	}
	if info, serr := s.stat(); serr == nil && info.Size() > 0 && info.Size() < int64(2*os.Getpagesize()) {
		return corrupt(err) // too short for the two pages every file begins with
	}
	return err
}

func (s *Store) stat() (fs.FileInfo, error) {
	if s.file != nil {
		if info, err := s.file.Stat(); err == nil {
			return info, nil
		}
	}
	return os.Stat(s.path)
}

// prepare makes the buckets of a new file, checks those of an old one and
// brings it up to date.
func (s *Store) prepare() error {
	version := uint64(0)
	err := s.db.View(func(tx *bbolt.Tx) error {
		info, err := s.file.Stat()
		if err != nil {
			return err
		}
		if tx.Size() > info.Size() {
			// Reading beyond the end would be a bus error.
			return corrupt(fmt.Errorf("it has %d of %d bytes", info.Size(), tx.Size()))
		}
		if key, _ := tx.Cursor().First(); key == nil {
			return nil // new
		}
		version, err = check(tx)
		return err
	})
	if err != nil || version == schema {
		return err
	}
	return s.db.Update(func(tx *bbolt.Tx) error { return upgrade(tx, version) })
}

// upgrade makes what a file of a schema lacks; 0 is a new file.
func upgrade(tx *bbolt.Tx, from uint64) error {
	for _, b := range buckets {
		if b.since <= from {
			continue
		}
		if _, err := tx.CreateBucket(b.name); err != nil {
			return err
		}
	}
	if from == 1 {
		heads := tx.Bucket(alertHeadsBucket)
		heads.FillPercent = fill
		err := tx.Bucket(alertsBucket).ForEach(func(key, record []byte) error {
			var a alertRecord
			if err := decode(alertVersion, record, nil, &a, (*coder).alert); err != nil {
				return fmt.Errorf("alert %d: %w", keyID(key), recordError(err))
			}
			a.ID = keyID(key)
			return putHead(heads, &a)
		})
		if err != nil {
			return err
		}
	}
	return tx.Bucket(metaBucket).Put(schemaKey, binary.AppendUvarint(nil, schema))
}

// check goes through all keys of the file and returns its schema. The pages of
// long values stay unread, so it costs little more than reading the decisions,
// which happens at every start anyway.
func check(tx *bbolt.Tx) (version uint64, err error) {
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		return 0, errors.New("it is a bbolt file of another program")
	}
	version, n := binary.Uvarint(meta.Get(schemaKey))
	switch {
	case n <= 0 || version == 0:
		return 0, corrupt(errors.New("its schema version is unreadable"))
	case version > schema:
		return 0, fmt.Errorf("a newer version of the program wrote it (schema %d, this one knows %d)", version, schema)
	}
	for _, known := range buckets {
		if known.since > version {
			continue
		}
		b := tx.Bucket(known.name)
		if b == nil {
			return 0, corrupt(fmt.Errorf("bucket %s is missing", known.name))
		}
		var last []byte
		err := b.ForEach(func(key, _ []byte) error {
			if last != nil && bytes.Compare(key, last) <= 0 {
				return corrupt(fmt.Errorf("the keys of bucket %s are out of order", known.name))
			}
			last = key
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return version, nil
}

// Close waits for the transaction that is being written. Later calls fail.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut() error {
	close(s.quit)
	<-s.stopped
	if err := s.release(); err != nil {
		return fmt.Errorf("cannot close %s: %w", s.path, err)
	}
	return nil
}

// release gives the file back.
func (s *Store) release() error {
	if s.db != nil && s.damage == nil {
		return s.db.Close()
	}
	// After a panic the locks within db may be held for ever, so only the file
	// below it is closed.
	if s.file != nil {
		unlock(s.file)
		s.file.Close()
	}
	return nil
}

// read runs do in a transaction that sees one state of the file. What do keeps
// must be copied out.
func (s *Store) read(ctx context.Context, do func(*bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.quit:
		return errClosed
	default:
	}
	return guard(func() error { return s.db.View(do) })
}

// guard runs f, which uses the mapped file. bbolt panics when it finds a page
// that can't be, and a page that is not there faults: both become an error.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = corrupt(fmt.Errorf("%v", r))
		}
	}()
	return f()
}

// corrupt says what to do about a damaged file.
func corrupt(cause error) error {
	return fmt.Errorf("%w (%v): stop the program, then run 'cs lapi repair', put a copy back, or move the file away to begin anew",
		storage.ErrCorrupt, cause)
}

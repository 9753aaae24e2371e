package lapi

import (
	"context"
	"errors"
	"sync"
	"time"
)

// turns lets few at a time have something large in memory, and of one sender only
// one. Who has a turn may be slow as long as nobody else waits; while somebody
// does, it is over after a fair time.
type turns struct {
	most int
	fair time.Duration

	mu      sync.Mutex
	having  map[string]*turn // by sender
	waiting []*turn          // who came first is first
}

type turn struct {
	of    *turns
	who   string
	begun chan struct{} // closed when it has begun
	hurry func()        // ends what the sender does slowly; nil: it is done
	late  *time.Timer   // rings when the fair time is over

	overdue, hurried bool
}

func newTurns(most int, fair time.Duration) *turns {
	return &turns{most: most, fair: fair, having: make(map[string]*turn)}
}

// errHurried: others waited for too long for a slow sender.
var errHurried = errors.New("the body comes too slowly while others wait")

// take waits for a turn of somebody. When it has been overdue hurry may be called, from
// another goroutine, until arrived is. The turn must be ended.
func (q *turns) take(ctx context.Context, who string, hurry func()) (*turn, error) {
	t := &turn{of: q, who: who, begun: make(chan struct{}), hurry: hurry}
	q.mu.Lock()
	q.waiting = append(q.waiting, t)
	q.next()
	q.mu.Unlock()
	select {
	case <-t.begun:
		return t, nil
	case <-ctx.Done():
		t.end()
		return nil, ctx.Err()
	}
}

// next begins the turns for which there is room, and hurries those up who are
// overdue, one for each that waits. The caller holds mu.
func (q *turns) next() {
	others, kept := 0, q.waiting[:0]
	for _, t := range q.waiting {
		switch {
		case q.having[t.who] != nil:
			kept = append(kept, t)
		case len(q.having) == q.most:
			kept = append(kept, t)
			others++
		default:
			q.having[t.who] = t
			t.late = time.AfterFunc(q.fair, t.ring)
			close(t.begun)
		}
	}
	clear(q.waiting[len(kept):])
	q.waiting = kept
	for _, t := range q.having {
		if t.hurried {
			others--
		}
	}
	for _, t := range q.having {
		if others > 0 && t.overdue && !t.hurried && t.hurry != nil {
			t.hurried = true
			t.hurry()
			others--
		}
	}
}

func (t *turn) ring() {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.overdue = true
	t.of.next()
}

// arrived notes that all is there, and tells whether the sender was hurried up before.
func (t *turn) arrived() (hurried bool) {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.hurry = nil
	return t.hurried
}

// end lets the next one begin.
func (t *turn) end() {
	q := t.of
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.having[t.who] == t {
		delete(q.having, t.who)
		t.late.Stop()
	} else {
		for i, w := range q.waiting {
			if w == t {
				q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
				break
			}
		}
	}
	q.next()
}

package enrich

import (
	"context"
	"sync"
	"time"
)

const (
	maxQueries = 64 // at once; a further question is answered with nothing

	// queryTime bounds a query, and so how long a line can wait for it.
	queryTime = 3 * time.Second
	// waitShare bounds how long lines wait in all: a line that waited owes
	// this many times as long without waiting. So servers that don't answer take
	// a fifth of the speed, not all of it.
	waitShare = 4
)

// asker asks a service in the network and remembers the answers. A query goes
// on when its caller waits no longer, so that the next one who asks has the
// answer.
type asker[K comparable, V any] struct {
	now  func() time.Time
	most int // answers; one that comes then takes the place of any other

	// query asks, and tells for how long the answer is good.
	query func(ctx context.Context, question K) (v V, keep time.Duration)

	mu      sync.Mutex
	answers map[K]*answer[V]
	queries int           // that are under way
	credit  time.Duration // how long lines may wait now
	counted time.Time     // when credit was
}

type answer[V any] struct {
	known   chan struct{} // closed when the query has ended
	v       V
	expires time.Time
}

func newAsker[K comparable, V any](most int, query func(context.Context, K) (V, time.Duration)) *asker[K, V] {
	return &asker[K, V]{now: time.Now, most: most, query: query, answers: make(map[K]*answer[V]), credit: queryTime}
}

// ask returns the answer to a question. ok is false when it takes too long.
func (n *asker[K, V]) ask(q K) (v V, ok bool) {
	n.mu.Lock()
	now := n.now()
	a := n.answers[q]
	switch {
	case a != nil && a.expires.IsZero(): // under way
	case a != nil && now.Before(a.expires):
		n.mu.Unlock()
		return a.v, true
	case n.queries >= maxQueries:
		n.mu.Unlock()
		return v, false
	default:
		a = n.start(q)
	}
	n.credit = min(queryTime, n.credit+max(0, now.Sub(n.counted))/waitShare)
	n.counted = now
	wait := n.credit
	n.mu.Unlock()

	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	select {
	case <-a.known:
	case <-timeout.C:
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.credit = max(0, n.credit-n.now().Sub(now))
	return a.v, !a.expires.IsZero()
}

// expect sends a query, unless there is an answer or one on its way, for somebody who
// will ask soon.
func (n *asker[K, V]) expect(q K) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a := n.answers[q]; (a == nil || !a.expires.IsZero() && !n.now().Before(a.expires)) && n.queries < maxQueries {
		n.start(q)
	}
}

// start sends a query. The lock is held.
func (n *asker[K, V]) start(q K) *answer[V] {
	for old := range n.answers { // any one makes room, but not for itself
		if len(n.answers) < n.most {
			break
		}
		delete(n.answers, old)
	}
	a := &answer[V]{known: make(chan struct{})}
	n.answers[q] = a
	n.queries++
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), queryTime)
		defer cancel()
		v, keep := n.query(ctx, q)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.queries--
		a.v, a.expires = v, n.now().Add(keep)
		close(a.known)
	}()
	return a
}

package enrich

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	keepName   = time.Hour       // an answer
	keepNoName = 5 * time.Minute // that there is none
	maxNames   = 16384           // answers; one that comes then takes the place of any other
	maxTexts   = 16              // of an answer that are kept
	maxQueries = 64              // at once; a further question is answered with nothing

	// queryTime bounds a query, and so how long a line can wait for it.
	queryTime = 3 * time.Second
	// waitShare bounds how long lines wait in all: a line that waited owes
	// this many times as long without waiting. So name servers that don't
	// answer take a fifth of the speed, not all of it.
	waitShare = 4
)

// names asks name servers and remembers the answers. A query goes on when its
// caller waits no longer, so that the next one who asks has the answer.
type names struct {
	now   func() time.Time
	ptr   func(ctx context.Context, ip string) ([]string, error)
	hosts func(ctx context.Context, name string) ([]string, error)

	mu      sync.Mutex
	answers map[question]*answer
	queries int           // that are under way
	credit  time.Duration // how long lines may wait now
	counted time.Time     // when credit was
}

// question is an address or a name.
type question struct {
	ip   netip.Addr
	name string
}

type answer struct {
	known   chan struct{} // closed when the query has ended
	texts   []string      // nil: there is none
	expires time.Time
}

func newNames() *names {
	return &names{
		now:     time.Now,
		ptr:     net.DefaultResolver.LookupAddr,
		hosts:   net.DefaultResolver.LookupHost,
		answers: make(map[question]*answer),
		credit:  queryTime,
	}
}

// ask returns the answer to a question, nil when there is none or it takes too
// long.
func (n *names) ask(q question) []string {
	n.mu.Lock()
	now := n.now()
	a := n.answers[q]
	switch {
	case a != nil && a.expires.IsZero(): // under way
	case a != nil && now.Before(a.expires):
		n.mu.Unlock()
		return a.texts
	case n.queries >= maxQueries:
		n.mu.Unlock()
		return nil
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
	return a.texts
}

// start sends a query. The lock is held.
func (n *names) start(q question) *answer {
	for old := range n.answers { // any one makes room, but not for itself
		if len(n.answers) < maxNames {
			break
		}
		delete(n.answers, old)
	}
	a := &answer{known: make(chan struct{})}
	n.answers[q] = a
	n.queries++
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), queryTime)
		defer cancel()
		var texts []string
		var err error
		if q.name != "" {
			texts, err = n.hosts(ctx, q.name)
		} else {
			texts, err = n.ptr(ctx, q.ip.String())
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.queries--
		if err == nil && len(texts) > 0 {
			a.texts = slices.Clone(texts[:min(len(texts), maxTexts)])
			a.expires = n.now().Add(keepName)
		} else {
			a.expires = n.now().Add(keepNoName)
		}
		close(a.known)
	}()
	return a
}

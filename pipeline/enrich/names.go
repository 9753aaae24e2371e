package enrich

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

// DNS says for how long the answers of name servers are remembered, and how
// many. What is 0 has its default.
type DNS struct {
	TTL         time.Duration // of an answer: an hour
	NegativeTTL time.Duration // of the fact that there is none: 5 minutes
	Size        int           // answers: 16384
}

const (
	keepName   = time.Hour
	keepNoName = 5 * time.Minute
	maxNames   = 16384
	maxTexts   = 16 // of an answer that are kept
)

// names asks name servers.
type names struct {
	*asker[question, []string]
	ptr   func(ctx context.Context, ip string) ([]string, error)
	hosts func(ctx context.Context, name string) ([]string, error)
}

// question is an address or a name.
type question struct {
	ip   netip.Addr
	name string
}

func newNames(d DNS) *names {
	n := &names{ptr: net.DefaultResolver.LookupAddr, hosts: net.DefaultResolver.LookupHost}
	if d.TTL <= 0 {
		d.TTL = keepName
	}
	if d.NegativeTTL <= 0 {
		d.NegativeTTL = keepNoName
	}
	if d.Size <= 0 {
		d.Size = maxNames
	}
	n.asker = newAsker(d.Size, func(ctx context.Context, q question) (texts []string, keep time.Duration) {
		var err error
		if q.name != "" {
			texts, err = n.hosts(ctx, q.name)
		} else {
			texts, err = n.ptr(ctx, q.ip.String())
		}
		if err != nil || len(texts) == 0 {
			return nil, d.NegativeTTL
		}
		return slices.Clone(texts[:min(len(texts), maxTexts)]), d.TTL
	})
	return n
}

// of returns the answer to a question, nil when there is none or it takes too
// long.
func (n *names) of(q question) []string {
	texts, _ := n.ask(q)
	return texts
}

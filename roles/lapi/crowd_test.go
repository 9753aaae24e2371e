package lapi

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/decisions"
	"cs/storage"
	"cs/storage/mem"
)

// dawdling is a store that has written long before it says so.
type dawdling struct{ storage.Store }

func (d dawdling) AddAlerts(ctx context.Context, alerts []decisions.Alert) ([]bool, error) {
	known, err := d.Store.AddAlerts(ctx, alerts)
	time.Sleep(rand.N(2 * time.Millisecond))
	return known, err
}

func (d dawdling) ExpireDecisions(ctx context.Context, ids []int64, at time.Time) (int, error) {
	n, err := d.Store.ExpireDecisions(ctx, ids, at)
	time.Sleep(rand.N(2 * time.Millisecond))
	return n, err
}

// TestViewsInACrowd has many agents and operators change what is banned at
// once, while bouncers of each kind poll without a pause. When it is quiet
// again each of them must enforce what the store holds.
func TestViewsInACrowd(t *testing.T) {
	s := open(t, func(c *Config) {
		c.OpenStore = func(context.Context) (storage.Store, error) { return dawdling{mem.New()}, nil }
	})
	m := machine(t, s, "m")
	m.from = "127.0.0.1"
	if err := s.createAllowlist(t.Context(), "office", ""); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writers, readers sync.WaitGroup
	for i := range uint64(6) {
		r := rand.New(rand.NewPCG(i, 3))
		writers.Go(func() {
			for range 60 {
				address := fmt.Sprintf("10.0.0.%d", r.IntN(12))
				switch r.IntN(8) {
				default:
					var list []string
					for range 1 + r.IntN(4) {
						list = append(list, decisionJSON("Ip", fmt.Sprintf("10.0.0.%d", r.IntN(12)), []string{"ban", "captcha"}[r.IntN(2)],
							[]string{"cscli", "CAPI"}[r.IntN(2)], fmt.Sprintf("%dm", 10+r.IntN(600))))
					}
					m.do("POST", "/v1/alerts", "["+alertJSON("", "", "["+strings.Join(list, ",")+"]", time.Now().Truncate(time.Second))+"]")
				case 0:
					m.do("DELETE", "/v1/decisions?ip="+address, "")
				case 1:
					m.do("DELETE", "/v1/alerts?ip="+address, "")
				case 2:
					s.allow(t.Context(), "office", []storage.AllowItem{{Value: address}})
					s.disallow(t.Context(), "office", []string{address})
				case 3:
					s.flushAlerts(t.Context(), 10, time.Hour)
				}
			}
		})
	}
	old := []*upstreamBouncer{{visitor: bouncer(t, s, "a")}, {visitor: bouncer(t, s, "b"), query: "origins=cscli"}}
	for _, u := range old {
		u.banned = make(map[string]time.Time)
		readers.Go(func() {
			for ctx.Err() == nil {
				u.poll(rand.IntN(20) == 0, time.Now())
			}
		})
	}
	ours := []*ourBouncer{{visitor: bouncer(t, s, "c")}, {visitor: bouncer(t, s, "d")}}
	for i, o := range ours {
		o.view = make(enforced)
		readers.Go(func() {
			for ctx.Err() == nil {
				o.poll(time.Duration(i) * 20 * time.Millisecond)
			}
		})
	}
	feed, fed := s.Feed("e"), make(enforced)
	readers.Go(func() {
		for ctx.Err() == nil {
			if d, err := feed.Next(ctx); err == nil {
				fed.apply(d)
			}
		}
	})
	writers.Wait()
	stop()
	readers.Wait()
	if len(live(s)) == 0 {
		t.Fatal("nothing is left to compare")
	}
	now := time.Now()
	for _, u := range old {
		u.poll(false, now)
		compareUpstream(t, s, u, now)
	}
	for _, o := range ours {
		o.poll(0)
		o.view.compare(t, s, "ours")
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // there may be no news
	defer cancel()
	if d, err := feed.Next(short); err == nil {
		fed.apply(d)
	}
	fed.compare(t, s, "feed")
	// A client that asks each time is told the same.
	b := bouncer(t, s, "f")
	for i := range 12 {
		address := fmt.Sprintf("10.0.0.%d", i)
		want := 0
		s.store.EachDecision(t.Context(), now, func(d *decisions.Decision) bool {
			if d.Value == address {
				want++
			}
			return true
		})
		if got := strings.Count(b.want("GET", "/v1/decisions?ip="+address, "", 200, "*").Body.String(), `"id"`); got != want {
			t.Errorf("%s is banned %d times, told %d times", address, want, got)
		}
	}
}

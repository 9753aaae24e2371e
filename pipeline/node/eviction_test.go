package node

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// slow is a cache as its strategy is told in a sentence: lists that are searched.
type slow struct {
	strategy string
	size     int
	now      int

	keys []slowEntry // LRU, LFU

	// ARC: keys, the last used first, as the paper's T1, T2, B1, B2.
	t1, t2, b1, b2 []string
	p              int
	vals           map[string]slowEntry
}

type slowEntry struct {
	key, value        string
	until, uses, last int
}

func (s *slow) get(key string, at int) string {
	s.now++
	if s.strategy == "ARC" {
		e, ok := s.vals[key]
		if !ok {
			return ""
		}
		if at >= e.until {
			delete(s.vals, key)
			s.t1, s.t2 = without(s.t1, key), without(s.t2, key)
			return ""
		}
		s.hit(key)
		return e.value
	}
	i := slices.IndexFunc(s.keys, func(e slowEntry) bool { return e.key == key })
	if i < 0 {
		return ""
	}
	if at >= s.keys[i].until {
		s.keys = slices.Delete(s.keys, i, i+1)
		return ""
	}
	s.keys[i].uses++
	s.keys[i].last = s.now
	return s.keys[i].value
}

func (s *slow) put(key, value string, until int) {
	s.now++
	if s.strategy == "ARC" {
		if s.vals == nil {
			s.vals = map[string]slowEntry{}
		}
		if _, ok := s.vals[key]; ok {
			s.hit(key)
		} else {
			s.request(key)
		}
		s.vals[key] = slowEntry{value: value, until: until}
		return
	}
	i := slices.IndexFunc(s.keys, func(e slowEntry) bool { return e.key == key })
	if i < 0 && len(s.keys) == s.size {
		worst := slices.MinFunc(s.keys, func(a, b slowEntry) int {
			if s.strategy == "LFU" && a.uses != b.uses {
				return a.uses - b.uses
			}
			return a.last - b.last
		})
		s.keys = slices.DeleteFunc(s.keys, func(e slowEntry) bool { return e.key == worst.key })
	}
	if i < 0 {
		i = len(s.keys)
		s.keys = append(s.keys, slowEntry{key: key})
	}
	e := &s.keys[i]
	e.value, e.until, e.last = value, until, s.now
	e.uses++
}

func without(l []string, key string) []string {
	return slices.DeleteFunc(slices.Clone(l), func(k string) bool { return k == key })
}

func first(l []string, key string) []string { return append([]string{key}, without(l, key)...) }

func (s *slow) hit(key string) {
	s.t1, s.t2 = without(s.t1, key), first(s.t2, key)
}

// request is ARC(c) of the paper for a page that is not in the cache. Here entries
// expire, too, so there may be room.
func (s *slow) request(key string) {
	drop := func(l *[]string) string {
		last := (*l)[len(*l)-1]
		*l = (*l)[:len(*l)-1]
		return last
	}
	replace := func(inB2 bool) {
		if len(s.t1)+len(s.t2) < s.size {
			return
		}
		if len(s.t1) > 0 && (len(s.t1) > s.p || inB2 && len(s.t1) == s.p || len(s.t2) == 0) {
			k := drop(&s.t1)
			delete(s.vals, k)
			s.b1 = first(s.b1, k)
			return
		}
		k := drop(&s.t2)
		delete(s.vals, k)
		s.b2 = first(s.b2, k)
	}
	switch {
	case slices.Contains(s.b1, key): // case II
		s.p = min(s.size, s.p+max(len(s.b2)/len(s.b1), 1))
		replace(false)
		s.b1, s.t2 = without(s.b1, key), first(s.t2, key)
		return
	case slices.Contains(s.b2, key): // case III
		s.p = max(0, s.p-max(len(s.b1)/len(s.b2), 1))
		replace(true)
		s.b2, s.t2 = without(s.b2, key), first(s.t2, key)
		return
	}
	// case IV
	if len(s.t1)+len(s.b1) >= s.size {
		if len(s.t1) < s.size {
			drop(&s.b1)
			replace(false)
		} else {
			delete(s.vals, drop(&s.t1))
		}
	} else if all := len(s.t1) + len(s.t2) + len(s.b1) + len(s.b2); all >= s.size {
		if all >= 2*s.size {
			drop(&s.b2)
		}
		replace(false)
	}
	s.t1 = first(s.t1, key)
}

// Each strategy forgets what it says, whatever happens.
func TestStrategies(t *testing.T) {
	for _, strategy := range []string{"LRU", "LFU", "ARC"} {
		for _, size := range []int{1, 2, 3, 10} {
			rng := rand.New(rand.NewPCG(uint64(size), 1))
			at := 0
			stashes := NewStashes(func() time.Time { return time.Unix(int64(at), 0) })
			stashes.declare("s", size, strategy)
			twin := &slow{strategy: strategy, size: size}
			hits := 0
			for step := range 20_000 {
				if rng.IntN(20) == 0 {
					at++
				}
				key := fmt.Sprint(int(rng.ExpFloat64() * float64(size))) // some come often
				if step%700 > 600 {
					key = fmt.Sprint("scan", step) // and many only once
				}
				if rng.IntN(3) > 0 {
					got, want := stashes.Get("s", key), twin.get(key, at)
					if got != want {
						t.Fatalf("%s of %d, step %d: %s is %q, want %q", strategy, size, step, key, got, want)
					}
					if got != "" {
						hits++
						continue
					}
				}
				ttl := 1 + rng.IntN(50)
				value := fmt.Sprint("v", step)
				stashes.Set("s", key, value, time.Duration(ttl)*time.Second)
				twin.put(key, value, at+ttl)
				c := stashes.shelves["s"].caches[0]
				n := 0
				for range c.policy.best {
					n++
				}
				if len(c.entries) > size || n != len(c.entries) {
					t.Fatalf("%s of %d, step %d: %d entries, %d by the policy", strategy, size, step, len(c.entries), n)
				}
				if p, ok := c.policy.(*arc); ok && len(p.ghosts) > 2*size {
					t.Fatalf("ARC of %d, step %d: %d ghosts", size, step, len(p.ghosts))
				}
			}
			if hits < 500 {
				t.Errorf("%s of %d: only %d hits", strategy, size, hits)
			}
		}
	}
}

// A scan of keys that come once drives out all that LRU has, and not what LFU and ARC
// have seen again.
func TestStrategiesDiffer(t *testing.T) {
	for strategy, want := range map[string]bool{"LRU": false, "lfu": false, "LFU": true, "ARC": true} {
		stashes := NewStashes(func() time.Time { return time.Unix(0, 0) })
		stashes.declare("s", 4, strategy)
		for range 3 {
			stashes.Set("s", "often", "x", time.Hour)
		}
		for i := range 10 {
			stashes.Set("s", fmt.Sprint(i), "x", time.Hour)
		}
		if got := stashes.Get("s", "often") != ""; got != want {
			t.Errorf("%s: kept is %v", strategy, got)
		}
	}
}

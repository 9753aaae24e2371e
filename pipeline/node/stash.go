package node

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cs/pipeline/expr"
)

const (
	// defaultStashSize bounds a cache that content gives no size, in entries.
	defaultStashSize = 100
	// maxStashed bounds a key and a value together, in bytes. What is longer is
	// not kept: a text that is cut would be taken for another one.
	maxStashed = 16 << 10
)

// stash is an entry of a node's stash list: what to remember.
type stash struct {
	to         *shelf
	key, value *expr.Program
	ttl        time.Duration
}

func (s *stash) store(n *Node, r *Runner) {
	key, ok, err := s.key.Text(r.Expr)
	if err == nil && ok {
		var value string
		if value, ok, err = s.value.Text(r.Expr); err == nil && ok {
			s.to.put(key, value, s.ttl)
		}
	}
	if err != nil {
		r.failed(n, err)
	}
}

// Stashes are the caches that outlive events, by name. It implements
// expr.Stash and is safe for concurrent use once content is loaded.
type Stashes struct {
	now     func() time.Time
	shelves map[string]*shelf
}

// shelf is the caches of one name. A name that is declared twice has two: both
// are written, the first is read, as upstream.
type shelf struct{ caches []*cache }

func (s *shelf) put(key, value string, ttl time.Duration) {
	for _, c := range s.caches {
		c.put(key, value, ttl)
	}
}

// NewStashes returns no caches yet; content declares them.
func NewStashes(now func() time.Time) *Stashes {
	return &Stashes{now: now, shelves: map[string]*shelf{}}
}

// Get returns the value of a key, "" when it is absent or expired.
func (s *Stashes) Get(name, key string) string {
	if sh := s.shelves[name]; sh != nil {
		return sh.caches[0].get(key)
	}
	return ""
}

// Set remembers a value in the caches of a name, if content declares one.
func (s *Stashes) Set(name, key, value string, ttl time.Duration) {
	if sh := s.shelves[name]; sh != nil {
		sh.put(key, value, ttl)
	}
}

// TakeOver remembers what is in old caches, as far as there are such by the same name. It may
// be called while those are used.
func (s *Stashes) TakeOver(old *Stashes) {
	for name, sh := range s.shelves {
		from := old.shelves[name]
		if from == nil {
			continue
		}
		for i, c := range sh.caches {
			if i < len(from.caches) {
				c.takeOver(from.caches[i])
			}
		}
	}
}

// Each calls f with the name of each cache and the number of its entries.
func (s *Stashes) Each(f func(name string, entries int)) {
	for _, name := range slices.Sorted(maps.Keys(s.shelves)) {
		n := 0
		for _, c := range s.shelves[name].caches {
			c.mu.Lock()
			n = max(n, len(c.entries)) // those of one name hold the same
			c.mu.Unlock()
		}
		f(name, n)
	}
}

// declare adds a cache to a name. Which entry it forgets at its bound is said by
// strategy: LRU, LFU or ARC; anything else is LRU.
func (s *Stashes) declare(name string, size int, strategy string) *shelf {
	sh := s.shelves[name]
	if sh == nil {
		sh = &shelf{}
		s.shelves[name] = sh
	}
	sh.caches = append(sh.caches, &cache{now: s.now, max: size, entries: map[string]*entry{}, policy: newPolicy(strategy, size)})
	return sh
}

// cache keeps entries. Its policy knows which one is forgotten at the bound.
type cache struct {
	now func() time.Time
	max int

	mu      sync.Mutex
	entries map[string]*entry
	policy  policy
}

func (c *cache) get(key string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return ""
	}
	if !c.now().Before(e.until) {
		c.policy.leave(e)
		delete(c.entries, key)
		return ""
	}
	c.policy.used(e)
	return e.value
}

// takeOver adds the entries of another cache, those that it would forget last if there
// are too many.
func (c *cache) takeOver(from *cache) {
	from.mu.Lock()
	defer from.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	var fit []*entry
	for e := range from.policy.best {
		if len(c.entries)+len(fit) == c.max {
			break
		}
		if _, ok := c.entries[e.key]; !ok && now.Before(e.until) {
			fit = append(fit, &entry{key: e.key, value: e.value, until: e.until})
		}
	}
	for _, e := range slices.Backward(fit) {
		c.add(e)
	}
}

// put copies key and value, which live no longer than the line they came from.
// The value that a key had before stays where the new one is too long.
func (c *cache) put(key, value string, ttl time.Duration) {
	if len(key)+len(value) > maxStashed {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	until := c.now().Add(ttl)
	if e, ok := c.entries[key]; ok {
		e.until = until
		if e.value != value {
			e.value = strings.Clone(value)
		}
		c.policy.used(e)
		return
	}
	c.add(&entry{key: strings.Clone(key), value: strings.Clone(value), until: until})
}

// add adds an entry of a key that has none.
func (c *cache) add(e *entry) {
	if out := c.policy.enter(e); out != nil {
		delete(c.entries, out.key)
	}
	c.entries[e.key] = e
}

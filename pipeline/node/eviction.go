package node

import (
	"container/list"
	"time"
)

// entry is what a cache keeps under a key.
type entry struct {
	key, value string
	until      time.Time

	in    *list.List // of the policy
	at    *list.Element
	class *class // of lfu
}

// policy decides which entry of a cache is forgotten for another one.
type policy interface {
	// enter takes a new entry in; out is the one that has to go, nil if there is room.
	enter(e *entry) (out *entry)
	// used tells that an entry was read, or written again.
	used(e *entry)
	// leave forgets an entry whose time is over.
	leave(e *entry)
	// best yields the entries, those that are to be kept first.
	best(yield func(*entry) bool)
}

func newPolicy(strategy string, size int) policy {
	switch strategy {
	case "LFU":
		return &lfu{size: size}
	case "ARC":
		return &arc{size: size, ghosts: map[string]*entry{}}
	}
	return &lru{size: size}
}

// to moves an entry to the front of a list.
func (e *entry) to(l *list.List) {
	e.out()
	e.in, e.at = l, l.PushFront(e)
}

// out takes an entry off its list, if it is on one.
func (e *entry) out() {
	if e.in != nil {
		e.in.Remove(e.at)
		e.in, e.at = nil, nil
	}
}

// back returns the last entry of a list that has one.
func back(l *list.List) *entry { return l.Back().Value.(*entry) }

// each yields the entries of a list from the front.
func each(l *list.List, yield func(*entry) bool) bool {
	for el := l.Front(); el != nil; el = el.Next() {
		if !yield(el.Value.(*entry)) {
			return false
		}
	}
	return true
}

// lru forgets the entry that was not used for longest.
type lru struct {
	size  int
	order list.List // the last used first
}

func (p *lru) enter(e *entry) (out *entry) {
	if p.order.Len() >= p.size {
		out = back(&p.order)
		out.out()
	}
	e.to(&p.order)
	return out
}

func (p *lru) used(e *entry)                { e.to(&p.order) }
func (p *lru) leave(e *entry)               { e.out() }
func (p *lru) best(yield func(*entry) bool) { each(&p.order, yield) }

// lfu forgets the entry that was used least often; of several, the one that was not
// used for longest. All take the same time, however many entries there are.
type lfu struct {
	size    int
	n       int
	classes list.List // of *class, the least used first; none is empty
}

// class is the entries that were used equally often, the last used first.
type class struct {
	members list.List
	uses    int
	at      *list.Element
}

func (p *lfu) enter(e *entry) (out *entry) {
	if p.n >= p.size {
		out = back(&p.classes.Front().Value.(*class).members)
		p.leave(out)
	}
	p.n++
	p.join(e, 1, nil)
	return out
}

func (p *lfu) used(e *entry) {
	c := e.class
	p.join(e, c.uses+1, c.at)
	p.tidy(c)
}

func (p *lfu) leave(e *entry) {
	e.out()
	p.n--
	p.tidy(e.class)
}

// join puts an entry into the class of so many uses, which is behind after or, if that
// is nil, the first.
func (p *lfu) join(e *entry, uses int, after *list.Element) {
	next := p.classes.Front()
	if after != nil {
		next = after.Next()
	}
	if next == nil || next.Value.(*class).uses != uses {
		c := &class{uses: uses}
		if after == nil {
			c.at = p.classes.PushFront(c)
		} else {
			c.at = p.classes.InsertAfter(c, after)
		}
		next = c.at
	}
	e.class = next.Value.(*class)
	e.to(&e.class.members)
}

// tidy forgets a class that has become empty.
func (p *lfu) tidy(c *class) {
	if c.members.Len() == 0 {
		p.classes.Remove(c.at)
	}
}

func (p *lfu) best(yield func(*entry) bool) {
	for el := p.classes.Back(); el != nil; el = el.Prev() {
		if !each(&el.Value.(*class).members, yield) {
			return
		}
	}
}

// arc is the adaptive replacement cache of Megiddo and Modha, "ARC: A Self-Tuning, Low
// Overhead Replacement Cache" (FAST 2003): it remembers the keys that it forgot, and
// learns from those that come back whether to keep what was used once or what was used
// again.
type arc struct {
	size   int
	target int // for how many entries of once there shall be room

	// Entries that were used once and again, and ghosts: entries that were forgotten
	// but for their key, by which list they were on. The last used are first.
	once, again         list.List
	goneOnce, goneAgain list.List
	ghosts              map[string]*entry
}

func (p *arc) enter(e *entry) (out *entry) {
	ghost := p.ghosts[e.key]
	if ghost == nil {
		switch n := p.once.Len() + p.goneOnce.Len(); {
		case n >= p.size && p.once.Len() >= p.size:
			out = back(&p.once)
			out.out() // without a ghost
		case n >= p.size:
			p.forget(back(&p.goneOnce))
			out = p.replace(false)
		case n+p.again.Len()+p.goneAgain.Len() >= p.size:
			if n+p.again.Len()+p.goneAgain.Len() >= 2*p.size {
				p.forget(back(&p.goneAgain))
			}
			out = p.replace(false)
		}
		e.to(&p.once)
		return out
	}
	fromAgain := ghost.in == &p.goneAgain
	if a, b := p.goneOnce.Len(), p.goneAgain.Len(); fromAgain {
		p.target = max(0, p.target-max(a/b, 1))
	} else {
		p.target = min(p.size, p.target+max(b/a, 1))
	}
	out = p.replace(fromAgain)
	p.forget(ghost)
	e.to(&p.again)
	return out
}

// replace makes a ghost of an entry, if there is no room for another one.
func (p *arc) replace(fromAgain bool) *entry {
	n := p.once.Len()
	if n+p.again.Len() < p.size {
		return nil // because others have expired
	}
	from, to := &p.again, &p.goneAgain
	if n > 0 && (n > p.target || fromAgain && n == p.target || p.again.Len() == 0) {
		from, to = &p.once, &p.goneOnce
	}
	e := back(from)
	e.value = ""
	e.to(to)
	p.ghosts[e.key] = e
	return e
}

func (p *arc) forget(ghost *entry) {
	ghost.out()
	delete(p.ghosts, ghost.key)
}

func (p *arc) used(e *entry)  { e.to(&p.again) }
func (p *arc) leave(e *entry) { e.out() }

func (p *arc) best(yield func(*entry) bool) {
	_ = each(&p.again, yield) && each(&p.once, yield)
}

package lapi

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"

	"cs/decisions"
	"cs/platform/order"
	"cs/storage"
)

// Bounds on what an operator's command may put into the lists: all of them are
// held in memory, some 300 bytes an item.
const (
	maxAllowlists = 1000
	maxAllowed    = 200_000 // items of one list
	maxComment    = 255
)

// allowlists knows what is never banned. Changes are made one after another in
// the store; then the whole is built anew, so that readers need no lock.
type allowlists struct {
	changing sync.Mutex
	now      atomic.Pointer[allowed]
}

// loadAllowlists reads all lists of the store. The caller is the only one who
// changes them.
func (s *Server) loadAllowlists(ctx context.Context) error {
	lists, err := s.store.Allowlists(ctx)
	if err != nil {
		return err
	}
	s.lists.now.Store(newAllowed(lists))
	return nil
}

var (
	// errManaged: the list belongs to a console.
	errManaged = errors.New("is managed by the console")
	// errRefused is about what can't be put into a list.
	errRefused = errors.New("refused")
)

// createAllowlist makes an empty list.
func (s *Server) createAllowlist(ctx context.Context, name, description string) error {
	s.lists.changing.Lock()
	defer s.lists.changing.Unlock()
	if len(s.lists.now.Load().lists) >= maxAllowlists {
		return fmt.Errorf("%w: there are %d allowlists already", errRefused, maxAllowlists)
	}
	now := s.now()
	err := s.store.AddAllowlist(ctx, storage.Allowlist{Name: name, Description: description, Created: now, Updated: now})
	if err != nil {
		return err
	}
	return s.loadAllowlists(ctx)
}

// deleteAllowlist deletes a list; what it kept from being banned may be from
// now on.
func (s *Server) deleteAllowlist(ctx context.Context, name string) error {
	s.lists.changing.Lock()
	defer s.lists.changing.Unlock()
	l, err := s.store.Allowlist(ctx, name)
	switch {
	case err != nil:
		return err
	case l.ConsoleID != "":
		return fmt.Errorf("allowlist %q %w", name, errManaged)
	}
	if err := s.store.DeleteAllowlist(ctx, name); err != nil {
		return err
	}
	return s.loadAllowlists(ctx)
}

// allow adds items to a list and lifts the bans that they cover. It returns the
// values that were in the list already, and how many decisions have ended.
func (s *Server) allow(ctx context.Context, name string, items []storage.AllowItem) (known []string, lifted int, err error) {
	now := s.now()
	var fresh []netip.Prefix
	s.lists.changing.Lock()
	err = s.store.UpdateAllowlist(ctx, name, func(l *storage.Allowlist) error {
		known, fresh = nil, nil
		if l.ConsoleID != "" {
			return errManaged
		}
		// What has expired is no longer there.
		l.Items = slices.DeleteFunc(l.Items, func(i storage.AllowItem) bool { return expired(&i, now) })
		has := make(map[netip.Prefix]bool, len(l.Items)+len(items))
		for _, i := range l.Items {
			if p, err := decisions.ParsePrefix(i.Value); err == nil {
				has[p] = true
			}
		}
		for _, i := range items {
			p, err := decisions.ParsePrefix(i.Value)
			switch {
			case err != nil:
				return fmt.Errorf("%w: %w", errRefused, err)
			case has[p]:
				known = append(known, i.Value)
				continue
			case len(l.Items) >= maxAllowed:
				return fmt.Errorf("%w: a list holds at most %d items", errRefused, maxAllowed)
			}
			has[p] = true
			fresh = append(fresh, p)
			i.Created, i.Comment = now, cut(i.Comment, maxComment)
			l.Items = append(l.Items, i)
		}
		if len(fresh) > 0 {
			l.Updated = now
		}
		return nil
	})
	if err == nil {
		err = s.loadAllowlists(ctx)
	}
	s.lists.changing.Unlock()
	if err != nil {
		return nil, 0, err
	}
	lifted, err = s.lift(ctx, fresh)
	if lifted > 0 {
		s.log.Info("decisions lifted by an allowlist", "list", name, "decisions", lifted)
	}
	return known, lifted, err
}

// disallow removes items from a list and returns how many there were.
func (s *Server) disallow(ctx context.Context, name string, values []string) (removed int, err error) {
	s.lists.changing.Lock()
	defer s.lists.changing.Unlock()
	doomed := make(map[netip.Prefix]bool, len(values))
	for _, v := range values {
		p, err := decisions.ParsePrefix(v)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errRefused, err)
		}
		doomed[p] = true
	}
	err = s.store.UpdateAllowlist(ctx, name, func(l *storage.Allowlist) error {
		if l.ConsoleID != "" {
			return errManaged
		}
		before := len(l.Items)
		l.Items = slices.DeleteFunc(l.Items, func(i storage.AllowItem) bool {
			p, err := decisions.ParsePrefix(i.Value)
			return err == nil && doomed[p]
		})
		if removed = before - len(l.Items); removed > 0 {
			l.Updated = s.now()
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return removed, s.loadAllowlists(ctx)
}

// dropExpired removes the items that have expired from the store.
func (s *Server) dropExpired(ctx context.Context) error {
	s.lists.changing.Lock()
	defer s.lists.changing.Unlock()
	now, changed := s.now(), false
	over := func(i storage.AllowItem) bool { return expired(&i, now) }
	for _, l := range s.lists.now.Load().lists {
		if !slices.ContainsFunc(l.Items, over) {
			continue
		}
		changed = true
		err := s.store.UpdateAllowlist(ctx, l.Name, func(l *storage.Allowlist) error {
			l.Items = slices.DeleteFunc(l.Items, over)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if !changed {
		return nil
	}
	return s.loadAllowlists(ctx)
}

// lift ends the live decisions that lie in one of the ranges, or around it, and
// returns how many there were. Bouncers are told.
func (s *Server) lift(ctx context.Context, ranges []netip.Prefix) (int, error) {
	if len(ranges) == 0 {
		return 0, nil
	}
	found := make(map[int64]bool)
	s.decisions.Advance(s.now())
	s.decisions.View(func(set *decisions.Set) {
		note := func(d *decisions.Decision) bool {
			found[d.ID] = true
			return true
		}
		for _, p := range ranges {
			set.Covering(p, note)
			set.Covered(p, note)
		}
	})
	ids := make([]int64, 0, len(found))
	for id := range found {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return s.expire(ctx, ids)
}

// withdraw ends those decisions of stored alerts that the lists forbid.
func (s *Server) withdraw(ctx context.Context, alerts []decisions.Alert, lists *allowed) error {
	now := s.now()
	var ids []int64
	for i := range alerts {
		all := alerts[i].Decisions
		permitted := lists.permitted(slices.Clone(all), now)
		for _, d := range all {
			if !slices.ContainsFunc(permitted, func(p decisions.Decision) bool { return p.ID == d.ID }) {
				ids = append(ids, d.ID)
			}
		}
	}
	_, err := s.expire(ctx, ids)
	return err
}

// allowed is all lists at one time. It is not changed any more.
type allowed struct {
	lists []storage.Allowlist
	items []listItem
	// trie has the number of the last item about a prefix: of what others keep in
	// such a table, too, so that there is one copy of its code; 90 KB.
	trie bart.Table[uint32]
}

// listItem is an item on its prefix.
type listItem struct {
	allowedBy
	before uint32 // the number of another one on the prefix; its own: there is none
}

// allowedBy is an item by its place in the lists.
type allowedBy struct{ list, item int }

func newAllowed(lists []storage.Allowlist) *allowed {
	a := &allowed{lists: lists}
	for i := range lists {
		for j := range lists[i].Items {
			p, err := decisions.ParsePrefix(lists[i].Items[j].Value)
			if err != nil {
				continue // none gets into the store
			}
			n := uint32(len(a.items))
			before, more := a.trie.Get(p)
			if !more {
				before = n
			}
			a.items = append(a.items, listItem{allowedBy{i, j}, before})
			a.trie.Insert(p, n)
		}
	}
	return a
}

// covering returns the items whose range contains another one or is contained
// in it: the bans of neither may touch the other. They are in the order of the
// lists.
func (a *allowed) covering(p netip.Prefix, now time.Time) (by []allowedBy) {
	note := func(n uint32) {
		for {
			i := &a.items[n]
			if !expired(a.item(i.allowedBy), now) {
				by = append(by, i.allowedBy)
			}
			if i.before == n {
				return
			}
			n = i.before
		}
	}
	for _, last := range a.trie.Supernets(p) {
		note(last)
	}
	for q, last := range a.trie.Subnets(p) {
		if q != p {
			note(last)
		}
	}
	order.Sort(by, func(x, y allowedBy) int {
		if x.list != y.list {
			return x.list - y.list
		}
		return x.item - y.item
	})
	return by
}

// covers tells whether an address or a range must not be banned, and by which
// item: "192.0.2.0/24 from office (comment)".
func (a *allowed) covers(scope, value string, now time.Time) (by string, yes bool) {
	if scope != decisions.ScopeIP && scope != decisions.ScopeRange {
		return "", false
	}
	p, err := decisions.ParsePrefix(value)
	if err != nil {
		return "", false
	}
	found := a.covering(p, now)
	if len(found) == 0 {
		return "", false
	}
	return a.text(found[0]), true
}

func (a *allowed) item(by allowedBy) *storage.AllowItem { return &a.lists[by.list].Items[by.item] }

// text says which item of which list it is, in the words of upstream.
func (a *allowed) text(by allowedBy) string {
	item := a.item(by)
	text := item.Value + " from " + a.lists[by.list].Name
	if item.Comment != "" {
		text += " (" + item.Comment + ")"
	}
	return text
}

func (a *allowed) texts(by []allowedBy) []string {
	out := make([]string, len(by))
	for i := range by {
		out[i] = a.text(by[i])
	}
	return out
}

// find returns a list by its name.
func (a *allowed) find(name string) *storage.Allowlist {
	i := slices.IndexFunc(a.lists, func(l storage.Allowlist) bool { return l.Name == name })
	if i < 0 {
		return nil
	}
	return &a.lists[i]
}

// permitted returns the decisions that no list forbids. What an operator says
// by hand counts: cscli has asked the lists before, and can be told to go on.
func (a *allowed) permitted(list []decisions.Decision, now time.Time) []decisions.Decision {
	return slices.DeleteFunc(list, func(d decisions.Decision) bool {
		if d.Origin == decisions.OriginCscli || d.Origin == decisions.OriginImport {
			return false
		}
		_, forbidden := a.covers(d.Scope, d.Value, now)
		return forbidden
	})
}

func expired(i *storage.AllowItem, now time.Time) bool {
	return !i.Expires.IsZero() && !i.Expires.After(now)
}

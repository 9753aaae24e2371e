package winevent

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"
)

// Errors of winerror.h beside those that the source knows.
const (
	errFileNotFound     = syscall.Errno(2)
	errInvalidParameter = syscall.Errno(87)
	errServerGone       = syscall.Errno(1722) // the service that keeps the log was stopped
	errInvalidQuery     = syscall.Errno(15001)
	errResultStale      = syscall.Errno(15011)
)

// fakeLog is an event log as MSDN describes the functions of winevt.h, errors included, in memory.
type fakeLog struct {
	t *testing.T

	mu       sync.Mutex
	channels map[string]*channel
	files    map[string]*channel
	handles  map[handle]any // *result, *record, *mark
	last     handle
	signals  int

	fails      map[string]syscall.Errno // what the next call of a function gives
	most       int                      // units of UTF-16 that next gives at once, if it isn't 0
	unread     int                      // most events that were handed out and not closed
	subscribed int                      // calls
}

type channel struct {
	name    string
	records []*record
	next    int // number of the next record
}

type record struct {
	channel   string
	number    int
	id, level int
	at        time.Time
	text      string
}

// result is a query or a subscription.
type result struct {
	l      *fakeLog
	where  []*channel
	wants  []func(*record) bool
	after  map[string]int // number of the last record that was handed out, by channel
	signal *fakeSignal
	err    syscall.Errno // from now on
}

// mark is a bookmark.
type mark struct {
	channel string
	number  int // 0: nowhere
}

func newFakeLog(t *testing.T, channels ...string) *fakeLog {
	l := &fakeLog{t: t, channels: map[string]*channel{}, files: map[string]*channel{}, handles: map[handle]any{}, fails: map[string]syscall.Errno{}}
	for _, name := range channels {
		l.channels[name] = &channel{name: name, next: 1}
	}
	return l
}

// add logs an event.
func (l *fakeLog) add(name string, id, level int, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.channels[name].add(id, level, text)
	for _, h := range l.handles {
		if r, ok := h.(*result); ok && r.signal != nil {
			r.signal.set()
		}
	}
}

func (c *channel) add(id, level int, text string) {
	c.records = append(c.records, &record{c.name, c.next, id, level, time.Date(2026, 1, 2, 3, 4, 5, c.next, time.UTC), text})
	c.next++
}

// clear is what an operator can do with a channel.
func (l *fakeLog) clear(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.channels[name].records = nil
}

// fail makes the next call of a function fail.
func (l *fakeLog) fail(function string, err syscall.Errno) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails[function] = err
}

// restart is that of the service: all subscriptions are lost.
func (l *fakeLog) restart(err syscall.Errno) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.handles {
		if r, ok := h.(*result); ok {
			r.err = err
			if r.signal != nil {
				r.signal.set()
			}
		}
	}
}

// closed checks that nothing is left open.
func (l *fakeLog) closed() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.handles) > 0 || l.signals > 0 {
		l.t.Errorf("%d handles and %d signals are left open", len(l.handles), l.signals)
	}
}

// failing returns what was set by fail. It is called with the lock.
func (l *fakeLog) failing(function string) error {
	if err, ok := l.fails[function]; ok {
		delete(l.fails, function)
		return err
	}
	return nil
}

func (l *fakeLog) give(what any) handle {
	l.last++
	l.handles[l.last] = what
	return l.last
}

func (l *fakeLog) open() error { return nil }

// queryOf reads a QueryList, as the source writes them: its selections are by IDs and levels.
func (l *fakeLog) queryOf(text string, files map[string]*channel, path string) (*result, error) {
	r := &result{l: l, after: map[string]int{}}
	if path != "" {
		c := files[path]
		if c == nil {
			return nil, errFileNotFound
		}
		want, err := selection(text)
		if err != nil {
			return nil, err
		}
		r.where, r.wants = append(r.where, c), append(r.wants, want)
		return r, nil
	}
	var list struct {
		Query []struct {
			Path   string `xml:"Path,attr"`
			Select []struct {
				Path string `xml:"Path,attr"`
				Text string `xml:",chardata"`
			}
		}
	}
	if err := xml.Unmarshal([]byte(text), &list); err != nil || len(list.Query) == 0 {
		return nil, errInvalidQuery
	}
	for _, q := range list.Query {
		for _, sel := range q.Select {
			if sel.Path == "" {
				sel.Path = q.Path
			}
			c := l.channels[sel.Path]
			if c == nil {
				return nil, errChannelNotFound
			}
			want, err := selection(sel.Text)
			if err != nil {
				return nil, err
			}
			r.where, r.wants = append(r.where, c), append(r.wants, want)
		}
	}
	return r, nil
}

// selection understands "*" and "*[System[(EventID=1 or EventID=2) and (Level=3)]]".
func selection(text string) (func(*record) bool, error) {
	if text == "*" {
		return func(*record) bool { return true }, nil
	}
	inner, ok := strings.CutPrefix(text, "*[System[")
	inner, ok2 := strings.CutSuffix(inner, "]]")
	if !ok || !ok2 {
		return nil, errInvalidQuery
	}
	var all []func(*record) bool
	for part := range strings.SplitSeq(inner, " and ") {
		var any []func(*record) bool
		for term := range strings.SplitSeq(strings.Trim(part, "()"), " or ") {
			name, value, _ := strings.Cut(term, "=")
			n, err := strconv.Atoi(value)
			if err != nil || name != "EventID" && name != "Level" {
				return nil, errInvalidQuery
			}
			any = append(any, func(r *record) bool { return name == "EventID" && r.id == n || name == "Level" && r.level == n })
		}
		all = append(all, func(r *record) bool {
			return slices.ContainsFunc(any, func(f func(*record) bool) bool { return f(r) })
		})
	}
	return func(r *record) bool {
		return !slices.ContainsFunc(all, func(f func(*record) bool) bool { return !f(r) })
	}, nil
}

func (l *fakeLog) subscribe(s signal, query string, after handle, flags uint32) (handle, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subscribed++
	if err := l.failing("subscribe"); err != nil {
		return 0, err
	}
	r, err := l.queryOf(query, nil, "")
	if err != nil {
		return 0, err
	}
	switch flags &^ subscribeStrict {
	case subscribeFuture, subscribeOldest:
		for _, c := range r.where {
			if flags == subscribeFuture {
				r.after[c.name] = c.next - 1
			}
		}
	case subscribeAfterBookmark:
		m, ok := l.handles[after].(*mark)
		if !ok {
			return 0, errInvalidParameter
		}
		c := l.channels[m.channel]
		if flags&subscribeStrict != 0 && (c == nil || !slices.ContainsFunc(c.records, func(r *record) bool { return r.number == m.number })) {
			return 0, errNotFound
		}
		// A bookmark is a place in all channels of a query; here, by time.
		for _, c := range r.where {
			if c.name == m.channel {
				r.after[c.name] = m.number
			}
		}
	default:
		return 0, errInvalidParameter
	}
	r.signal = s.(*fakeSignal)
	return l.give(r), nil
}

func (l *fakeLog) query(path, query string, flags uint32) (handle, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("query"); err != nil {
		return 0, err
	}
	if (path != "") != (flags&queryFile != 0) || (path == "") != (flags&queryChannel != 0) {
		return 0, errInvalidParameter
	}
	r, err := l.queryOf(query, l.files, path)
	if err != nil {
		return 0, err
	}
	return l.give(r), nil
}

func (l *fakeLog) next(from handle, events []handle) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("next"); err != nil {
		return 0, err
	}
	r, ok := l.handles[from].(*result)
	switch {
	case !ok:
		return 0, errInvalidHandle
	case r.err != 0:
		return 0, r.err
	}
	var found []*record
	units := 0
	for i, c := range r.where {
		for _, rec := range c.records {
			if rec.number > r.after[c.name] && r.wants[i](rec) && len(found) < len(events) {
				found = append(found, rec)
				units += len(rec.text)
			}
		}
	}
	if l.most > 0 && units > l.most && len(events) > 1 {
		return 0, errInvalidBound
	}
	if len(found) == 0 {
		return 0, errNoMoreItems
	}
	for i, rec := range found {
		events[i] = l.give(rec)
		r.after[rec.channel] = rec.number
	}
	open := 0
	for _, h := range l.handles {
		if _, ok := h.(*record); ok {
			open++
		}
	}
	l.unread = max(l.unread, open)
	return len(found), nil
}

func (l *fakeLog) render(h handle, flags uint32, text []uint16) (used int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("render"); err != nil {
		return 0, err
	}
	var s string
	switch what := l.handles[h].(type) {
	case *record:
		if flags != renderXML {
			return 0, errInvalidParameter
		}
		s = fmt.Sprintf("<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><EventID>%d</EventID><Level>%d</Level><TimeCreated SystemTime='%s'/><EventRecordID>%d</EventRecordID><Channel>%s</Channel></System><EventData><Data>%s</Data></EventData></Event>",
			what.id, what.level, what.at.Format("2006-01-02T15:04:05.0000000Z"), what.number, what.channel, what.text)
	case *mark:
		if flags != renderBookmark {
			return 0, errInvalidParameter
		}
		s = "<BookmarkList>\r\n"
		if what.number > 0 {
			s += fmt.Sprintf("  <Bookmark Channel='%s' RecordId='%d' IsCurrent='true'/>\r\n", what.channel, what.number)
		}
		s += "</BookmarkList>"
	default:
		return 0, errInvalidHandle
	}
	units := append(utf16.Encode([]rune(s)), 0)
	if len(units) > len(text) {
		return len(units), errInsufficientBuffer
	}
	copy(text, units)
	return len(units), nil
}

func (l *fakeLog) createBookmark(text string) (handle, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &mark{}
	if text != "" {
		var list struct {
			XMLName  xml.Name `xml:"BookmarkList"`
			Bookmark []struct {
				Channel  string `xml:"Channel,attr"`
				RecordID int    `xml:"RecordId,attr"`
			}
		}
		if err := xml.Unmarshal([]byte(text), &list); err != nil || len(list.Bookmark) != 1 {
			return 0, errInvalidParameter
		}
		m.channel, m.number = list.Bookmark[0].Channel, list.Bookmark[0].RecordID
	}
	return l.give(m), nil
}

func (l *fakeLog) updateBookmark(bookmark, event handle) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("updateBookmark"); err != nil {
		return err
	}
	m, ok := l.handles[bookmark].(*mark)
	rec, ok2 := l.handles[event].(*record)
	if !ok || !ok2 {
		return errInvalidHandle
	}
	m.channel, m.number = rec.channel, rec.number
	return nil
}

func (l *fakeLog) close(h handle) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.handles[h]; !ok {
		l.t.Errorf("handle %d is closed, and not open", h)
	}
	delete(l.handles, h)
}

func (l *fakeLog) newSignal() (signal, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.signals++
	s := &fakeSignal{l: l, on: true}
	s.change = sync.NewCond(&s.mu)
	return s, nil
}

type fakeSignal struct {
	l      *fakeLog
	mu     sync.Mutex
	change *sync.Cond
	on     bool
	gone   bool
}

func (s *fakeSignal) wait(most time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	late := false
	alarm := time.AfterFunc(most, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		late = true
		s.change.Broadcast()
	})
	defer alarm.Stop()
	for !s.on && !s.gone && !late {
		s.change.Wait()
	}
	if s.gone {
		return errInvalidHandle
	}
	return nil
}

func (s *fakeSignal) set() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		s.l.t.Error("a signal is set that was closed")
	}
	s.on = true
	s.change.Broadcast()
}

func (s *fakeSignal) reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = false
	return nil
}

func (s *fakeSignal) close() {
	s.l.mu.Lock()
	s.l.signals--
	s.l.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	s.change.Broadcast()
}

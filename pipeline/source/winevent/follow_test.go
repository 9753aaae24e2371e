package winevent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
	"cs/pipeline/source/sourcetest"
)

// on returns Kind with another event log and short pauses.
func on(l *fakeLog) source.Kind {
	kind := Kind
	kind.Open = func(spec *source.Spec) (source.Source, error) {
		src, err := Kind.Open(spec)
		if err == nil {
			s := src.(*Source)
			s.log, s.pause, s.look = l, time.Millisecond, 50*time.Millisecond
		}
		return src, err
	}
	return kind
}

// reports collects what a source says.
type reports struct {
	mu   sync.Mutex
	list []string
}

func (r *reports) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, err.Error())
}

func (r *reports) have(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.list, func(s string) bool { return strings.Contains(s, text) })
}

// datas returns what is in the Data of events.
func datas(texts []string) (list []string) {
	for _, text := range texts {
		_, text, _ = strings.Cut(text, "<Data>")
		text, _, _ = strings.Cut(text, "</Data>")
		list = append(list, text)
	}
	return list
}

func wait(t *testing.T, r *sourcetest.Run, want ...string) {
	t.Helper()
	if got := datas(r.Wait(len(want))); !slices.Equal(got, want) {
		t.Fatalf("got %.200q, want %.200q", got, want)
	}
}

// tempDir is t.TempDir, but that what Wine can't remove doesn't fail the test.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "winevent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

const security = "event_channel: Security\npretty_name: logons\n"

func TestFollow(t *testing.T) {
	l := newFakeLog(t, "Security")
	l.add("Security", 4625, 0, "before")
	r := sourcetest.Start(t, on(l), sourcetest.Spec(t, "wineventlog", security+"event_ids: [4625, 4623]\nevent_level: information\n"))
	l.add("Security", 4625, 0, "one")
	l.add("Security", 4624, 0, "another ID")
	l.add("Security", 4625, 2, "another level")
	l.add("Security", 4623, 4, "two ü \U0001F600")
	wait(t, r, "one", "two ü \U0001F600")
	got := r.Lines()[0]
	if got.Src != "logons" || got.Module != "wineventlog" || got.Mode != event.Live || !strings.HasPrefix(got.Raw, "<Event xmlns=") || !strings.HasSuffix(got.Raw, "</Event>") {
		t.Errorf("got %+v", got)
	}
	if r.Spec.Meter.Behind() < time.Hour {
		t.Errorf("behind by %v", r.Spec.Meter.Behind())
	}
	r.Stop() // while it waits
	l.closed()
}

func TestXPathQuery(t *testing.T) {
	l := newFakeLog(t, "A", "B", "C")
	r := sourcetest.Start(t, on(l), sourcetest.Spec(t, "wineventlog",
		"xpath_query: <QueryList><Query Path='A'><Select>*</Select><Select Path='B'>*[System[(EventID=7)]]</Select></Query></QueryList>\n"))
	for _, c := range []string{"A", "B", "C"} {
		l.add(c, 6, 4, c+"6")
		l.add(c, 7, 4, c+"7")
	}
	got := datas(r.Wait(3))
	slices.Sort(got)
	if !slices.Equal(got, []string{"A6", "A7", "B7"}) {
		t.Errorf("got %q", got)
	}
	r.Stop()
	l.closed()
}

// TestBookmark: a restart goes on behind the last event, a log that was cleared meanwhile or a bookmark
// that nobody understands cost what is told.
func TestBookmark(t *testing.T) {
	l := newFakeLog(t, "Security")
	l.add("Security", 1, 4, "0")
	path := filepath.Join(tempDir(t), "positions")
	var rep reports
	start := func() (*sourcetest.Run, *source.Positions) {
		t.Helper()
		p, err := source.OpenPositions(path, nil, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		spec := sourcetest.Spec(t, "wineventlog", security)
		spec.Positions, spec.FromStart, spec.Report = p, true, rep.add
		return sourcetest.Start(t, on(l), spec), p
	}
	stop := func(r *sourcetest.Run, p *source.Positions) {
		t.Helper()
		r.Stop()
		if err := p.Save(); err != nil {
			t.Fatal(err)
		}
		l.closed()
	}
	r, p := start()
	wait(t, r, "0")
	stop(r, p)
	for i := range 100 { // more than are read at once
		l.add("Security", 1, 4, fmt.Sprint("away ", i))
	}
	r, p = start()
	got := datas(r.Wait(100))
	if len(got) != 100 || got[0] != "away 0" || got[99] != "away 99" {
		t.Fatalf("got %q", got)
	}
	stop(r, p)
	if len(rep.list) > 0 {
		t.Errorf("reports %q", rep.list)
	}

	l.clear("Security")
	l.add("Security", 1102, 4, "the audit log was cleared")
	r, p = start()
	wait(t, r, "the audit log was cleared")
	stop(r, p)
	if len(rep.list) != 1 || !rep.have("events of logons may be lost: the log was cleared") {
		t.Errorf("reports %q", rep.list)
	}

	p, err := source.OpenPositions(path, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	key := "wineventlog:test:logons"
	pos := p.Saved(key)[0]
	p.Forget(key)
	pos.Cursor = "<BookmarkList"
	p.Track(pos)
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	r, p = start()
	wait(t, r, "the audit log was cleared") // from the start, as it was told to begin
	stop(r, p)
	if len(rep.list) != 2 || !rep.have("cannot use the bookmark") {
		t.Errorf("reports %q", rep.list)
	}
}

// TestLost: whatever goes wrong with a subscription, the next one goes on where it was, and each event comes
// once.
func TestLost(t *testing.T) {
	l := newFakeLog(t, "Security")
	var rep reports
	spec := sourcetest.Spec(t, "wineventlog", security)
	spec.Report = rep.add
	r := sourcetest.Start(t, on(l), spec)
	var want []string
	add := func() {
		want = append(want, fmt.Sprint(len(want)))
		l.add("Security", 1, 4, want[len(want)-1])
	}
	add()
	wait(t, r, want...)
	for _, err := range []syscall.Errno{errInvalidHandle, errServerGone, errResultStale} {
		l.restart(err)
		add()
		add()
		wait(t, r, want...)
	}
	if !rep.have("cannot read events of logons") {
		t.Errorf("reports %q", rep.list)
	}
	for _, function := range []string{"next", "updateBookmark", "subscribe"} {
		l.fail(function, errServerGone)
		if function == "subscribe" {
			l.restart(errServerGone)
		}
		add()
		add()
		wait(t, r, want...)
	}
	for _, err := range []syscall.Errno{errTimeout, errInvalidOperation} { // as if there were none
		l.fail("next", err)
		add()
		wait(t, r, want...)
	}
	r.Stop()
	l.closed()
	if n := len(r.Texts()); n != len(want) {
		t.Errorf("%d events became %d", len(want), n)
	}
}

// TestNoChannel: it is told by its name, and read as soon as it is there.
func TestNoChannel(t *testing.T) {
	l := newFakeLog(t)
	var rep reports
	spec := sourcetest.Spec(t, "wineventlog", "event_channel: Late/Operational\npretty_name: x\n")
	spec.Report = rep.add
	src, err := on(l).Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got, done := make(chan string, 10), make(chan error, 1)
	go func() {
		done <- src.Run(ctx, func(_ context.Context, batch []event.Line, done func()) error {
			for _, line := range batch {
				got <- strings.Clone(line.Raw)
			}
			done()
			return nil
		})
	}()
	sourcetest.Until(t, "the lack is told", func() bool { return rep.have("cannot subscribe to x: there is no such channel") })
	l.mu.Lock()
	l.channels["Late/Operational"] = &channel{name: "Late/Operational", next: 1}
	before := l.subscribed
	l.mu.Unlock()
	sourcetest.Until(t, "it is tried again", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.subscribed > before })
	sourcetest.Until(t, "an event comes", func() bool { l.add("Late/Operational", 1, 4, "here"); return len(got) > 0 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	l.closed()
}

// TestLargeEvents: a buffer grows for one; one that is too large is lost and counted, the others are not; and
// where the system can't hand out many at once, fewer are asked for.
func TestLargeEvents(t *testing.T) {
	l := newFakeLog(t, "Security")
	var rep reports
	spec := sourcetest.Spec(t, "wineventlog", security)
	spec.Report = rep.add
	r := sourcetest.Start(t, on(l), spec)
	large := strings.Repeat("x", 100_000)
	release := r.Hold()
	l.add("Security", 1, 4, "first")
	l.add("Security", 1, 4, large)
	l.add("Security", 1, 4, strings.Repeat("y", maxEvent))
	l.add("Security", 1, 4, "last")
	release()
	wait(t, r, "first", large, "last")
	if r.Spec.Meter.Dropped.Load() != 1 || !rep.have("an event of logons is lost: it has ") {
		t.Errorf("%d dropped, reports %q", r.Spec.Meter.Dropped.Load(), rep.list)
	}
	l.mu.Lock()
	l.most = 150_000
	l.mu.Unlock()
	want := []string{"first", large, "last"}
	release = r.Hold()
	for range 10 {
		l.add("Security", 1, 4, large)
		want = append(want, large)
	}
	release()
	wait(t, r, want...)
	r.Stop()
	l.closed()
}

// TestBackpressure: while the engine is busy nothing is read, and nothing kept.
func TestBackpressure(t *testing.T) {
	l := newFakeLog(t, "Security")
	r := sourcetest.Start(t, on(l), sourcetest.Spec(t, "wineventlog", security))
	release := r.Hold()
	var want []string
	for i := range 1000 {
		want = append(want, fmt.Sprint(i))
		l.add("Security", 1, 4, want[i])
	}
	time.Sleep(20 * time.Millisecond)
	l.mu.Lock()
	if l.unread > together {
		t.Errorf("%d events are held", l.unread)
	}
	l.mu.Unlock()
	release()
	wait(t, r, want...)
	if l.unread > together {
		t.Errorf("%d events were held", l.unread)
	}
	r.Hold()
	l.add("Security", 1, 4, "never")
	time.Sleep(5 * time.Millisecond)
	r.Stop() // while the engine is busy
	l.closed()
}

// TestSinkFails: what the sink refused comes again.
func TestSinkFails(t *testing.T) {
	l := newFakeLog(t, "Security")
	spec := sourcetest.Spec(t, "wineventlog", security)
	spec.FromStart = true
	p, err := source.OpenPositions(filepath.Join(tempDir(t), "p"), nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	spec.Positions = p
	src, err := on(l).Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	l.add("Security", 1, 4, "1")
	full := errors.New("disk full")
	for range 2 {
		got := ""
		if err := src.Run(t.Context(), func(_ context.Context, batch []event.Line, _ func()) error {
			got = datas([]string{batch[0].Raw})[0]
			return full
		}); err != full || got != "1" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	l.closed()
}

// TestOnce: what there is in a file or a channel, to its end.
func TestOnce(t *testing.T) {
	l := newFakeLog(t, "Security")
	file := &channel{name: "Security", next: 1}
	var all []string
	for i := range 150 {
		file.add(4624+i%2, 4, fmt.Sprint(i))
		if i%2 == 1 {
			all = append(all, fmt.Sprint(i))
		}
	}
	l.files = map[string]*channel{`C:\old.evtx`: file}
	l.add("Security", 1, 4, "in the channel")
	f := func(spec *source.Spec, want ...string) {
		t.Helper()
		spec.Once = true
		r := sourcetest.Start(t, on(l), spec)
		if err := r.End(); err != nil || !slices.Equal(datas(r.Texts()), want) {
			t.Errorf("%v, got %q", err, datas(r.Texts()))
		}
		l.closed()
	}
	dsn := func(dsn string) *source.Spec {
		spec := sourcetest.Spec(t, "wineventlog", "")
		spec.DSN = dsn
		return spec
	}
	f(dsn(`wineventlog://C:\old.evtx?event_id=4625&event_level=information&log_level=info`), all...)
	f(sourcetest.Spec(t, "wineventlog", security), "in the channel")
	fails := func(spec *source.Spec, want string) {
		t.Helper()
		spec.Once = true
		src, err := on(l).Open(spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := src.Run(t.Context(), func(_ context.Context, _ []event.Line, done func()) error { done(); return nil }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		l.closed()
	}
	fails(dsn(`wineventlog://C:\none.evtx`), `cannot read events of C:\none.evtx: `)
	fails(sourcetest.Spec(t, "wineventlog", "xpath_query: <QueryList/>\npretty_name: x\n"), "cannot read events of x: ")
	fails(sourcetest.Spec(t, "wineventlog", "event_channel: none\npretty_name: x\n"), "cannot read events of x: there is no such channel")
	l.fail("next", errResultStale)
	fails(sourcetest.Spec(t, "wineventlog", security), "cannot read events of logons: ")
}

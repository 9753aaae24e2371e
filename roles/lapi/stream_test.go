package lapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cs/decisions"
	"cs/roles/api"
	"cs/storage"
	"cs/storage/mem"
)

// filled returns a server with n bans of addresses from 10.0.0.0 on.
func filled(tb testing.TB, n int) *Server {
	tb.Helper()
	s, err := Open(tb.Context(), Config{
		OpenStore: func(context.Context) (storage.Store, error) { return mem.New(), nil },
		Log:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	fill(tb, s, 0, n)
	return s
}

// fill imports n decisions about addresses of which the first has the number from.
func fill(tb testing.TB, s *Server, from, n int) {
	tb.Helper()
	now := s.now()
	a := decisions.Alert{Scenario: "import", StartAt: now, StopAt: now}
	for i := from; i < from+n; i++ {
		a.Decisions = append(a.Decisions, decisions.Decision{
			Origin: "lists", Scenario: "tor", Type: "ban", Scope: "Ip",
			Value: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), Until: now.Add(24 * time.Hour),
		})
	}
	if err := s.Local("m").SendAlerts(tb.Context(), []decisions.Alert{a}); err != nil {
		tb.Fatal(err)
	}
}

// TestStreamBody compares every byte with what upstream sends.
func TestStreamBody(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	m, b := machine(t, s, "m"), bouncer(t, s, "b")
	b.want("GET", "/v1/decisions/stream?startup=true", "", 200, `{"new": [], "deleted": []}`)
	manual(t, m, clk.Now(), decisionJSON("ip", "1.1.1.1", "ban", "cscli", "4h"), decisionJSON("Country", "FR", "ban", "cscli", "4h"), decisionJSON("ip", "1.1.1.2", "ban", "<x>&", "4h"))
	var uuid [3]string
	for _, d := range live(s) {
		uuid[d.ID-1] = d.UUID
	}
	clk.Add(40 * time.Second)
	one := func(id int, scope, value, origin, left string) string {
		return fmt.Sprintf(`{"duration":%q,"id":%d,"origin":"%s","scenario":"manual","scope":%q,"type":"ban","uuid":%q,"value":%q}`, left, id, origin, scope, uuid[id-1], value)
	}
	w := b.want("GET", "/v1/decisions/stream?community_pull=false&additional_pull=false", "", 200,
		`{"new": [`+one(1, "Ip", "1.1.1.1", "cscli", "3h59m20s")+`,`+one(3, "Ip", "1.1.1.2", `\u003cx\u003e\u0026`, "3h59m20s")+`], "deleted": []}`)
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Fatal(got)
	}
	b.want("GET", "/v1/decisions/stream", "", 200, `{"new": [], "deleted": []}`)
	b.want("GET", "/v1/decisions/stream?startup=true&scopes=country", "", 200, `{"new": [`+one(2, "Country", "FR", "cscli", "3h59m20s")+`], "deleted": []}`)
	b.want("GET", "/v1/decisions/stream?startup=true&scope=Country", "", 200, `{"new": [`+one(2, "Country", "FR", "cscli", "3h59m20s")+`], "deleted": []}`)
	m.want("DELETE", "/v1/decisions/1", "", 200, "*")
	clk.Add(2 * time.Second)
	b.want("GET", "/v1/decisions/stream", "", 200, `{"new": [], "deleted": [`+one(1, "Ip", "1.1.1.1", "cscli", "-2s")+`]}`)
	b.want("GET", "/v1/decisions/stream?startup=True", "", 200, `{"new": [], "deleted": []}`) // only "true" is true
	b.want("GET", "/v1/decisions/stream?ip=bad", "", 500, "*")
}

func TestCursorOfAnotherStoreGetsEverything(t *testing.T) {
	s := open(t, nil)
	m, b := machine(t, s, "m"), bouncer(t, s, "b")
	manual(t, m, time.Now(), decisionJSON("ip", "1.1.1.1", "ban", "cscli", "4h"))
	f := func(cursor string, full bool) {
		t.Helper()
		w := b.want("GET", "/v1/decisions/stream?cursor="+cursor, "", 200, "*")
		if got := w.Header().Get(api.HeaderFull) == "true"; got != full || strings.Contains(w.Body.String(), "1.1.1.1") != full {
			t.Fatalf("%s: full %v, %s", cursor, got, w.Body)
		}
	}
	good := b.want("GET", "/v1/decisions/stream?startup=true", "", 200, "*").Header().Get(api.HeaderCursor)
	f(good, false)
	f("0123456789abcdef"+good[16:], true)
	f("nonsense", true)
	f(s.epoch+".99."+strings.Split(good, ".")[2], true) // an ID that was never given
	f(s.epoch+".1.0", true)                             // forgotten long ago
}

// brokenWriter stops taking data after some bytes.
type brokenWriter struct {
	*httptest.ResponseRecorder
	left int
}

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, fmt.Errorf("connection reset")
	}
	return w.ResponseRecorder.Write(p)
}

func TestBrokenAnswerDoesNotMoveTheCursor(t *testing.T) {
	s := filled(t, 2000)
	b := bouncer(t, s, "b")
	b.want("GET", "/v1/decisions", "", 200, "*") // adopts the address
	r := httptest.NewRequest("GET", "/v1/decisions/stream", nil)
	r.Header.Set(api.HeaderKey, b.key)
	s.handler().ServeHTTP(&brokenWriter{httptest.NewRecorder(), 100_000}, r)
	if c := s.bouncers.place("b"); c.ID != 0 {
		t.Fatalf("%+v", c)
	}
	if n := strings.Count(b.want("GET", "/v1/decisions/stream", "", 200, "*").Body.String(), `"id"`); n != 2000 {
		t.Fatalf("told %d", n)
	}
}

// TestLongPoll: a request that waits is answered as soon as there is news,
// without news at the end of its wait, and news that it doesn't want to hear
// doesn't wake it.
func TestLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, nil)
		m, b := machine(t, s, "m"), bouncer(t, s, "b")
		poll := func(query string) (took time.Duration, body string) {
			began := time.Now()
			w := b.do("GET", "/v1/decisions/stream?wait=20s&origins=cscli"+query, "")
			return time.Since(began), w.Body.String()
		}
		b.want("GET", "/v1/decisions/stream?startup=true", "", 200, "*")
		if took, body := poll(""); took != 20*time.Second || body != `{"new": [], "deleted": []}` {
			t.Fatal(took, body)
		}
		go func() {
			time.Sleep(3 * time.Second)
			manual(t, m, time.Now(), decisionJSON("ip", "9.9.9.9", "ban", "lists", "1h"))
			time.Sleep(4 * time.Second)
			manual(t, m, time.Now(), decisionJSON("ip", "1.1.1.1", "ban", "cscli", "8s"))
		}()
		if took, body := poll(""); took != 7*time.Second || !strings.Contains(body, "1.1.1.1") {
			t.Fatal(took, body)
		}
		if took, body := poll("&dedup=false"); took != 8*time.Second || !strings.Contains(body, `"deleted": [{"duration":"0s"`) {
			t.Fatal(took, body)
		}
		if took, _ := poll("&startup=true"); took != 0 {
			t.Fatal("the whole set had to wait for ", took)
		}
	})
}

func TestWaitingRequestEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, nil)
		b := bouncer(t, s, "b")
		manual(t, machine(t, s, "m"), time.Now(), decisionJSON("ip", "1.1.1.1", "ban", "cscli", "1h"))
		b.want("GET", "/v1/decisions/stream?startup=true", "", 200, "*")
		before := s.bouncers.place("b")
		ctx, cancel := context.WithCancel(t.Context())
		go func() { time.Sleep(time.Second); cancel() }()
		began := time.Now()
		r := httptest.NewRequestWithContext(ctx, "GET", "/v1/decisions/stream?wait=30s", nil)
		b.send(r)
		if took := time.Since(began); took != time.Second || s.bouncers.place("b") != before {
			t.Fatal(took, s.bouncers.place("b"))
		}
	})
}

// upstreamBouncer is an unmodified bouncer: it keys by value, honours deleted
// before new, has its own timers and lets the server keep its place.
type upstreamBouncer struct {
	visitor
	query  string
	banned map[string]time.Time // scope, value, type
}

func (u *upstreamBouncer) poll(startup bool, now time.Time) {
	u.t.Helper()
	q := u.query
	if startup {
		q += "&startup=true"
	}
	w := u.want("GET", "/v1/decisions/stream?"+q, "", 200, "*")
	u.take(w.Body.Bytes(), startup, now)
}

func (u *upstreamBouncer) take(body []byte, startup bool, now time.Time) {
	u.t.Helper()
	var in struct {
		New, Deleted []struct {
			Duration, Scope, Value, Type string
		}
	}
	if err := json.Unmarshal(body, &in); err != nil || in.New == nil || in.Deleted == nil {
		u.t.Fatalf("%s: %v", body, err)
	}
	if startup {
		clear(u.banned)
	} else {
		for _, d := range in.Deleted {
			delete(u.banned, d.Scope+" "+d.Value+" "+d.Type)
		}
	}
	for _, d := range in.New {
		left, err := time.ParseDuration(d.Duration)
		if err != nil || left < time.Second {
			u.t.Fatalf("a new decision for %q", d.Duration)
		}
		u.banned[d.Scope+" "+d.Value+" "+d.Type] = now.Add(left)
	}
	for key, until := range u.banned {
		if !until.After(now) {
			delete(u.banned, key)
		}
	}
}

// TestViewsAgainstModel plays a server's life with unmodified bouncers that
// poll, one of ours over HTTP's handler and one in process, and compares what
// each enforces with a plain list of decisions. The server restarts in
// between; its cursors must keep their place.
func TestViewsAgainstModel(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) { playViews(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func playViews(t *testing.T, r *rand.Rand) {
	store := mem.New()
	reopen := func() *Server {
		s, err := Open(t.Context(), Config{
			OpenStore: func(context.Context) (storage.Store, error) { return kept{store}, nil },
			Log:       slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := reopen()
	defer func() { s.Close() }()
	m := machine(t, s, "m")
	old := []*upstreamBouncer{
		{visitor: bouncer(t, s, "a")},
		{visitor: bouncer(t, s, "b"), query: "origins=cscli"},
		{visitor: bouncer(t, s, "c"), query: "scopes=ip,range,country"},
	}
	for _, u := range old {
		u.banned = make(map[string]time.Time)
		u.poll(true, time.Now())
	}
	feed, fed := s.Feed("ours"), make(enforced)
	wire := &ourBouncer{visitor: bouncer(t, s, "wire"), view: make(enforced)}

	m.from = "127.0.0.1" // who may delete alerts
	untold := false      // an alert was deleted: of that no server knows any more after a restart
	for range 80 {
		time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
		switch r.IntN(12) {
		case 0, 1, 2:
			value := fmt.Sprintf("10.0.0.%d", r.IntN(3))
			scope := "Ip"
			if r.IntN(4) == 0 {
				scope, value = "Country", "FR"
			}
			manual(t, m, time.Now().Truncate(time.Second), decisionJSON(scope, value, []string{"ban", "captcha"}[r.IntN(2)],
				[]string{"cscli", "CAPI"}[r.IntN(2)], fmt.Sprintf("%ds", 1+r.IntN(30))))
		case 3:
			m.want("DELETE", fmt.Sprintf("/v1/decisions?ip=10.0.0.%d", r.IntN(3)), "", 200, "*")
		case 4:
			if all := live(s); len(all) > 0 {
				m.want("DELETE", fmt.Sprintf("/v1/decisions/%d", all[r.IntN(len(all))].ID), "", 200, "*")
			}
		case 5:
			if r.IntN(3) > 0 {
				continue
			}
			if untold {
				for _, u := range old {
					u.poll(false, time.Now())
				}
				wire.poll(0)
			}
			untold = false
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = reopen()
			m.h = s.handler()
			for _, u := range old {
				u.h = s.handler()
			}
			feed = s.Feed("ours")
			wire.h = s.handler()
		case 6:
			query := fmt.Sprintf("?ip=10.0.0.%d", r.IntN(3))
			if r.IntN(2) == 0 {
				query = "?origin=cscli"
			}
			m.want("DELETE", "/v1/alerts"+query, "", 200, "*")
			untold = true
		case 7, 8:
			wire.poll(time.Duration(r.IntN(4)) * time.Second)
			wire.view.compare(t, s, "wire")
		case 9:
			d, err := feed.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			fed.apply(d)
			fed.compare(t, s, "feed")
		default:
			now := time.Now()
			u := old[r.IntN(len(old))]
			u.poll(r.IntN(6) == 0, now)
			compareUpstream(t, s, u, now)
		}
	}
	now := time.Now()
	for _, u := range old {
		u.poll(false, now)
		compareUpstream(t, s, u, now)
	}
	wire.poll(0)
	wire.view.compare(t, s, "wire")
	d, err := feed.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fed.apply(d)
	fed.compare(t, s, "feed")
}

// enforced is what a bouncer of ours enforces.
type enforced map[int64]decisions.Decision

func (v enforced) apply(d decisions.Delta) {
	if d.Full {
		clear(v)
	}
	for _, e := range d.Deleted {
		delete(v, e.ID)
	}
	for _, e := range d.New {
		v[e.ID] = e
	}
}

// compare holds a view against the decisions of the store. It has heard of
// everything up to now.
func (v enforced) compare(t *testing.T, s *Server, name string) {
	t.Helper()
	now, over := time.Now(), maps.Clone(v)
	err := s.store.EachDecision(t.Context(), now, func(d *decisions.Decision) bool {
		if got, ok := v[d.ID]; d.Scope != "Country" && d.Until.Sub(now) > time.Second && (!ok || got.Until.Sub(d.Until).Abs() > time.Second) {
			t.Fatalf("%s lacks %+v, has %+v", name, d, got)
		}
		delete(over, d.ID)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range over {
		if d.Until.After(now) {
			t.Fatalf("%s enforces what is over: %+v", name, d)
		}
	}
}

// compareUpstream compares what a bouncer enforces with the decisions of the
// store, looked through one by one.
func compareUpstream(t *testing.T, s *Server, u *upstreamBouncer, now time.Time) {
	t.Helper()
	want := make(map[string]time.Time)
	err := s.store.EachDecision(t.Context(), now, func(d *decisions.Decision) bool {
		if d.Scope == "Country" && !strings.Contains(u.query, "country") || d.Origin != "cscli" && strings.Contains(u.query, "origins=cscli") {
			return true
		}
		if key := d.Scope + " " + d.Value + " " + d.Type; d.Until.After(want[key]) {
			want[key] = d.Until
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, until := range want {
		if got := u.banned[key]; until.Sub(now) > time.Second && got.Sub(until).Abs() > time.Second {
			t.Fatalf("%q: %s is enforced until %v, should be until %v", u.query, key, got, until)
		}
	}
	for key, until := range u.banned {
		if _, ok := want[key]; !ok && until.Sub(now) > time.Second {
			t.Fatalf("%q: %s is enforced until %v, and over", u.query, key, until)
		}
	}
}

// ourBouncer follows as api.Stream does, without a connection: it carries its
// cursor, hears of everything, and checks the tally.
type ourBouncer struct {
	visitor
	cursor string
	view   enforced
	wrong  int // tallies in a row
}

func (o *ourBouncer) poll(wait time.Duration) {
	o.t.Helper()
	w := o.want("GET", o.path(wait), "", 200, "*")
	o.take(w.Header(), w.Body.Bytes())
}

func (o *ourBouncer) path(wait time.Duration) string {
	return fmt.Sprintf("/v1/decisions/stream?dedup=false&tally=true&cursor=%s&wait=%v", o.cursor, wait)
}

func (o *ourBouncer) take(h http.Header, body []byte) {
	o.t.Helper()
	o.cursor = h.Get(api.HeaderCursor)
	var in struct{ New, Deleted []api.Decision }
	if err := json.Unmarshal(body, &in); err != nil {
		o.t.Fatal(err)
	}
	d := decisions.Delta{Full: h.Get(api.HeaderFull) == "true"}
	for i := range in.New {
		n, err := in.New[i].ToDomain(time.Now())
		if err != nil {
			o.t.Fatal(err)
		}
		d.New = append(d.New, n)
	}
	for i := range in.Deleted {
		d.Deleted = append(d.Deleted, decisions.Decision{ID: in.Deleted[i].ID})
	}
	o.view.apply(d)
	var tally decisions.Tally
	for id := range o.view {
		tally.Add(id)
	}
	// What had less than a second left when it came is counted, but not told, and
	// what has changed while the answer was written is told next time.
	got, count := h.Get(api.HeaderTally), strconv.Itoa(tally.Count)
	if got == api.FormatTally(tally) || !strings.HasPrefix(got, count+".") {
		o.wrong = 0
	} else if o.wrong++; o.wrong == 3 {
		o.t.Fatalf("the tally is %s, that of what was told %s", got, api.FormatTally(tally))
	}
}

// TestStreamClient runs the real client against the real server.
func TestStreamClient(t *testing.T) {
	s := open(t, nil)
	srv := httptest.NewServer(s.handler())
	defer srv.Close()
	b := bouncer(t, s, "b")
	m := machine(t, s, "m")
	c, err := api.NewClient(api.ClientConfig{URL: srv.URL, APIKey: b.key})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	manual(t, m, time.Now(), decisionJSON("ip", "1.1.1.1", "ban", "cscli", "1h"))
	stream := c.Stream(api.StreamConfig{Interval: time.Minute})
	d, err := stream.Next(t.Context())
	if err != nil || !d.Full || len(d.New) != 1 || d.New[0].ID != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	began := time.Now()
	go func() {
		time.Sleep(50 * time.Millisecond)
		manual(t, m, time.Now(), decisionJSON("ip", "1.1.1.2", "ban", "cscli", "1h"))
	}()
	d, err = stream.Next(t.Context())
	if err != nil || d.Full || len(d.New) != 1 || d.New[0].Value != "1.1.1.2" {
		t.Fatalf("%+v, %v", d, err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Fatalf("a ban took %v to arrive: it was polled for", took)
	}
	m.want("DELETE", "/v1/decisions/1", "", 200, "*")
	d, err = stream.Next(t.Context())
	if err != nil || len(d.Deleted) != 1 || d.Deleted[0].ID != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	stream.Resync()
	d, err = stream.Next(t.Context())
	if err != nil || !d.Full || len(d.New) != 1 || len(d.Deleted) != 0 {
		t.Fatalf("%+v, %v", d, err)
	}
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
func (d discard) Flush()                      {}

// BenchmarkStartup is the answer to a bouncer that starts, among 100,000 decisions.
func BenchmarkStartup(b *testing.B) {
	s := filled(b, 100_000)
	key, err := s.addBouncer(b.Context(), "b", "")
	if err != nil {
		b.Fatal(err)
	}
	h := s.handler()
	for b.Loop() {
		r := httptest.NewRequest("GET", "/v1/decisions/stream?startup=true", nil)
		r.Header.Set("X-Api-Key", key)
		h.ServeHTTP(discard{http.Header{}}, r)
	}
}

// BenchmarkDelta is an answer without news, among 100,000 decisions.
func BenchmarkDelta(b *testing.B) {
	s := filled(b, 100_000)
	key, err := s.addBouncer(b.Context(), "b", "")
	if err != nil {
		b.Fatal(err)
	}
	h := s.handler()
	for b.Loop() {
		r := httptest.NewRequest("GET", "/v1/decisions/stream", nil)
		r.Header.Set("X-Api-Key", key)
		h.ServeHTTP(discard{http.Header{}}, r)
	}
}

package logdb

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/pipeline/source"
	"cs/pipeline/source/sourcetest"
)

// server is a Loki and a VictoriaLogs as far as the sources see one.
type server struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	change  *sync.Cond
	lines   []stored
	broken  int // requests to fail
	queries []string
	headers []string // X-Scope-OrgID of each
	away    bool     // not ready
	offsets []string
}

type stored struct {
	at     time.Time
	stream string
	text   string
}

func newServer(t *testing.T) *server {
	s := &server{t: t}
	s.change = sync.NewCond(&s.mu)
	mux := http.NewServeMux()
	ready := func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.away {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	}
	mux.HandleFunc("/p/ready", ready)
	mux.HandleFunc("/p/health", ready)
	mux.HandleFunc("/p/loki/api/v1/query_range", s.guarded(s.loki))
	mux.HandleFunc("/p/select/logsql/query", s.guarded(s.victoria))
	mux.HandleFunc("/p/select/logsql/tail", s.guarded(s.tail))
	s.Server = httptest.NewServer(mux)
	t.Cleanup(func() { s.CloseClientConnections(); s.add(time.Now(), "", ""); s.Close() })
	return s
}

func (s *server) add(at time.Time, stream, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, stored{at, stream, text})
	s.change.Broadcast()
}

func (s *server) fail(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = n
}

func (s *server) guarded(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "me" || password != "secret" || r.Header.Get("X-Scope-OrgID") != "" && r.Header.Get("X-Scope-OrgID") != "team" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.queries = append(s.queries, r.URL.RawQuery)
		s.headers = append(s.headers, r.Header.Get("X-Scope-OrgID"))
		if s.broken > 0 {
			s.broken--
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		f(w, r)
	}
}

func (s *server) loki(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	number := func(key string) int64 {
		n, err := strconv.ParseInt(q.Get(key), 10, 64)
		if err != nil {
			s.t.Error(key, err)
		}
		return n
	}
	if q.Get("query") == "rate" {
		fmt.Fprint(w, `{"status":"success","data":{"resultType":"matrix","result":[]}}`)
		return
	}
	start, end, limit := number("start"), number("end"), int(number("limit"))
	sorted := slices.Clone(s.lines)
	slices.SortStableFunc(sorted, func(a, b stored) int { return a.at.Compare(b.at) })
	streams := map[string][][2]string{}
	for _, l := range sorted {
		if ns := l.at.UnixNano(); ns >= start && ns < end && limit > 0 && l.text != "" {
			streams[l.stream] = append(streams[l.stream], [2]string{strconv.FormatInt(ns, 10), l.text})
			limit--
		}
	}
	var result []any
	for name, values := range streams {
		result = append(result, map[string]any{"stream": map[string]string{"app": name}, "values": values})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "streams", "result": result}})
}

func object(l stored) string {
	text, _ := json.Marshal(map[string]string{"_msg": l.text, "_time": l.at.UTC().Format(time.RFC3339Nano), "_stream": l.stream})
	return string(text) + "\n"
}

func (s *server) victoria(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Query().Get("query"), "| sort by (_time)") {
		s.t.Errorf("query %s", r.URL.Query().Get("query"))
	}
	for _, l := range s.lines {
		fmt.Fprint(w, object(l))
	}
}

func (s *server) tail(w http.ResponseWriter, r *http.Request) {
	n := len(s.lines)
	if offset := r.URL.Query().Get("start_offset"); offset != "" {
		s.offsets = append(s.offsets, offset)
		n = 0
	}
	w.WriteHeader(200)
	for r.Context().Err() == nil {
		for ; n < len(s.lines); n++ {
			fmt.Fprint(w, object(s.lines[n]))
		}
		w.(http.Flusher).Flush()
		if s.broken > 0 {
			s.broken--
			return
		}
		stop := time.AfterFunc(20*time.Millisecond, s.change.Broadcast)
		s.change.Wait()
		stop.Stop()
	}
}

func (s *server) keys(more string) string {
	return "url: " + s.URL + "\nprefix: /p\nauth: {username: me, password: secret}\nheaders: {X-Scope-OrgID: team}\nquery: '{app=\"x\"}'\n" + more
}

func (s *server) start(kind source.Kind, name, path string) (*sourcetest.Run, *source.Positions) {
	s.t.Helper()
	p, err := source.OpenPositions(path, nil, time.Now)
	if err != nil {
		s.t.Fatal(err)
	}
	spec := sourcetest.Spec(s.t, name, s.keys("limit: 2\n"))
	spec.Positions = p
	return sourcetest.Start(s.t, source.Kind{Open: func(spec *source.Spec) (source.Source, error) {
		src, err := kind.Open(spec)
		switch src := src.(type) {
		case *loki:
			src.pause = time.Millisecond
		case *victoria:
			src.pause = time.Millisecond
		}
		return src, err
	}}, spec), p
}

// follow tells the story of a tail: pages, lines of one time, trouble, a restart.
func follow(t *testing.T, kind source.Kind, name string) {
	s := newServer(t)
	path := filepath.Join(t.TempDir(), "positions")
	s.add(time.Now().Add(-time.Minute), "a", "old")
	r, p := s.start(kind, name, path)
	sourcetest.Until(t, "it asks", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.queries) > 0 })
	at := time.Now()
	for i := range 5 {
		s.add(at, strconv.Itoa(i%2), fmt.Sprint("same ", i))
	}
	s.add(at.Add(1), "a", "later")
	got := r.Wait(6)
	slices.Sort(got)
	if !slices.Equal(got, []string{"later", "same 0", "same 1", "same 2", "same 3", "same 4"}) {
		t.Fatalf("got %q", got)
	}
	if l := r.Lines()[5]; l.Module != name || !l.Time.Equal(at.Add(1)) || !strings.HasPrefix(l.Src, s.URL) {
		t.Errorf("got %+v", l)
	}
	s.fail(3)
	s.add(at.Add(1), "b", "after trouble")
	if got := r.Wait(7)[6:]; got[0] != "after trouble" {
		t.Fatalf("got %q", got)
	}
	r.Stop()
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	s.add(at.Add(1), "c", "while away")
	s.add(at.Add(2), "a", "and this")
	r, _ = s.start(kind, name, path)
	if got := r.Wait(2); !slices.Equal(got, []string{"while away", "and this"}) {
		t.Fatalf("got %q", got)
	}
	time.Sleep(20 * time.Millisecond)
	if got := r.Texts(); len(got) != 2 {
		t.Errorf("got %q", got)
	}
	r.Stop()
}

func TestLokiTail(t *testing.T)     { follow(t, Loki, "loki") }
func TestVictoriaTail(t *testing.T) { follow(t, VictoriaLogs, "victorialogs") }

func once(t *testing.T, kind source.Kind, name string) {
	s := newServer(t)
	at := time.Now().Add(-10 * time.Minute)
	var want []string
	for i := range 7 {
		s.add(at.Add(time.Duration(i)*time.Second), strconv.Itoa(i%3), fmt.Sprint(i))
		want = append(want, fmt.Sprint(i))
	}
	spec := sourcetest.Spec(t, name, "")
	spec.Once = true
	spec.DSN = name + "://me:secret@" + strings.TrimPrefix(s.URL, "http://") + "/p?query=x&since=1h&limit=3"
	r := sourcetest.Start(t, kind, spec)
	if err := r.End(); err != nil || !slices.Equal(r.Texts(), want) {
		t.Errorf("%v, got %q", err, r.Texts())
	}
	spec = sourcetest.Spec(t, name, "")
	spec.Once = true
	spec.DSN = name + "://me:guess@" + strings.TrimPrefix(s.URL, "http://") + "/p?query=x"
	src, err := kind.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "401") || strings.Contains(err.Error()+src.Name(), "guess") {
		t.Errorf("got %v", err)
	}
	bad := func(dsn, want string) {
		t.Helper()
		spec := sourcetest.Spec(t, name, "")
		spec.DSN = name + dsn
		if _, err := kind.Open(spec); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", dsn, err)
		}
	}
	bad("://", "it has no host")
	bad("://me:secret@h", "query: there is none")
	bad("://me:secret@h?query=x&limit=0", "limit: want")
	bad("://me:secret@h?query=x&since=ever", "since: \"ever\" is no duration")
	bad("://me:secret@h?query=x&ssl=perhaps", "ssl: want true or false")
	bad("://me:secret@h?query=x&step=1", "unknown parameter step")
}

func TestLokiOnce(t *testing.T)     { once(t, Loki, "loki") }
func TestVictoriaOnce(t *testing.T) { once(t, VictoriaLogs, "victorialogs") }

// TestKeys: what each does to the requests.
func TestKeys(t *testing.T) {
	for name, kind := range map[string]source.Kind{"loki": Loki, "victorialogs": VictoriaLogs} {
		s := newServer(t)
		first := func(once bool, more string) url.Values {
			t.Helper()
			spec := sourcetest.Spec(t, name, s.keys(more))
			spec.Once = once
			s.mu.Lock()
			s.queries = nil
			s.mu.Unlock()
			r := sourcetest.Start(t, kind, spec)
			sourcetest.Until(t, "it asks", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.queries) > 0 })
			if once {
				if err := r.End(); err != nil {
					t.Error(err)
				}
			} else {
				r.Stop()
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.headers[len(s.headers)-1] != "team" {
				t.Errorf("%s: headers %q", name, s.headers)
			}
			q, err := url.ParseQuery(s.queries[0])
			if err != nil || !strings.HasPrefix(q.Get("query"), `{app="x"}`) {
				t.Errorf("%s: %v, query %q", name, err, s.queries[0])
			}
			return q
		}
		ago := func(text string) time.Duration {
			t.Helper()
			at, err := time.Parse(time.RFC3339Nano, text)
			if ns, nsErr := strconv.ParseInt(text, 10, 64); nsErr == nil {
				at, err = time.Unix(0, ns), nil
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			return time.Since(at)
		}
		if q := first(true, "since: 2h\nlimit: 7\nno_ready_check: true\n"); q.Get("limit") != "7" || ago(q.Get("start")) < 2*time.Hour || ago(q.Get("start")) > 3*time.Hour || ago(q.Get("end")) > time.Hour {
			t.Errorf("%s: asked for %v", name, q)
		}
		if name == "loki" {
			if q := first(false, "delay_for: 4s\n"); ago(q.Get("end")) < 4*time.Second {
				t.Errorf("without delay: %v", q)
			}
		}
		s.mu.Lock()
		s.away = true
		s.mu.Unlock()
		first(false, "no_ready_check: true\n")
		src, err := kind.Open(sourcetest.Spec(t, name, s.keys("wait_for_ready: 20ms\n")))
		if err != nil {
			t.Fatal(err)
		}
		if err := src.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "cannot reach") || !strings.Contains(err.Error(), "not yet") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	sourcetest.Faults(t, "victorialogs", VictoriaLogs, "url: 'http://x'\nquery: x\ndelay_for: 1s", "acquis.yaml:4: delay_for: ")
}

func TestGivesUp(t *testing.T) {
	s := newServer(t)
	for _, name := range []string{"loki", "victorialogs"} {
		kind := map[string]source.Kind{"loki": Loki, "victorialogs": VictoriaLogs}[name]
		s.fail(1 << 30)
		src, err := kind.Open(sourcetest.Spec(t, name, s.keys("max_failure_duration: 1ms\n")))
		if err != nil {
			t.Fatal(err)
		}
		if err := src.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable: busy") {
			t.Errorf("got %v", err)
		}
		src, err = kind.Open(sourcetest.Spec(t, name, "url: http://127.0.0.1:1\nquery: x\nwait_for_ready: 1ms\n"))
		if err != nil {
			t.Fatal(err)
		}
		if err := src.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "cannot reach 127.0.0.1:1") {
			t.Errorf("got %v", err)
		}
	}
	s.fail(0)
	src, err := Loki.Open(sourcetest.Spec(t, "loki", strings.Replace(s.keys(""), `'{app="x"}'`, "rate", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), `it gives "matrix", not lines`) {
		t.Errorf("got %v", err)
	}
}

func TestFaults(t *testing.T) {
	for name, kind := range map[string]source.Kind{"loki": Loki, "victorialogs": VictoriaLogs} {
		sourcetest.Faults(t, name, kind,
			"query: x", "url: there is none",
			"url: 'ftp://x'\nquery: x", "acquis.yaml:2: url: want http",
			"url: 'http://x'", "query: there is none",
			"url: 'http://x'\nquery: x\nlimit: 0", "acquis.yaml:4: limit",
			"url: 'http://x'\nquery: x\ndelay_for: 6s", "delay_for: want",
			"url: 'http://x'\nquery: x\nauth: {user: x}", "auth.user: unknown key",
		)
	}
}

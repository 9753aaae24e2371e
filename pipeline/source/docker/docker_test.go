package docker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	events "cs/pipeline/event"
	"cs/pipeline/source"
	"cs/pipeline/source/sourcetest"
)

// server is a Docker daemon as far as the source sees one. Its replies have
// the form that the Engine API documents.
type server struct {
	t    *testing.T
	path string

	mu         sync.Mutex
	change     *sync.Cond
	containers map[string]*container
	services   map[string]*container
	events     []string
	asked      []string // queries of logs
	broken     int      // streams to break off
	down       func()
}

type container struct {
	ID, Name string
	Labels   map[string]string
	TTY      bool
	Running  bool
	lines    []logLine
}

type logLine struct {
	stream byte
	at     time.Time
	text   string // with its newline
}

func newServer(t *testing.T) *server {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Docker's socket is a unix socket")
	}
	s := &server{t: t, path: filepath.Join(t.TempDir(), "docker.sock"), containers: map[string]*container{}, services: map[string]*container{}}
	s.change = sync.NewCond(&s.mu)
	s.down = s.listen()
	return s
}

// listen serves until stop is called.
func (s *server) listen() (stop func()) {
	l, err := net.Listen("unix", s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containers/json", s.list)
	mux.HandleFunc("GET /containers/{id}/json", s.inspect)
	mux.HandleFunc("GET /containers/{id}/logs", s.logs)
	mux.HandleFunc("GET /services", s.listServices)
	mux.HandleFunc("GET /services/{id}", s.inspectService)
	mux.HandleFunc("GET /services/{id}/logs", s.logs)
	mux.HandleFunc("GET /events", s.follow)
	srv := &http.Server{Handler: mux}
	go srv.Serve(l)
	s.t.Cleanup(func() { srv.Close(); s.wake() })
	return func() { srv.Close(); s.wake() }
}

func (s *server) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change.Broadcast()
}

// id makes a full ID.
func id(n int) string { return fmt.Sprintf("%064x", n) }

func (s *server) add(n int, name string, labels map[string]string, tty bool) *container {
	c := &container{ID: id(n), Name: name, Labels: labels, TTY: tty}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers[c.ID] = c
	return c
}

// serve creates a service of a swarm.
func (s *server) serve(n int, name string, labels map[string]string) *container {
	c := &container{ID: id(n), Name: name, Labels: labels, Running: true}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services[c.ID] = c
	s.events = append(s.events, fmt.Sprintf(`{"Type":"service","Action":"create","Actor":{"ID":"%s","Attributes":{"name":"%s"}},"scope":"swarm","time":%d,"timeNano":%d}`,
		c.ID, c.Name, time.Now().Unix(), time.Now().UnixNano()))
	s.change.Broadcast()
	return c
}

func (s *server) serviceJSON(c *container) map[string]any {
	return map[string]any{"ID": c.ID, "Spec": map[string]any{"Name": c.Name, "Labels": c.Labels, "TaskTemplate": map[string]any{"ContainerSpec": map[string]any{"TTY": c.TTY}}}}
}

func (s *server) listServices(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := []any{}
	for _, key := range slices.Sorted(maps.Keys(s.services)) {
		rows = append(rows, s.serviceJSON(s.services[key]))
	}
	_ = json.NewEncoder(w).Encode(rows)
}

func (s *server) inspectService(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.find(w, r); c != nil {
		_ = json.NewEncoder(w).Encode(s.serviceJSON(c))
	}
}

func (s *server) start(c *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Running = true
	s.events = append(s.events, fmt.Sprintf(`{"status":"start","id":"%[1]s","from":"img","Type":"container","Action":"start","Actor":{"ID":"%[1]s","Attributes":{"name":"%[2]s"}},"scope":"local","time":%[3]d,"timeNano":%[4]d}`,
		c.ID, c.Name, time.Now().Unix(), time.Now().UnixNano()))
	s.change.Broadcast()
}

func (s *server) stop(c *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Running = false
	s.change.Broadcast()
}

func (s *server) write(c *container, stream byte, text string) {
	s.writeAt(c, stream, text, time.Now())
}

func (s *server) writeAt(c *container, stream byte, text string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.lines = append(c.lines, logLine{stream, at, text})
	s.change.Broadcast()
}

func (s *server) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type row struct {
		ID     string `json:"Id"`
		Names  []string
		Labels map[string]string
		State  string
	}
	rows := []row{}
	for _, key := range slices.Sorted(maps.Keys(s.containers)) {
		if c := s.containers[key]; c.Running || r.URL.Query().Get("all") == "1" {
			rows = append(rows, row{c.ID, []string{"/other/alias", "/" + c.Name}, c.Labels, "running"})
		}
	}
	_ = json.NewEncoder(w).Encode(rows)
}

func (s *server) find(w http.ResponseWriter, r *http.Request) *container {
	c := s.containers[r.PathValue("id")]
	if strings.HasPrefix(r.URL.Path, "/services/") {
		c = s.services[r.PathValue("id")]
	}
	if c == nil {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"message":"No such container: %s"}`, r.PathValue("id"))
	}
	return c
}

func (s *server) inspect(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.find(w, r); c != nil {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"Id": c.ID, "Name": "/" + c.Name, "State": map[string]any{"Running": c.Running},
			"Config": map[string]any{"Tty": c.TTY, "Labels": c.Labels},
		})
	}
}

func (s *server) logs(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.find(w, r)
	if c == nil {
		return
	}
	q := r.URL.Query()
	s.asked = append(s.asked, q.Encode())
	var since, until time.Time
	for _, bound := range []struct {
		key string
		to  *time.Time
	}{{"since", &since}, {"until", &until}} {
		if text := q.Get(bound.key); text != "" {
			var sec, ns int64
			if n, _ := fmt.Sscanf(text, "%d.%d", &sec, &ns); n < 1 {
				s.t.Errorf("%s=%s", bound.key, text)
			}
			*bound.to = time.Unix(sec, ns)
		}
	}
	w.WriteHeader(http.StatusOK)
	for n := 0; ; n++ {
		for n == len(c.lines) && c.Running && q.Get("follow") == "1" && r.Context().Err() == nil {
			w.(http.Flusher).Flush()
			stop := time.AfterFunc(50*time.Millisecond, s.wake) // to look whether the client is still there
			s.change.Wait()
			stop.Stop()
			if s.broken > 0 {
				s.broken--
				panic(http.ErrAbortHandler)
			}
		}
		if n >= len(c.lines) {
			return
		}
		l := c.lines[n]
		if l.at.Before(since) || !until.IsZero() && l.at.After(until) || q.Get([]string{"", "stdout", "stderr"}[l.stream]) != "1" {
			continue
		}
		text := l.at.UTC().Format("2006-01-02T15:04:05.000000000Z") + " " + l.text
		if !c.TTY {
			head := make([]byte, 8)
			head[0] = l.stream
			binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
			_, _ = w.Write(head)
		}
		_, _ = w.Write([]byte(text))
	}
}

func (s *server) follow(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.WriteHeader(http.StatusOK)
	for n := len(s.events); r.Context().Err() == nil; n++ {
		for n == len(s.events) && r.Context().Err() == nil {
			w.(http.Flusher).Flush()
			stop := time.AfterFunc(50*time.Millisecond, s.wake)
			s.change.Wait()
			stop.Stop()
		}
		if n < len(s.events) {
			fmt.Fprintln(w, s.events[n])
		}
	}
}

func (s *server) queries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// quick is Kind with short pauses.
var quick = source.Kind{Open: func(spec *source.Spec) (source.Source, error) {
	src, err := Kind.Open(spec)
	if err == nil {
		src.(*Source).pause = 20 * time.Millisecond
	}
	return src, err
}}

func (s *server) run(text string) *sourcetest.Run {
	s.t.Helper()
	return sourcetest.Start(s.t, quick, sourcetest.Spec(s.t, "docker", "docker_host: unix://"+s.path+"\n"+text))
}

func TestFollow(t *testing.T) {
	s := newServer(t)
	web, other := s.add(1, "web", nil, false), s.add(2, "other", nil, false)
	s.start(web)
	s.start(other)
	s.write(web, 1, "before\n")
	r := s.run("container_name: [web, late]\nlabels: {type: nginx}\n")
	sourcetest.Until(t, "the log is followed", func() bool { return len(s.queries()) == 1 })
	s.write(other, 1, "not chosen\n")
	s.write(web, 1, "out\r\n")
	s.write(web, 2, "err\n")
	s.write(web, 1, "\n")
	s.write(web, 1, strings.Repeat("x", 16<<10)) // a long line comes in pieces
	s.write(web, 2, "between\n")
	s.write(web, 1, "end\nsecond of a frame\n")
	want := []string{"out", "err", "between", strings.Repeat("x", 16<<10) + "end", "second of a frame"}
	if got := r.Wait(5); !slices.Equal(got, want) {
		t.Fatalf("got %.100q", got)
	}
	late := s.add(3, "late", nil, true) // with a terminal
	s.start(late)
	s.write(late, 1, "one\r\n")
	s.write(late, 1, "two\r\n")
	if got := r.Wait(7)[5:]; !slices.Equal(got, []string{"one", "two"}) {
		t.Fatalf("got %q", got)
	}
	l := r.Lines()[6]
	if l.Src != "late" || l.Module != "docker" || l.Labels["type"] != "nginx" && l.Labels["type"] != "test" || l.Mode != events.Live {
		t.Errorf("got %+v", l)
	}
	// A restart of the container.
	s.stop(late)
	s.start(late)
	s.write(late, 1, "three\r\n")
	if got := r.Wait(8)[7:]; got[0] != "three" {
		t.Fatalf("got %q", got)
	}
	// The server breaks off: nothing is lost, nothing comes twice.
	s.mu.Lock()
	s.broken = 2
	s.mu.Unlock()
	s.write(web, 1, "after\n")
	if got := r.Wait(9)[8:]; !slices.Equal(got, []string{"after"}) {
		t.Fatalf("got %q", got)
	}
	r.Stop()
	if got := r.Texts(); len(got) != 9 {
		t.Errorf("got %q", got[9:])
	}
}

// TestResume: a restart goes on behind the last line, also among lines of one
// time.
func TestResume(t *testing.T) {
	s := newServer(t)
	web := s.add(1, "web", nil, false)
	s.start(web)
	path := filepath.Join(t.TempDir(), "positions")
	run := func() (*sourcetest.Run, *source.Positions) {
		p, err := source.OpenPositions(path, nil, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		spec := sourcetest.Spec(t, "docker", "docker_host: "+s.path+"\ncontainer_id: ["+id(1)[:12]+"]\n")
		spec.Positions = p
		spec.FromStart = true
		return sourcetest.Start(t, quick, spec), p
	}
	r, p := run()
	at := time.Now()
	for i := range 3 {
		s.writeAt(web, 1, fmt.Sprintf("%d\n", i), at)
	}
	r.Wait(3)
	r.Stop()
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	s.writeAt(web, 2, "3\n", at)
	s.writeAt(web, 1, "4\n", at.Add(1))
	r, _ = run()
	if got := r.Wait(2); !slices.Equal(got, []string{"3", "4"}) {
		t.Fatalf("got %q", got)
	}
	s.writeAt(web, 1, "5\n", time.Now().Add(time.Minute))
	r.Wait(3)
	for i, l := range r.Lines() {
		if caught := i < 2; caught != (l.Mode == events.CatchUp) || caught && !l.Time.Equal(at) && !l.Time.Equal(at.Add(1)) {
			t.Errorf("line %d: %+v", i, l)
		}
	}
	r.Stop()
}

func TestLabels(t *testing.T) {
	s := newServer(t)
	s.start(s.add(1, "plain", nil, false))
	s.start(s.add(2, "off", map[string]string{"crowdsec.enable": "false", "crowdsec.labels.type": "x"}, false))
	on := s.add(3, "on", map[string]string{"crowdsec.enable": "true", "crowdsec.labels.type": "nginx", "crowdsec.labels.env": "prod"}, false)
	r := s.run("use_container_labels: true\n")
	s.start(on)
	s.write(on, 1, "hello\n")
	r.Wait(1)
	if l := r.Lines()[0]; l.Src != "on" || !maps.Equal(l.Labels, map[string]string{"type": "nginx", "env": "prod"}) {
		t.Errorf("got %+v", l)
	}
}

// TestKeys: what each selector and bound lets through.
func TestKeys(t *testing.T) {
	s := newServer(t)
	marks := map[string]string{"crowdsec.enable": "true", "crowdsec.labels.type": "nginx"}
	for i, c := range []*container{s.add(0xa1, "web-1", nil, false), s.add(0xb2, "db-1", marks, false)} {
		s.start(c)
		for j := range 3 {
			s.writeAt(c, byte(1+j%2), fmt.Sprintf("%s %d\n", c.Name, j), time.Now().Add(time.Duration(j-3+i)*time.Hour-30*time.Minute))
		}
	}
	for i, c := range []*container{s.serve(0xc3, "front", nil), s.serve(0xd4, "back", marks)} {
		for j := range 2 {
			s.writeAt(c, byte(1+j), fmt.Sprintf("%s %d\n", c.Name, j), time.Now().Add(time.Duration(j-2+i)*time.Hour-30*time.Minute))
		}
	}
	web, db, front, back := []string{"web-1 0", "web-1 1", "web-1 2"}, []string{"db-1 0", "db-1 1", "db-1 2"}, []string{"front 0", "front 1"}, []string{"back 0", "back 1"}
	f := func(text string, want ...string) {
		t.Helper()
		spec := sourcetest.Spec(t, "docker", "docker_host: unix://"+s.path+"\n"+text)
		spec.FromStart = true
		r := sourcetest.Start(t, quick, spec)
		r.Wait(len(want))
		time.Sleep(5 * time.Millisecond)
		got := r.Texts()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
		for _, l := range r.Lines() {
			if marked := strings.Contains(text, "use_"); marked != (l.Labels["type"] == "nginx") {
				t.Errorf("%s: got %+v", text, l)
			}
		}
		r.Stop()
	}
	both := func(lists ...[]string) (all []string) { return slices.Concat(lists...) }
	f("container_name: [web-1]", web...)
	f("container_id: ["+id(0xb2)+"]", db...)
	f("container_id: ["+id(0xb2)+"]\ncontainer_name: [web-1]\ncheck_interval: 1s", both(web, db)...)
	f("container_name_regexp: ['^/web', 'never']", web...)
	f("container_id_regexp: ['b2$']", db...)
	f("use_container_labels: true", db...)
	f("service_name: [front]", front...)
	f("service_id: ["+id(0xd4)+"]", back...)
	f("service_name_regexp: ['^f']", front...)
	f("service_id_regexp: ['[cd].$']", both(front, back)...)
	f("use_service_labels: true", back...)
	f("service_name: [front]\ncontainer_name: [web-1]", both(front, web)...)
	f("container_name: [web-1]\nfollow_stderr: false", "web-1 0", "web-1 2")
	f("container_name: [web-1]\nfollow_stdout: false", "web-1 1")
	f("container_name: [web-1]\nsince: 2h", "web-1 2")
	f("container_name: [web-1]\nuntil: 2h", "web-1 0", "web-1 1")
	r := sourcetest.Start(t, quick, sourcetest.Spec(t, "docker", "docker_host: unix://"+s.path+"\nservice_name_regexp: [late]\n"))
	s.write(s.serve(0xe5, "late", nil), 1, "created\n")
	r.Wait(1)
	r.Stop()
}

// TestServerComesBack: and so do we, where we were.
func TestServerComesBack(t *testing.T) {
	s := newServer(t)
	web := s.add(1, "web", nil, false)
	s.start(web)
	r := s.run("container_name_regexp: ['^/w']\n")
	sourcetest.Until(t, "the log is followed", func() bool { return len(s.queries()) == 1 })
	s.write(web, 1, "one\n")
	r.Wait(1)
	s.down()
	s.write(web, 1, "two\n")
	s.down = s.listen()
	s.write(web, 1, "three\n")
	if got := r.Wait(3); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("got %q", got)
	}
	r.Stop()
}

func TestOnce(t *testing.T) {
	s := newServer(t)
	web := s.add(1, "web", nil, false) // not running
	base := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 5 {
		s.writeAt(web, byte(1+i%2), fmt.Sprintf("%d\n", i), base.Add(time.Duration(i)*time.Minute))
	}
	f := func(dsn string, want ...string) {
		t.Helper()
		spec := sourcetest.Spec(t, "docker", "")
		spec.DSN, spec.Once = dsn+"docker_host="+s.path, true
		r := sourcetest.Start(t, Kind, spec)
		if err := r.End(); err != nil || !slices.Equal(r.Texts(), want) {
			t.Errorf("%s: %v, got %q", dsn, err, r.Texts())
		}
	}
	f("docker://web?", "0", "1", "2", "3", "4")
	f("docker://"+id(1)+"?follow_stderr=false&", "0", "2", "4")
	f("docker://web?since=2026-01-02T03:06:05Z&until=2026-01-02T03:07:05Z&", "2", "3")
	spec := sourcetest.Spec(t, "docker", "")
	spec.DSN, spec.Once = "docker://none?docker_host="+s.path+"&log_level=debug", true
	src, err := Kind.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "there is no such container") {
		t.Errorf("got %v", err)
	}
}

func TestFaults(t *testing.T) {
	sourcetest.Faults(t, "docker", Kind,
		"check_interval: 1s", "nothing says which containers",
		"container_name: web", "container_name: want a list",
		"container_name: [web]\nuse_container_labels: true", "acquis.yaml:3: use_container_labels",
		"service_name: [web]\nuse_service_labels: true", "use_service_labels",
		"container_name_regexp: ['(']", "acquis.yaml:2: container_name_regexp[0]",
		"container_name: [web]\nfollow_stdout: false\nfollow_stderr: false", "neither stdout nor stderr",
		"container_name: [web]\nsince: once", "acquis.yaml:3: since: \"once\" is no duration",
		"container_name: [web]\ndocker_host: ftp://x", "docker_host: want unix",
		"container_names: [web]", "did you mean container_name",
	)
}

func FuzzFrames(f *testing.F) {
	frame := func(stream byte, text string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{stream, 0, 0, 0}, uint32(len(text))), text...)
	}
	f.Add(append(frame(1, "2026-01-02T03:04:05.000000001Z hello\n"), frame(2, "x\n")...))
	f.Add(frame(1, "2026-01-02T03:04:05.000000001Z "))
	f.Add([]byte{1, 0, 0, 0, 255, 255, 255, 255, 'x'})
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		fuzzFrames(t, data, func(batch []events.Line) {
			for _, l := range batch {
				n += len(l.Raw)
			}
		})
		if n > len(data) {
			t.Fatalf("%d bytes became %d", len(data), n)
		}
	})
}

func fuzzFrames(t *testing.T, data []byte, got func([]events.Line)) {
	spec := sourcetest.Spec(t, "docker", "")
	r := &run{Source: &Source{spec: spec, now: time.Now}, out: func(_ context.Context, batch []events.Line, done func()) error {
		got(batch)
		done()
		return nil
	}}
	l := newLog(r, &target{name: "x"}, nil)
	_ = l.frames(t.Context(), bufio.NewReaderSize(bytes.NewReader(data), readBuffer))
	_ = l.deliver(t.Context())
}

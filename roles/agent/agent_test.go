package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
	"cs/pipeline/node"
	"cs/roles/api"
	"cs/roles/config"
)

// fakeLAPI stores alerts as the real one does: by UUID, each once.
type fakeLAPI struct {
	mu      sync.Mutex
	order   []string        // messages, in the order they were stored
	known   map[string]bool // UUIDs
	calls   int
	reports []api.ComponentMetrics
	answer  func(call int, alerts []decisions.Alert) (store bool, err error) // nil: all is well
}

func (l *fakeLAPI) SendAlerts(ctx context.Context, alerts []decisions.Alert) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	store, err := true, error(nil)
	if l.answer != nil {
		store, err = l.answer(l.calls, alerts)
	}
	if !store {
		return err
	}
	if l.known == nil {
		l.known = map[string]bool{}
	}
	for _, a := range alerts {
		if a.UUID == "" {
			panic("an alert without UUID")
		}
		if !l.known[a.UUID] {
			l.known[a.UUID] = true
			l.order = append(l.order, a.Message)
		}
	}
	return err
}

func (l *fakeLAPI) Heartbeat(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answer != nil {
		_, err := l.answer(0, nil)
		return err
	}
	return nil
}

func (l *fakeLAPI) Report(_ context.Context, report api.ComponentMetrics) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answer != nil {
		if _, err := l.answer(0, nil); err != nil {
			return err
		}
	}
	l.reports = append(l.reports, report)
	return nil
}

func (l *fakeLAPI) stored() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.order)
}

// fakeEngine raises an alert for each line with "attack" in it.
type fakeEngine struct{ alert func(decisions.Alert) }

func (e *fakeEngine) Process(batch []event.Line, _ time.Time) {
	for _, l := range batch {
		if strings.Contains(l.Raw, "attack") {
			e.alert(decisions.Alert{Message: strings.Clone(l.Raw)})
		}
	}
}
func (e *fakeEngine) Advance(time.Time)     {}
func (e *fakeEngine) Scenarios() []string   { return nil }
func (e *fakeEngine) Stats() pipeline.Stats { return pipeline.Stats{} }

func (e *fakeEngine) Buckets() []pipeline.ScenarioStats { return nil }

func (e *fakeEngine) Stashes() *node.Stashes               { return node.NewStashes(time.Now) }
func (e *fakeEngine) SaveState(io.Writer) error            { return nil }
func (e *fakeEngine) LoadState(io.Reader, time.Time) error { return nil }

func loadFake(alert func(decisions.Alert)) (Engine, []error) { return &fakeEngine{alert}, nil }

// starter is the content of an agent that runs as it comes.
func starter() (hub.Content, []error) { return hub.Base(), nil }

// running is an agent in a test.
type running struct {
	t     *testing.T
	agent *Agent
	stop  context.CancelFunc
	done  chan error
	log   *bytes.Buffer
	mu    *sync.Mutex
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func start(t *testing.T, cfg Config) *running {
	t.Helper()
	r := &running{t: t, done: make(chan error, 1), log: new(bytes.Buffer), mu: new(sync.Mutex)}
	cfg.Log = slog.New(slog.NewTextHandler(lockedWriter{r.mu, r.log}, nil))
	if cfg.SpoolBytes == 0 {
		cfg.SpoolBytes = 1 << 20
	}
	ready := make(chan struct{})
	cfg.Ready = func() { close(ready) }
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.agent, r.stop = a, cancel
	go func() { r.done <- a.Run(ctx) }()
	t.Cleanup(cancel)
	select {
	case <-ready:
	case <-time.After(30 * time.Second):
		t.Fatal("the agent is never ready")
	}
	return r
}

func (r *running) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// end stops the agent and wants that to take less than a second, or what a machine needs for it
// that does a lot else.
func (r *running) end() {
	r.t.Helper()
	begin := time.Now()
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Fatal(err)
	}
	if d := time.Since(begin); d > 5*time.Second {
		r.t.Fatalf("stopping took %v", d)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// TestRealEngine: a brute force in a growing log becomes an alert.
func TestRealEngine(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	dir := t.TempDir()
	log := filepath.Join(dir, "auth.log")
	appendTo(t, log, "")
	lapi := &fakeLAPI{}
	r := start(t, Config{
		DataDir: filepath.Join(dir, "data"), LAPI: lapi, Content: starter,
		Inputs: []config.Acquisition{fileInput("syslog", []string{log})},
	})
	for i := range 12 {
		appendTo(t, log, fmt.Sprintf("%s host sshd[%d]: Failed password for root from 192.0.2.7 port 4711 ssh2\n", time.Now().Format(time.Stamp), i))
	}
	eventually(t, "an alert arrives", func() bool { return len(lapi.stored()) > 0 })
	if got := lapi.stored()[0]; !strings.Contains(got, "192.0.2.7") {
		t.Fatalf("got %q", got)
	}
	eventually(t, "the alert is in the log", func() bool { return strings.Contains(r.text(), "192.0.2.7") })
	r.end()
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
}

// TestBucketsOutliveTheAgent: a brute force that began under one agent is an
// attack under the next one.
func TestBucketsOutliveTheAgent(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "auth.log")
	appendTo(t, log, "")
	lapi := &fakeLAPI{}
	cfg := Config{
		DataDir: filepath.Join(dir, "data"), LAPI: lapi, Content: starter,
		Inputs: []config.Acquisition{fileInput("syslog", []string{log})},
	}
	fail := func(r *running, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			appendTo(t, log, fmt.Sprintf("%s host sshd[%d]: Failed password for root from 192.0.2.7 port 4711 ssh2\n", time.Now().Format(time.Stamp), i))
		}
		eventually(t, "the lines are read", func() bool { return r.agent.lines.Load() == int64(to-from) })
	}
	r := start(t, cfg)
	fail(r, 0, 5)
	r.end()
	if len(lapi.stored()) > 0 {
		t.Fatalf("5 failures are an attack: %v", lapi.stored())
	}
	r = start(t, cfg)
	fail(r, 5, 6)
	eventually(t, "an alert arrives", func() bool { return len(lapi.stored()) > 0 })
	r.end()
	if err := os.WriteFile(filepath.Join(cfg.DataDir, bucketsName), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = start(t, cfg)
	if !strings.Contains(r.text(), "some attackers begin anew") {
		t.Errorf("damage is not told:\n%s", r.text())
	}
	r.end()
}

// TestLAPIAway: alerts wait on disk over restarts of the agent, and arrive each once and
// in order when the LAPI is back.
func TestLAPIAway(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	appendTo(t, log, "attack before the first start\n")
	lapi := &fakeLAPI{}
	away := func(int, []decisions.Alert) (bool, error) { return false, errUnreachable }
	cfg := Config{
		DataDir: filepath.Join(dir, "data"), LAPI: lapi, load: loadFake,
		Inputs: []config.Acquisition{fileInput("x", []string{log})},
	}
	lapi.answer = away
	r := start(t, cfg)
	appendTo(t, log, "attack 1\nnothing\nattack 2\n")
	eventually(t, "both are raised", func() bool { return strings.Contains(r.text(), "attack 2") })
	r.end()
	appendTo(t, log, "attack 3\n")
	r = start(t, cfg)
	eventually(t, "the third is raised", func() bool { return strings.Contains(r.text(), "attack 3") })
	eventually(t, "the trouble is told", func() bool { return strings.Contains(r.text(), "cannot connect to the LAPI") })
	lapi.mu.Lock()
	lapi.answer = nil
	lapi.mu.Unlock()
	want := []string{"attack 1", "attack 2", "attack 3"}
	eventually(t, "all arrive", func() bool { return slices.Equal(lapi.stored(), want) })
	r.end()
	r = start(t, cfg)
	appendTo(t, log, "attack 4\n")
	eventually(t, "the fourth arrives", func() bool { return len(lapi.stored()) >= 4 })
	r.end()
	if got := lapi.stored(); !slices.Equal(got, append(want, "attack 4")) {
		t.Fatalf("got %q", got)
	}
}

// TestEnd: when all inputs have an end, so has the agent, with everything delivered.
func TestEnd(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	appendTo(t, log, "attack 1\nattack 2")
	lapi := &fakeLAPI{}
	in := fileInput("x", []string{log})
	in.Cat = true
	stdin := fileInput("x", []string{"-"})
	r := start(t, Config{Stateless: true, LAPI: lapi, load: loadFake, Inputs: []config.Acquisition{in, stdin}, Stdin: strings.NewReader("attack 3\n")})
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
	got := lapi.stored()
	slices.Sort(got)
	if !slices.Equal(got, []string{"attack 1", "attack 2", "attack 3"}) {
		t.Fatalf("got %q", got)
	}
}

func TestNothingToRead(t *testing.T) {
	_, err := New(Config{Stateless: true, LAPI: &fakeLAPI{}, load: loadFake, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "no datasource enabled") {
		t.Fatalf("got %v", err)
	}
}

var errUnreachable = fmt.Errorf("test: %w", errors.Join(context.DeadlineExceeded))

// TestCatchUp: lines that were written while no agent ran count as of when they were
// written, if that is not too long ago.
func TestCatchUp(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "auth.log")
	appendTo(t, log, "")
	lapi := &fakeLAPI{}
	cfg := Config{
		DataDir: filepath.Join(dir, "data"), LAPI: lapi, Content: starter,
		Inputs: []config.Acquisition{fileInput("syslog", []string{log})},
	}
	start(t, cfg).end()
	now := time.Now().UTC()
	fail := func(addr string, ago ...time.Duration) {
		t.Helper()
		for i, d := range ago {
			appendTo(t, log, fmt.Sprintf("%s host sshd[%d]: Failed password for root from %s port 4711 ssh2\n", now.Add(-d).Format(time.Stamp), i, addr))
		}
	}
	const s, m = time.Second, time.Minute
	fail("192.0.2.1", 9*m, 8*m, 7*m, 6*m, 5*m, 4*m, 3*m, 2*m, 1*m) // slow
	fail("192.0.2.2", 70*m, 70*m, 70*m, 70*m, 70*m, 70*m, 70*m)    // long ago
	fail("192.0.2.3", 126*s, 125*s, 124*s, 123*s, 122*s, 121*s)    // an attack
	fail("192.0.2.4", 6*s, 5*s, 4*s, 3*s, 2*s)                     // one that goes on
	r := start(t, cfg)
	eventually(t, "what was missed is read", func() bool { return r.agent.lines.Load() == 9+7+6+5 })
	fail("192.0.2.4", 0)
	eventually(t, "two alerts", func() bool { return len(lapi.stored()) == 2 })
	if got := strings.Join(lapi.stored(), "\n"); !strings.Contains(got, "192.0.2.3") || !strings.Contains(got, "192.0.2.4") {
		t.Errorf("got %s", got)
	}
	if s := r.agent.stats(); s.Stale != 7 {
		t.Errorf("%d lines are stale", s.Stale)
	}
	r.end()
}

// TestMemoryLimit: limits.memory_limit is that of the runtime, and bounds the buckets; at their bound some
// are evicted, and counted, and who goes on attacking is caught all the same.
func TestMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	dir := t.TempDir()
	env, _ := testEnv()
	file := new(config.File)
	config.Set(&file.Limits.MemoryLimit, "24MB")
	r := Reading{Logs: []string{filepath.Join(dir, "auth.log")}, Types: []string{"syslog"}}
	r.Overlay(file)
	resolved, errs := file.Resolve(env.LookupEnv)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	cfg, err := r.Config(env, resolved)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Engine.MaxBuckets >= 100_000 || cfg.Engine.MaxBuckets < 1000 {
		t.Errorf("%d buckets in 24 MB", cfg.Engine.MaxBuckets)
	}
	cfg.Engine.MaxBuckets = 500
	cfg.DataDir, cfg.LAPI, cfg.Content = filepath.Join(dir, "data"), &fakeLAPI{}, starter
	appendTo(t, r.Logs[0], "")
	a := start(t, cfg)
	if got := debug.SetMemoryLimit(-1); got != cfg.MemoryLimit || got != 24<<20 && got != 24_000_000 {
		t.Errorf("the limit of the runtime is %d", got)
	}
	var text strings.Builder
	for n := range 5000 {
		line := strings.Replace(sshFailure(n), "192.0.2.7", fmt.Sprintf("10.1.%d.%d", n>>8, n&255), 1)
		if text.WriteString(line); n%500 < 9 {
			text.WriteString(sshFailure(n))
		}
	}
	appendTo(t, r.Logs[0], text.String())
	eventually(t, "the attacker is caught", func() bool {
		return slices.ContainsFunc(cfg.LAPI.(*fakeLAPI).stored(), func(m string) bool { return strings.Contains(m, "192.0.2.7") })
	})
	eventually(t, "what is evicted is counted", func() bool { return a.agent.stats().Buckets.Evicted > 1000 })
	if s := a.agent.stats(); s.Buckets.Buckets > 500 {
		t.Errorf("%d buckets", s.Buckets.Buckets)
	}
	a.end()
}

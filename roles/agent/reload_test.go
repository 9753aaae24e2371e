package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cs/pipeline/hub"
	"cs/roles/config"
)

func sshFailure(n int) string {
	return fmt.Sprintf("%s host sshd[%d]: Failed password for root from 192.0.2.7 port 4711 ssh2\n", time.Now().Format(time.Stamp), n)
}

// TestReload: buckets and sources go on over a reload, what is new is read, what
// is gone isn't, and faulty content changes nothing.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	logs := make([]config.Acquisition, 3)
	path := func(i int) string { return filepath.Join(dir, fmt.Sprintf("auth%d.log", i)) }
	for i := range logs {
		appendTo(t, path(i), "")
		logs[i] = fileInput("syslog", []string{path(i)})
	}
	lapi := &fakeLAPI{}
	cfg := Config{DataDir: filepath.Join(dir, "data"), LAPI: lapi, Content: starter, Inputs: logs[:2]}
	r := start(t, cfg)
	lines := int64(0)
	add := func(log int) {
		t.Helper()
		appendTo(t, path(log), sshFailure(int(lines)))
		lines++
		eventually(t, fmt.Sprintf("line %d is read", lines), func() bool { return r.agent.lines.Load() == lines })
	}
	for range 3 {
		add(0)
	}
	add(1)

	fault := errors.New("a typing error")
	bad := cfg
	bad.Content = func() (hub.Content, []error) { return hub.Base(), []error{fault} }
	if err := r.agent.Reload(t.Context(), bad); !errors.Is(err, fault) {
		t.Fatalf("got %v", err)
	}
	bad = cfg
	bad.Inputs = []config.Acquisition{logs[0], {Source: "carrier-pigeon"}}
	if err := r.agent.Reload(t.Context(), bad); !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("got %v", err)
	}

	kept := r.agent.current()
	next := cfg
	next.Inputs = []config.Acquisition{logs[0], logs[2]}
	if err := r.agent.Reload(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if r.agent.current() == kept {
		t.Fatal("the engine is the old one")
	}
	if got := r.text(); strings.Count(got, "no longer read") != 1 || strings.Count(got, "is read from now on") != 1 {
		t.Errorf("the log is\n%s", got)
	}
	appendTo(t, path(1), sshFailure(99)) // nobody reads it now
	eventually(t, "the new log is open", func() bool {
		r.agent.save()
		text, err := os.ReadFile(filepath.Join(cfg.DataDir, positionsName))
		return err == nil && bytes.Contains(text, []byte("auth2.log"))
	})
	add(2)
	if len(lapi.stored()) > 0 {
		t.Fatalf("5 failures are an attack: %v", lapi.stored())
	}
	add(0)
	eventually(t, "an alert arrives", func() bool { return len(lapi.stored()) > 0 })

	// A log that comes back is read from where it was left.
	if err := r.agent.Reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	lines++
	eventually(t, "what was missed is read", func() bool { return r.agent.lines.Load() == lines })
	r.end()
	if err := r.agent.Reload(t.Context(), cfg); !errors.Is(err, errStopped) {
		t.Errorf("got %v", err)
	}
}

// TestReloadUnderLoad: nothing is lost or doubled while engines are exchanged and
// sources come and go.
func TestReloadUnderLoad(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{DataDir: filepath.Join(dir, "data"), LAPI: &fakeLAPI{}, load: loadFake}
	var logs []config.Acquisition
	for i := range 3 {
		appendTo(t, filepath.Join(dir, fmt.Sprint(i)), "")
		logs = append(logs, fileInput("x", []string{filepath.Join(dir, fmt.Sprint(i))}))
	}
	cfg.Inputs = logs
	r := start(t, cfg)
	const each = 300
	var writers sync.WaitGroup
	for i := range logs {
		writers.Go(func() {
			for n := range each {
				appendTo(t, filepath.Join(dir, fmt.Sprint(i)), fmt.Sprintf("attack %d of %d\n", n, i))
				time.Sleep(time.Millisecond)
			}
		})
	}
	for n := range 30 {
		next := cfg
		next.Inputs = logs[n%3:]
		if err := r.agent.Reload(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	writers.Wait()
	if err := r.agent.Reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all alerts arrive", func() bool { return len(cfg.LAPI.(*fakeLAPI).stored()) >= len(logs)*each })
	r.end()
	seen := map[string]bool{}
	for _, m := range cfg.LAPI.(*fakeLAPI).stored() {
		if seen[m] {
			t.Fatalf("%q came twice", m)
		}
		seen[m] = true
	}
}

// TestFollow: the command takes changed files over by itself, and on SIGHUP, but
// no faulty ones.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	acquis := file("acquis.yaml", "filename: "+file("one.log", "")+"\nlabels: {type: x}\n")
	const parser = "name: p\ngrok: {pattern: '^hit %{IP:ip}$', apply_on: Line.Raw}\nstatics: [{meta: source_ip, expression: evt.Parsed.ip}]\n"
	file("content/parsers/s00-raw/p.yaml", parser)
	trigger := func(name string) string {
		return "type: trigger\nname: " + name + "\ndescription: d\nfilter: evt.Meta.source_ip != ''\n"
	}
	file("content/scenarios/s.yaml", trigger("first"))

	env, _ := testEnv()
	var mu sync.Mutex
	var out bytes.Buffer
	env.Log = slog.New(slog.NewTextHandler(lockedWriter{&mu, &out}, nil))
	env.Stdout = lockedWriter{&mu, &out}
	text := func() string { mu.Lock(); defer mu.Unlock(); return out.String() }
	c := Command{DryRun: true, Reading: Reading{Acquis: acquis, Content: filepath.Join(dir, "content"), sweepEvery: 100 * time.Millisecond}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, env, &config.Flags{DataDir: filepath.Join(dir, "data")}) }()
	finished := 0
	await := func(want string) {
		t.Helper()
		eventually(t, want, func() bool { return strings.Contains(text(), want) })
	}
	reloaded := func() {
		t.Helper()
		finished++
		eventually(t, "a reload", func() bool { return strings.Count(text(), "Reload is finished") == finished })
	}
	await("agent is ready")
	appendTo(t, filepath.Join(dir, "one.log"), "hit 192.0.2.1\n")
	await("performed 'first'")

	file("content/scenarios/s.yaml", trigger("second"))
	reloaded()
	appendTo(t, filepath.Join(dir, "one.log"), "hit 192.0.2.1\n")
	await("performed 'second'")

	file("content/scenarios/s.yaml", "nonsense: true\n")
	await("the old one stays in force")
	if !strings.Contains(text(), "nonsense: unknown key") {
		t.Errorf("the fault is not told:\n%s", text())
	}
	appendTo(t, filepath.Join(dir, "one.log"), "hit 192.0.2.3\n")
	await("192.0.2.3 performed 'second'")

	file("content/scenarios/s.yaml", trigger("third"))
	file("acquis.yaml", "filenames: ["+filepath.Join(dir, "one.log")+", "+file("two.log", "")+"]\nlabels: {type: x}\n")
	reloaded()
	appendTo(t, filepath.Join(dir, "two.log"), "hit 192.0.2.4\n")
	await("192.0.2.4 performed 'third'")

	if self, err := os.FindProcess(os.Getpid()); err == nil && runtime.GOOS != "windows" {
		if err := self.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		await("SIGHUP received, reloading")
		reloaded()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

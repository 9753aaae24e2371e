package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/platform"
	"cs/roles/agent"
	"cs/roles/api"
	"cs/roles/bouncer"
	"cs/roles/config"
	"cs/roles/lapi"
)

// output collects what a command prints from several goroutines.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// await waits until a text was printed.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	o.awaitCount(t, text, 1)
}

// awaitCount waits until it was printed so many times.
func (o *output) awaitCount(t *testing.T, text string, n int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		all := o.text()
		if strings.Count(all, text) >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q was not printed %d times; there is\n%s", text, n, all)
		}
	}
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func testEnv(out, log *output) *platform.Env {
	return &platform.Env{
		Program: "cs", Stdin: strings.NewReader(""), Stdout: out, Stderr: log, Version: "v0",
		LookupEnv: func(string) (string, bool) { return "", false },
		Log:       slog.New(slog.NewTextHandler(log, nil)),
	}
}

// TestAllInOne: lines become a ban over in-process links, and the end is quick.
func TestAllInOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "auth.log")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out, log output
	c := Command{
		Command:   lapi.Command{Listen: "127.0.0.1:0"},
		Reading:   agent.Reading{Logs: []string{path}, Types: []string{"syslog"}},
		Enforcing: bouncer.Enforcing{DryRun: true},
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx, testEnv(&out, &log), &config.Flags{DataDir: filepath.Join(dir, "data")}) }()
	log.await(t, "cs is ready")

	var lines strings.Builder
	for i := range 6 {
		fmt.Fprintf(&lines, "%s host sshd[%d]: Failed password for root from 203.0.113.9 port %d ssh2\n", time.Now().Format("Jan _2 15:04:05"), i+1, 4000+i)
	}
	if err := os.WriteFile(path, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out.await(t, "203.0.113.9")

	begin := time.Now()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the end is an error: %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second { // a second, where nothing else runs
		t.Errorf("the end took %v", took)
	}
}

// TestNoLAPIHere: a configuration for another kind of host is told, not run.
func TestNoLAPIHere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("crowdsec_service: {}\napi: {server: {enable: false}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, log output
	err := new(Command).Run(t.Context(), testEnv(&out, &log), &config.Flags{Config: path, DataDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "cs agent") {
		t.Fatalf("got %v", err)
	}
}

// TestLinksWithoutServer: as long as the server can't open, the links say that
// the LAPI is away, which the roles know how to live with.
func TestLinksWithoutServer(t *testing.T) {
	s := &server{opened: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&machine{server: s}).SendAlerts(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("SendAlerts gives %v", err)
	}
	if _, err := (&feed{server: s}).Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next gives %v", err)
	}
	if !errors.Is(errNotOpen, api.ErrUnreachable) {
		t.Error("the agent would take a server that is not open for a refusal")
	}
}

func TestCountdown(t *testing.T) {
	called := 0
	c := newCountdown(func() { called++ })
	a, b := c.add(), c.add()
	a()
	a()
	if called != 0 {
		t.Fatal("called before both were there")
	}
	b()
	if called != 1 {
		t.Fatalf("called %d times", called)
	}
}

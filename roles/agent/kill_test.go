package agent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"cs/decisions"
	"cs/roles/config"
)

// TestKilledAgent kills the agent again and again while it reads a log that is
// written to and rotated, and its LAPI is away. In the end each attack has been
// reported once, in order.
func TestKilledAgent(t *testing.T) {
	cfg := func(dir string, lapi LAPI) Config {
		return Config{
			DataDir: filepath.Join(dir, "data"), LAPI: lapi, load: loadFake, SpoolBytes: 16 << 20, saveEvery: 150 * time.Millisecond, FromStart: true,
			Inputs: []config.Acquisition{fileInput("x", []string{filepath.Join(dir, "log")})},
			Log:    slog.New(slog.DiscardHandler),
		}
	}
	if dir := os.Getenv("CS_TEST_AGENT"); dir != "" {
		a, err := New(cfg(dir, &fakeLAPI{answer: func(int, []decisions.Alert) (bool, error) { return false, errUnreachable }}))
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	const rounds = 8
	rnd := rand.New(rand.NewPCG(4, 4))
	var want []string
	appendTo(t, log, "")
	start(t, cfg(dir, &fakeLAPI{})).end() // a log that was never seen is nobody's loss
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledAgent$")
		cmd.Env = append(os.Environ(), "CS_TEST_AGENT="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		life := time.Duration(100+rnd.IntN(200)) * time.Millisecond
		if round%3 == 2 {
			life += 300 * time.Millisecond // so that positions are saved as well
		}
		for deadline := time.Now().Add(life); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			text := ""
			for range rnd.IntN(4) {
				if rnd.IntN(2) == 0 {
					want = append(want, fmt.Sprintf("attack %d", len(want)))
					text += want[len(want)-1] + "\n"
				} else {
					text += "peace\n"
				}
			}
			appendTo(t, log, text)
			if rnd.IntN(200) == 0 {
				if err := os.Rename(log, fmt.Sprintf("%s.%d", log, time.Now().UnixNano())); err != nil {
					t.Fatal(err)
				}
				appendTo(t, log, "")
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
	}
	lapi := &fakeLAPI{}
	r := start(t, cfg(dir, lapi))
	for deadline := time.Now().Add(30 * time.Second); len(lapi.stored()) < len(want) && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	r.end()
	if got := lapi.stored(); !slices.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("alert %d of %d (want %d): got %q, want %q", i, len(got), len(want), got[i], want[i])
			}
		}
		t.Fatalf("got %d alerts, want %d", len(got), len(want))
	}
	t.Logf("%d attacks, %d kills", len(want), rounds)
}

// TestKilledAgentKeepsBuckets kills the agent between the failures of a brute
// force: what it has counted is there for the next one, and no line counts twice.
func TestKilledAgentKeepsBuckets(t *testing.T) {
	cfg := func(dir string, lapi LAPI) Config {
		return Config{
			DataDir: filepath.Join(dir, "data"), LAPI: lapi, Content: starter, SpoolBytes: 1 << 20, FromStart: true,
			saveEvery: 50 * time.Millisecond, bucketsEvery: 50 * time.Millisecond,
			Inputs: []config.Acquisition{fileInput("syslog", []string{filepath.Join(dir, "log")})},
			Log:    slog.New(slog.DiscardHandler),
		}
	}
	if dir := os.Getenv("CS_TEST_AGENT_BUCKETS"); dir != "" {
		a, err := New(cfg(dir, &fakeLAPI{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir := t.TempDir()
	log, state := filepath.Join(dir, "log"), filepath.Join(dir, "data", bucketsName)
	appendTo(t, log, "")
	for n := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledAgentKeepsBuckets$")
		cmd.Env = append(os.Environ(), "CS_TEST_AGENT_BUCKETS="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(state)
		appendTo(t, log, sshFailure(n))
		eventually(t, "the buckets are saved", func() bool {
			now, err := os.ReadFile(state)
			return err == nil && !bytes.Equal(now, before)
		})
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
	}
	lapi := &fakeLAPI{}
	r := start(t, cfg(dir, lapi))
	if got := r.agent.buckets(); len(lapi.stored()) > 0 || len(got) == 0 {
		t.Fatalf("5 failures are an attack: %v", lapi.stored())
	}
	appendTo(t, log, sshFailure(5))
	eventually(t, "an alert arrives", func() bool { return len(lapi.stored()) > 0 })
	r.end()
}

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"cs/platform/sharedtest"
)

// TestForeignCPUs runs the builds for small routers under an emulator: they
// start, tell their version, and detect a brute force in a replayed log.
func TestForeignCPUs(t *testing.T) {
	if testing.Short() {
		t.Skip("builds for two more targets")
	}
	log := filepath.Join(t.TempDir(), "auth.log")
	var text strings.Builder
	for i := range 6 {
		fmt.Fprintf(&text, "Nov 22 10:00:%02d host sshd[%d]: Failed password for root from 203.0.113.9 port %d ssh2\n", i, 100+i, 40000+i)
	}
	if err := os.WriteFile(log, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct{ name, emulator, env string }{
		{"native", "", "GOARCH=" + runtime.GOARCH},
		{"arm6", "qemu-arm-static", "GOARCH=arm GOARM=6"},
		{"mipsle", "qemu-mipsel-static", "GOARCH=mipsle GOMIPS=softfloat"},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			if f.emulator != "" {
				sharedtest.Program(t, f.emulator)
			}
			bin, err := build("edge", append(strings.Fields(f.env), "GOOS=linux"))
			if err != nil {
				t.Fatal(err)
			}
			run := func(args ...string) string {
				t.Helper()
				cmd := exec.Command(bin, args...)
				if f.emulator != "" {
					cmd = exec.Command(f.emulator, append([]string{bin}, args...)...)
				}
				cmd.Stderr = os.Stderr
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%v: %v", args, err)
				}
				return string(out)
			}
			if out := run("version"); !strings.Contains(out, "v0.0.0-test") {
				t.Fatalf("version printed %q", out)
			}
			out := run("agent", "--replay", "--dry-run", "--log", log, "--type", "syslog", "--data-dir", t.TempDir())
			if !strings.HasPrefix(out, "Ip 203.0.113.9 performed 'cs/ssh-bf' (6 events over 5s)") {
				t.Fatalf("the replay printed %q", out)
			}
		})
	}
}

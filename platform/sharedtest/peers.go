package sharedtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"cs/platform"
)

// Peers returns a directory with Debian's programs, to talk to them: usr/bin/
// crowdsec, cscli and crowdsec-firewall-bouncer. Nothing in it may be changed. CS_PEERS
// names it; without, it is unpacked once into the user's cache by the script of
// the reference material. Where that fails the test is skipped, or fails if
// CS_REQUIRE_SHARED=1, as in CI.
func Peers(tb testing.TB) string {
	tb.Helper()
	if dir := os.Getenv("CS_PEERS"); dir != "" {
		return dir
	}
	dir, err := unpack(filepath.Join(Dir(tb), "tools", "debian-peers.sh"))
	switch {
	case err == nil:
		return dir
	case os.Getenv("CS_REQUIRE_SHARED") == "1":
		tb.Fatalf("Debian's programs are required but missing: %v", err)
	default:
		tb.Skipf("Debian's programs are not there (set CS_PEERS): %v", err)
	}
	return ""
}

// unpack runs the script, unless it was run before.
func unpack(script string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "cs-test", "peers")
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	// Packages are tested side by side, and one is enough to unpack.
	for {
		lock, err := platform.Lock(dir + ".lock")
		if err == nil {
			defer lock.Close()
			break
		}
		if !errors.Is(err, platform.ErrLocked) {
			return "", err
		}
		time.Sleep(100 * time.Millisecond)
	}
	done := filepath.Join(dir, "unpacked")
	if _, err := os.Stat(done); err == nil {
		return dir, nil
	}
	if out, err := exec.Command("bash", script, dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot unpack Debian's programs: %w: %s", err, out)
	}
	return dir, os.WriteFile(done, nil, 0o600)
}

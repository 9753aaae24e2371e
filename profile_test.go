//go:build !edge

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
)

func TestDaemonProfile(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "cpu.out")
	var out bytes.Buffer
	if code := executeDaemon(context.Background(), []string{"-cpu-profile", profile, "-version"}, daemonEnv(&out)); code != 0 {
		t.Fatalf("exit %d: %s", code, out.String())
	}
	if fi, err := os.Stat(profile); err != nil || fi.Size() == 0 {
		t.Errorf("there is no profile: %v", err)
	}
}

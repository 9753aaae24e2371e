// Package sharedtest finds the reference material that some tests compare
// with: public hub content, real logs, recorded conversations. It lies beside
// the checkout and is no part of the project, so a user's clone lacks it. It
// also finds the programs of the system that tests run.
package sharedtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Dir returns the directory of the reference material. Where there is none the
// test is skipped, or fails if CS_REQUIRE_SHARED=1, as in CI.
func Dir(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("CS_SHARED")
	if dir == "" || !filepath.IsAbs(dir) {
		root := moduleRoot(tb)
		if dir == "" {
			dir = filepath.Join("..", "shared")
		}
		dir = filepath.Join(root, dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "hub")); err != nil {
		if os.Getenv("CS_REQUIRE_SHARED") == "1" {
			tb.Fatalf("reference material is required but missing: %v", err)
		}
		tb.Skipf("reference material is not there (set CS_SHARED): %v", err)
	}
	return dir
}

// Program returns the path of a program of the system, also of one that only root
// has in $PATH. Where there is none the test is skipped, or fails if
// CS_REQUIRE_SHARED=1, as in CI.
func Program(tb testing.TB, name string) string {
	tb.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	if os.Getenv("CS_REQUIRE_SHARED") == "1" {
		tb.Fatalf("%s is required but missing (.ci/deps test installs it)", name)
	}
	tb.Skipf("%s is not installed", name)
	return ""
}

// moduleRoot walks up from the working directory, which in a test is the
// package's, to the directory with go.mod.
func moduleRoot(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			tb.Fatal("cannot find go.mod above the working directory")
		}
		dir = up
	}
}

package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var updateScripts = flag.Bool("update", false, "rewrite what scripts compare with")

// built and builtEdge return the path of the program, built once for all tests
// as a user would: static, stripped.
var (
	built     = sync.OnceValues(func() (string, error) { return build("", nil) })
	builtEdge = sync.OnceValues(func() (string, error) { return build("edge", nil) })
)

// build compiles the program with tags for a target given by environment
// settings, into a directory that lives as long as the test process.
func build(tags string, env []string) (string, error) {
	dir, err := os.MkdirTemp("", "cs-test-")
	if err != nil {
		return "", err
	}
	tmpMu.Lock()
	tmp = append(tmp, dir)
	tmpMu.Unlock()
	path := filepath.Join(dir, "cs")
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=v0.0.0-test", "-tags", tags, "-o", path, ".")
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build with tags %q for %v: %w\n%s", tags, env, err, out)
	}
	return path, nil
}

var (
	tmpMu sync.Mutex
	tmp   []string
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, dir := range tmp {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// TestScripts runs the stories in testdata/script against the built program,
// and against the edge build, which reads the command line by other means.
func TestScripts(t *testing.T) {
	t.Run("default", func(t *testing.T) { runScripts(t, built, false) })
	t.Run("edge", func(t *testing.T) { runScripts(t, builtEdge, true) })
}

func runScripts(t *testing.T, built func() (string, error), edge bool) {
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *updateScripts,
		// [edge] tells the build for routers, which leaves some commands out.
		Condition: func(cond string) (bool, error) {
			if cond == "edge" {
				return edge, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(bin)+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("CS", bin)
			env.Setenv("ADDR", freeAddr(t))
			env.Setenv("ADDR2", freeAddr(t))
			env.Setenv("CS_DATA_DIR", filepath.Join(env.WorkDir, "data"))
			env.Setenv("TOKEN", "token-of-a-script-with-enough-characters")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// await TEXT FILE waits up to a minute until a file contains a text.
			"await": func(ts *testscript.TestScript, neg bool, args []string) {
				if len(args) != 2 || neg {
					ts.Fatalf("usage: await TEXT FILE")
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				for {
					text, _ := os.ReadFile(ts.MkAbs(args[1]))
					if strings.Contains(string(text), args[0]) {
						return
					}
					select {
					case <-ctx.Done():
						ts.Fatalf("%s does not contain %q:\n%s", args[1], args[0], text)
					case <-time.After(10 * time.Millisecond):
					}
				}
			},
			// retry COMMAND ARGS... runs a command until it succeeds, for a minute.
			"retry": func(ts *testscript.TestScript, neg bool, args []string) {
				if len(args) == 0 || neg {
					ts.Fatalf("usage: retry COMMAND ARGS...")
				}
				var err error
				for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
					if err = ts.Exec(args[0], args[1:]...); err == nil {
						return
					}
				}
				ts.Fatalf("%v: %v", args, err)
			},
		},
	})
}

// freeAddr returns a loopback address with a port that was free a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

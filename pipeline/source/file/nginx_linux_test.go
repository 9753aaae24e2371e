package file

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cs/pipeline/event"
	"cs/platform/sharedtest"
)

// TestNginx reads what a real nginx logs under the load of wrk, while its log is
// rotated as logrotate does it.
func TestNginx(t *testing.T) {
	if testing.Short() {
		t.Skip("nginx and wrk take their time")
	}
	nginx, wrk := sharedtest.Program(t, "nginx"), sharedtest.Program(t, "wrk")
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	log, conf := filepath.Join(dir, "access.log"), filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 256; }
http { access_log %[2]s; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
 server { listen %[3]s; location / { return 200 "ok"; } } }
`, dir, log, addr)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // its workers are nobody
		t.Fatal(err)
	}
	server := exec.Command(nginx, "-c", conf, "-e", filepath.Join(dir, "error.log"))
	var said bytes.Buffer
	server.Stderr = &said
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		server.Process.Signal(syscall.SIGQUIT)
		server.Wait()
	}()
	await := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("never: %s\n%s", what, said.String())
			}
		}
	}
	await("nginx listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})

	var got, odd atomic.Int64
	s, err := New(Config{Globs: []string{log}, FromStart: true, Report: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func(_ context.Context, batch []event.Line, done func()) error {
			for _, line := range batch {
				if !strings.HasPrefix(line.Raw, "127.0.0.1 - - [") || !strings.HasSuffix(line.Raw, `"`) {
					odd.Add(1)
				}
			}
			got.Add(int64(len(batch)))
			done()
			return nil
		})
	}()

	load := exec.Command(wrk, "-t1", "-c8", "-d2s", "http://"+addr+"/index.html?q=1")
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		time.Sleep(400 * time.Millisecond)
		for i := n; i > 0; i-- {
			os.Rename(fmt.Sprintf("%s.%d", log, i), fmt.Sprintf("%s.%d", log, i+1))
		}
		if err := os.Rename(log, log+".1"); err != nil {
			t.Fatal(err)
		}
		if err := server.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		await("nginx opens a new log", func() bool { _, err := os.Stat(log); return err == nil })
	}
	if err := load.Wait(); err != nil {
		t.Fatal(err)
	}
	written := func() (n int64) {
		names, _ := filepath.Glob(log + "*")
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			n += int64(bytes.Count(text, []byte("\n")))
		}
		return n
	}
	await("all lines are read", func() bool { return got.Load() > 0 && got.Load() == written() })
	cancel()
	<-done
	if odd.Load() > 0 {
		t.Errorf("%d lines are not whole", odd.Load())
	}
	t.Logf("%d lines over 3 rotations", got.Load())
}

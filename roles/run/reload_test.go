package run

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"cs/roles/agent"
	"cs/roles/bouncer"
	"cs/roles/config"
)

func TestUntilAnew(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	hup := make(chan os.Signal)
	answers := make(chan error)
	anew := errors.New("anew")
	type end struct {
		again bool
		err   error
	}
	ended := make(chan end, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	start := func(run func(context.Context) error) {
		go func() {
			again, err := untilAnew(ctx, log, hup, func() (bool, error) {
				err := <-answers
				if errors.Is(err, anew) {
					return true, nil
				}
				return false, err
			}, run)
			ended <- end{again, err}
		}()
	}
	untilTold := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	want := func(again bool, err error) {
		t.Helper()
		if e := <-ended; e.again != again || !errors.Is(e.err, err) {
			t.Errorf("it ended with %+v", e)
		}
	}
	start(untilTold)
	for _, answer := range []error{errors.New("a typing error"), nil, anew} {
		hup <- syscall.SIGHUP
		answers <- answer
	}
	want(true, context.Canceled)
	if got := text.String(); strings.Count(got, "SIGHUP received, reloading") != 3 || strings.Count(got, "a typing error") != 1 || strings.Count(got, "Reload is finished") != 1 {
		t.Errorf("the log is\n%s", got)
	}
	// What fails as it ends, or ends by itself, is not started again.
	full := errors.New("no space left")
	start(func(ctx context.Context) error { <-ctx.Done(); return full })
	hup <- syscall.SIGHUP
	answers <- anew
	want(false, full)
	start(func(context.Context) error { return full })
	want(false, full)
	start(untilTold)
	cancel()
	want(false, context.Canceled)
}

// TestReload: what has changed is taken over while half-full buckets, open
// connections and bans stay; a faulty configuration changes nothing; and where
// all must start anew, what is on disk goes on.
func TestReload(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP")
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure := func(server, more string) {
		write("config.yaml", "api: {server: {listen_uri: '127.0.0.1:0', profiles_path: "+filepath.Join(dir, "profiles.yaml")+server+"}}\ncrowdsec_service: {}\nbouncer: {}\n"+more)
	}
	decide := func(duration string) {
		write("profiles.yaml", "name: p\nfilters: ['true']\ndecisions: [{type: ban, duration: "+duration+"}]\non_success: break\n")
	}
	configure("", "")
	decide("1h")
	write("auth.log", "")
	var out, log output
	c := Command{
		Reading:   agent.Reading{Logs: []string{filepath.Join(dir, "auth.log")}, Types: []string{"syslog"}},
		Enforcing: bouncer.Enforcing{DryRun: true},
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- c.Run(ctx, testEnv(&out, &log), &config.Flags{Config: filepath.Join(dir, "config.yaml"), DataDir: filepath.Join(dir, "data")})
	}()
	log.await(t, "cs is ready")
	log.await(t, "Local API listening on")
	failures := func(ip string, n int) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, "auth.log"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i := range n {
			fmt.Fprintf(f, "%s host sshd[%d]: Failed password for root from %s port %d ssh2\n", time.Now().Format("Jan _2 15:04:05"), i+1, ip, 4000+i)
		}
	}
	hangUp := func() {
		t.Helper()
		if err := self.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	address := regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`).FindStringSubmatch(log.text())[1]
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	alive := func() {
		t.Helper()
		fmt.Fprintf(conn, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("the connection broke: %v, %v", r, err)
		}
		r.Body.Close()
	}
	alive()

	failures("203.0.113.1", 5)
	awaitLines(t, filepath.Join(dir, "data", config.SocketName), 5)
	decide("2h")
	const token = "0123456789abcdef0123456789abcdef"
	configure(", auto_registration: {enabled: true, token: "+token+", allowed_ranges: [127.0.0.0/8]}", "")
	hangUp()
	log.awaitCount(t, "Reload is finished", 2) // of all, and of the agent
	failures("203.0.113.1", 1)
	out.await(t, "203.0.113.1")
	if text := out.text(); !regexp.MustCompile(`203\.0\.113\.1.*(2h|1h59m)`).MatchString(text) {
		t.Errorf("the new profile is not in force:\n%s", text)
	}
	r, err := http.Post("http://"+address+"/v1/watchers", "application/json", strings.NewReader(`{"machine_id":"m","password":"p","registration_token":"`+token+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusAccepted {
		t.Errorf("with the new token a machine gets %s", r.Status)
	}
	alive()

	decide("forever")
	hangUp()
	log.await(t, "the new configuration is faulty, the old one stays in force")
	alive()
	decide("3h")

	configure("", "limits: {max_decisions: 1000}\n")
	hangUp()
	log.await(t, "needs all roles to start anew")
	log.awaitCount(t, "cs is ready", 2)
	out.awaitCount(t, "203.0.113.1", 2) // the ban is still there

	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the end is an error: %v", err)
	}
}

// awaitLines waits until the agent has read so many lines.
func awaitLines(t *testing.T, socket string, n int) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	want := regexp.MustCompile(fmt.Sprintf(`(?m)^cs_filesource_hits_total\{.*\} %d$`, n))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r, err := client.Get("http://cs/metrics")
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if want.Match(page) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the agent has not read %d lines:\n%s", n, page)
		}
	}
}

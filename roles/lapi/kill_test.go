//go:build unix

package lapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/roles/api"
	"cs/storage"
	"cs/storage/bolt"
)

// killedChild names the directory of a child process that serves until it is
// killed.
const killedChild = "CS_TEST_LAPI_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedChild); dir != "" {
		err := serveUntilKilled(dir)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func openIn(ctx context.Context, dir string) (*Server, error) {
	return Open(ctx, Config{
		OpenStore:   func(ctx context.Context) (storage.Store, error) { return bolt.Open(ctx, filepath.Join(dir, "cs.db")) },
		AdminSocket: filepath.Join(dir, "s"),
		Log:         slog.New(slog.DiscardHandler),
	})
}

func serveUntilKilled(dir string) error {
	s, err := openIn(context.Background(), dir)
	if err != nil {
		return err
	}
	return s.Run(context.Background())
}

// storm is what clients of a server were promised.
type storm struct {
	mu      sync.Mutex
	alerts  map[string]string // value of the decision, by the ID of the alert
	deleted map[string]bool   // by value; false: it was asked for, and not answered

	old  *upstreamBouncer // whose place the server keeps
	ours *ourBouncer      // who keeps it, and waits for news
}

// follow polls until the server is gone.
func (st *storm) follow(client *http.Client) {
	ask := func(path, key string) (http.Header, []byte, error) {
		r, err := http.NewRequest("GET", "http://unix"+path, nil)
		if err != nil {
			return nil, nil, err
		}
		r.Header.Set(api.HeaderKey, key)
		w, err := client.Do(r)
		if err != nil {
			return nil, nil, err
		}
		defer w.Body.Close()
		body, err := io.ReadAll(w.Body)
		if err == nil && w.StatusCode != 200 {
			err = errors.New(w.Status)
		}
		return w.Header, body, err
	}
	var both sync.WaitGroup
	both.Go(func() {
		for {
			_, body, err := ask("/v1/decisions/stream", st.old.key)
			if err != nil {
				return
			}
			st.old.take(body, false, time.Now())
		}
	})
	both.Go(func() {
		for {
			h, body, err := ask(st.ours.path(time.Second), st.ours.key)
			if err != nil {
				return
			}
			st.ours.take(h, body)
		}
	})
	both.Wait()
}

func (st *storm) delete(value string, answered bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.deleted[value] = answered
}

// TestKillStorm kills the server at random moments in a storm of alerts and
// deletions over HTTP. When it is back, every alert that was acknowledged is
// there, what was deleted is not in force, all else is, and bouncers that have
// followed it all enforce exactly that.
func TestKillStorm(t *testing.T) {
	dir := t.TempDir()
	if len(dir) > 80 { // a socket's path is bounded
		var err error
		if dir, err = os.MkdirTemp("", "cs"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	promised := &storm{
		alerts: make(map[string]string), deleted: make(map[string]bool),
		old:  &upstreamBouncer{visitor: visitor{t: t, key: "old", from: "127.0.0.1"}, banned: make(map[string]time.Time)},
		ours: &ourBouncer{visitor: visitor{t: t, key: "ours", from: "127.0.0.1"}, view: make(enforced)},
	}
	for round := range 4 {
		promised.blow(t, dir, round, 100*time.Millisecond+time.Duration(rnd.IntN(300))*time.Millisecond)
		promised.check(t, dir)
	}
	t.Logf("%d alerts and %d deletions", len(promised.alerts), len(promised.deleted))
	if len(promised.alerts) == 0 {
		t.Error("no alert was acknowledged")
	}
}

// blow has clients report and delete until the server is killed.
func (st *storm) blow(t *testing.T, dir string, round int, after time.Duration) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), killedChild+"="+dir)
	var failure strings.Builder
	child.Stderr = &failure
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "s"))
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	call := func(method, path, token, body string, out any) error {
		r, err := http.NewRequest(method, "http://unix"+path, strings.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		w, err := client.Do(r)
		if err != nil {
			return err
		}
		defer w.Body.Close()
		if w.StatusCode/100 != 2 {
			return fmt.Errorf("%s %s: %s", method, path, w.Status)
		}
		return json.NewDecoder(w.Body).Decode(out)
	}
	var login api.LoginResponse
	deadline := time.Now().Add(30 * time.Second)
	for call("POST", api.PathAdminLogin, "", "", &login) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the server does not come up: ", failure.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
	if round == 0 {
		for _, name := range []string{st.old.key, st.ours.key} {
			var out api.BouncerResponse
			if err := call("POST", api.PathAdminBouncers, "", fmt.Sprintf(`{"name":%q,"key":%q}`, name, name), &out); err != nil {
				t.Fatal(err)
			}
		}
	}
	var senders sync.WaitGroup
	senders.Go(func() { st.follow(client) })
	for sender := range 8 {
		senders.Go(func() {
			for i := 0; ; i++ {
				value := fmt.Sprintf("10.%d.%d.%d", round*8+sender, i/256, i%256)
				var ids []string
				if call("POST", api.PathAlerts, login.Token, "["+alertJSON("Ip", value, "null", time.Now())+"]", &ids) != nil || len(ids) != 1 {
					return
				}
				st.mu.Lock()
				st.alerts[ids[0]] = value
				st.mu.Unlock()
				if i%5 != 4 {
					continue
				}
				st.delete(value, false)
				var out api.DeletedResponse
				if call("DELETE", api.PathDecisions+"?ip="+value, login.Token, "", &out) != nil {
					return
				}
				st.delete(value, true)
			}
		})
	}
	time.Sleep(after)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var killed *exec.ExitError
	if err := child.Wait(); !errors.As(err, &killed) || killed.Exited() {
		t.Fatalf("the server ended by itself: %v: %s", err, failure.String())
	}
	senders.Wait()
}

// check opens what the server left.
func (st *storm) check(t *testing.T, dir string) {
	t.Helper()
	s, err := openIn(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	st.old.h, st.ours.h = s.handler(), s.handler()
	st.old.poll(false, time.Now())
	compareUpstream(t, s, st.old, time.Now())
	st.ours.poll(0)
	st.ours.view.compare(t, s, "ours")
	told := make(map[string]bool)
	for _, d := range live(s) {
		told[d.Value] = true
	}
	lost := 0
	for text, value := range st.alerts {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.store.Alert(t.Context(), id)
		if err != nil || a.Source.Value != value || len(a.Decisions) != 1 {
			t.Errorf("alert %d about %s was acknowledged: %+v, %v", id, value, a, err)
			lost++
		}
		over, asked := st.deleted[value]
		if told[value] == over && (over || !asked) {
			t.Errorf("%s: in force is %v, deleted %v", value, told[value], over)
			lost++
		}
		if lost > 10 {
			t.Fatal("and more")
		}
	}
}

package lapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cs/roles/api"
)

// running runs a server on a free port and a socket. The returned stop ends
// it and gives how long that took and what Run returned.
func running(t *testing.T, change func(*Config)) (s *Server, url string, stop func() (time.Duration, error)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	s = open(t, func(c *Config) {
		c.Listen = address
		c.AdminSocket = filepath.Join(t.TempDir(), "cs.sock")
		if change != nil {
			change(c)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	url = "http://" + address
	for range 500 {
		if resp, err := http.Get(url + "/health"); err == nil {
			resp.Body.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop = sync.OnceValues(func() (time.Duration, error) {
		began := time.Now()
		cancel()
		err := <-done
		return time.Since(began), err
	})
	t.Cleanup(func() { stop() })
	return s, url, stop
}

// TestSocket: who may open the socket of the configuration, a proxy perhaps that
// speaks for the internet, is a client as any other.
func TestSocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no socket on Windows")
	}
	path := filepath.Join(t.TempDir(), "lapi.sock")
	s, _, _ := running(t, func(c *Config) { c.Socket = path })
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() == 0o600 { // the umask says; nobody's is so
		t.Fatal(info.Mode())
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	defer client.CloseIdleConnections()
	key := bouncer(t, s, "b").key
	f := func(method, target, key string, want int) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://socket"+target, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", key)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s %s: %s", method, target, resp.Status)
		}
	}
	f("GET", "/v1/decisions/stream?startup=true", key, 200)
	f("GET", "/v1/decisions/stream?startup=true", "", 403)
	f("POST", api.PathAdminLogin, "", 404)
	f("GET", api.PathAdminMachines, "", 404)
}

func TestAdministrationSocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no socket on Windows")
	}
	s, _, stop := running(t, nil)
	info, err := os.Stat(s.conf.AdminSocket)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Fatal(info.Mode(), err)
	}
	ctx, admin := t.Context(), api.NewAdmin(s.conf.AdminSocket)
	if err := admin.AddMachine(ctx, "web/1", "pw", false); err != nil {
		t.Fatal(err)
	}
	if err := admin.AddMachine(ctx, "web/1", "pw", false); !errors.Is(err, api.ErrExists) {
		t.Fatal(err)
	}
	if err := admin.AddMachine(ctx, "web/1", "pw2", true); err != nil {
		t.Fatal(err)
	}
	if err := admin.AddMachine(ctx, "long", strings.Repeat("x", 73), false); !errors.Is(err, api.ErrRejected) {
		t.Fatal(err)
	}
	if err := admin.ValidateMachine(ctx, "nobody"); !errors.Is(err, api.ErrNotFound) {
		t.Fatal(err)
	}
	list, err := admin.Machines(ctx)
	if err != nil || len(list) != 1 || list[0].Name != "web/1" || !list[0].Validated {
		t.Fatal(list, err)
	}
	if err := s.passwords.Check(ctx, mustMachine(t, s, "web/1"), "pw2", s.now()); err != nil {
		t.Fatal(err)
	}
	if err := admin.DeleteMachine(ctx, "web/1"); err != nil {
		t.Fatal(err)
	}
	if err := admin.DeleteMachine(ctx, "web/1"); !errors.Is(err, api.ErrNotFound) {
		t.Fatal(err)
	}

	key, err := admin.AddBouncer(ctx, "fw", "")
	if err != nil || len(key) != 43 {
		t.Fatal(key, err)
	}
	if own, err := admin.AddBouncer(ctx, "fw2", "my key"); err != nil || own != "my key" {
		t.Fatal(own, err)
	}
	if _, err := admin.AddBouncer(ctx, "fw", ""); !errors.Is(err, api.ErrExists) {
		t.Fatal(err)
	}
	bouncers, err := admin.Bouncers(ctx)
	if err != nil || len(bouncers) != 2 || bouncers[0].Name != "fw" || !bouncers[0].LastPull.IsZero() {
		t.Fatal(bouncers, err)
	}
	if err := admin.DeleteBouncer(ctx, "fw"); err != nil {
		t.Fatal(err)
	}
	if err := admin.DeleteBouncer(ctx, "fw"); !errors.Is(err, api.ErrNotFound) {
		t.Fatal(err)
	}

	// Without credentials, as a machine of this host.
	c, err := admin.Client(ctx)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Format(time.RFC3339)
	ids, err := c.PostAlerts(ctx, []api.Alert{{StartAt: now, StopAt: now, Decisions: []api.Decision{{Type: "ban", Scope: "ip", Value: "1.2.3.4", Duration: "1h", Origin: "cscli"}}}})
	if err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	id, err := strconv.ParseInt(ids[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := c.Alert(ctx, id); err != nil || a.MachineID != api.SocketMachine {
		t.Fatal(a, err)
	}
	if n, err := c.DeleteAlerts(ctx, nil); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.conf.AdminSocket); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("the socket is left behind: ", err)
	}
	left, _ := os.ReadDir(filepath.Dir(s.conf.AdminSocket))
	if len(left) != 0 {
		t.Fatal("left behind: ", left)
	}
	if _, err := admin.Machines(ctx); !errors.Is(err, api.ErrUnreachable) {
		t.Fatal(err)
	}
}

func mustMachine(t *testing.T, s *Server, id string) (hash string) {
	t.Helper()
	m, err := s.store.Machine(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return m.PasswordHash
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := open(t, func(c *Config) { c.Listen = l.Addr().String() })
	err = s.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "cannot listen on "+l.Addr().String()) {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" && !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Fatalf("the owner isn't named: %v", err)
	}
	// Agent and bouncer of this process don't mind.
	if err := s.Local("m").Heartbeat(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d, err := s.Feed("b").Next(t.Context()); err != nil || !d.Full {
		t.Fatal(d, err)
	}
}

// TestStopIsQuick: neither waiting bouncers nor dribbling clients hold it up.
func TestStopIsQuick(t *testing.T) {
	s, url, stop := running(t, nil)
	key, err := s.addBouncer(t.Context(), "b", "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := api.NewClient(api.ClientConfig{URL: url, APIKey: key})
	if err != nil {
		t.Fatal(err)
	}
	stream := c.Stream(api.StreamConfig{})
	if _, err := stream.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() { _, err := stream.Next(t.Context()); waiting <- err }()
	slow, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	io.WriteString(slow, "POST /v1/watchers HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	time.Sleep(100 * time.Millisecond)
	if took, err := stop(); took > 5*time.Second || err != nil { // a second, where nothing else runs
		t.Fatal(took, err)
	}
	<-waiting
}

// TestFloodOfBadLogins: guessing is slowed down, and doesn't lock out who
// logged in a while ago from the same address.
func TestFloodOfBadLogins(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	if err := s.addMachine(t.Context(), "m", "secret", "", true); err != nil {
		t.Fatal(err)
	}
	v := visitor{t: t, h: s.handler()}
	good := `{"machine_id":"m","password":"secret"}`
	v.want("POST", "/v1/watchers/login", good, 200, "*")
	count := map[int]int{}
	began := time.Now()
	for i := range 200 {
		w := v.do("POST", "/v1/watchers/login", fmt.Sprintf(`{"machine_id":"m","password":"guess %d"}`, i))
		count[w.Code]++
		if w.Code == 429 && w.Header().Get("Retry-After") == "" {
			t.Fatal("no Retry-After")
		}
	}
	if count[401] != 10 || count[429] != 190 {
		t.Fatalf("%v in %v", count, time.Since(began))
	}
	v.want("POST", "/v1/watchers/login", good, 200, "*")
	v.from = "198.51.100.1"
	v.want("POST", "/v1/watchers/login", `{"machine_id":"m","password":"guess"}`, 401, "*") // somebody else
	v.from = ""
	clk.Add(time.Hour)
	v.want("POST", "/v1/watchers/login", `{"machine_id":"m","password":"guess"}`, 401, "*")
}

func TestFloodOfRegistrations(t *testing.T) {
	s := open(t, nil)
	count := map[int]int{}
	for i := range 50 {
		v := visitor{t: t, h: s.handler()}
		count[v.do("POST", "/v1/watchers", fmt.Sprintf(`{"machine_id":"m%d","password":"pw"}`, i)).Code]++
	}
	if count[201] != 10 || count[429] != 40 {
		t.Fatal(count)
	}
	for i := range maxPending {
		s.machines.set(fmt.Sprint("pending", i), false)
	}
	visitor{t: t, h: s.handler(), from: "198.51.100.1"}.want("POST", "/v1/watchers", `{"machine_id":"x","password":"pw"}`, 403, `{"message":"access forbidden"}`)
}

func TestRefusedBodyIsNotRead(t *testing.T) {
	s, url, _ := running(t, nil)
	m := machine(t, s, "m")
	var sent atomic.Int64
	body := readerFunc(func(p []byte) (int, error) {
		if sent.Add(int64(len(p))) > largeBody+64<<20 {
			return 0, io.EOF
		}
		for i := range p {
			p[i] = ' '
		}
		return len(p), nil
	})
	req, _ := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/alerts", body)
	req.Header.Set("Authorization", "Bearer "+m.token)
	resp, err := http.DefaultClient.Do(req)
	if err == nil { // the connection may be gone before the answer is read
		defer resp.Body.Close()
		if resp.StatusCode != 400 {
			t.Fatal(resp.Status)
		}
	}
	if n := sent.Load(); n > largeBody+32<<20 {
		t.Fatalf("the server let us send %d MB", n>>20)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestPriorKnowledgeHTTP2(t *testing.T) {
	_, url, _ := running(t, nil)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	c := http.Client{Transport: &http.Transport{Protocols: protocols}}
	resp, err := c.Get(url + "/health")
	if err != nil || resp.ProtoMajor != 2 {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
}

func TestConnectionsAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited := limitListener(l, 2)
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := limited.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	noteState(first, http.StateActive)
	noteState(second, http.StateActive)
	select {
	case <-accepted:
		t.Fatal("a third connection was let in")
	case <-time.After(4 * lookAgain):
	}
	first.Close()
	first.Close() // a second Close frees nothing
	third := <-accepted
	noteState(third, http.StateActive)
	if _, err := net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	noteState(second, http.StateIdle)
	<-accepted
	if _, err := second.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Fatal("who rests has to make room", err)
	}
	limited.Close()
	if _, open := <-accepted; open {
		t.Fatal("accepted after Close")
	}
}

func TestAnswerOverARealConnection(t *testing.T) {
	s, url, _ := running(t, nil)
	key, err := s.addBouncer(t.Context(), "b", "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /v1/decisions/stream?startup=true HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\n\r\n", key)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != `{"new": [], "deleted": []}` || len(resp.TransferEncoding) != 1 || resp.TransferEncoding[0] != "chunked" {
		t.Fatalf("%q %v %v", body, resp.TransferEncoding, err)
	}
}

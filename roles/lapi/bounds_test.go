package lapi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cs/storage"
	"cs/storage/mem"
)

// TestRefusedDecisionsComeLater: what had no room when it was stored comes into
// force when others have ended, unless somebody has lifted it meanwhile.
func TestRefusedDecisionsComeLater(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, func(c *Config) { turned(c); c.MaxDecisions = 2 })
	m, b := machine(t, s, "m"), bouncer(t, s, "b")
	manual(t, m, clk.Now(), decisionJSON("ip", "1.1.1.1", "ban", "cscli", "1h"), decisionJSON("ip", "1.1.1.2", "ban", "cscli", "1h"),
		decisionJSON("ip", "1.1.1.3", "ban", "cscli", "4h"), decisionJSON("ip", "1.1.1.4", "ban", "cscli", "4h"))
	b.want("GET", "/v1/decisions?ip=1.1.1.3", "", 200, "null")
	b.want("GET", "/v1/decisions/stream?startup=true", "", 200, "*")
	if _, err := s.expire(t.Context(), []int64{4}); err != nil {
		t.Fatal(err)
	}
	clk.Add(2 * time.Hour)
	s.decisions.Advance(clk.Now())
	if err := s.readmit(t.Context()); err != nil {
		t.Fatal(err)
	}
	const left = `{"duration":"2h0m0s","id":3,"origin":"cscli","scenario":"manual","scope":"Ip","type":"ban","value":"1.1.1.3"}`
	b.want("GET", "/v1/decisions?ip=1.1.1.3", "", 200, "["+left+"]")
	b.want("GET", "/v1/decisions", "", 200, "["+left+"]")
	if w := b.want("GET", "/v1/decisions/stream", "", 200, "*"); w.Header().Get("X-Cs-Full") != "true" {
		t.Fatalf("a bouncer that polls must get the whole set, this is %s", w.Body)
	}
	if n := s.decisions.Room(); n != 0 {
		t.Fatalf("nobody waits for the room of %d", n)
	}
}

// TestClockSetBack: what ended by a clock that was ahead is in force again when
// the clock has been set right, although the server was restarted in between.
func TestClockSetBack(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		clk, turned := clockAtNoon()
		store := kept{mem.New()}
		conf := func(c *Config) {
			turned(c)
			c.OpenStore = func(context.Context) (storage.Store, error) { return store, nil }
		}
		s := open(t, conf)
		m, b := machine(t, s, "m"), bouncer(t, s, "b")
		manual(t, m, clk.Now(), decisionJSON("ip", "1.1.1.1", "ban", "cscli", "1h"), decisionJSON("ip", "1.1.1.2", "ban", "cscli", "1h"))
		m.want("DELETE", "/v1/decisions/2", "", 200, "*")
		clk.Add(48 * time.Hour)
		if restarted {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, conf)
			b.h = s.handler()
		}
		b.want("GET", "/v1/decisions/stream", "", 200, "*")
		b.want("GET", "/v1/decisions", "", 200, "null")
		clk.Add(-48*time.Hour + time.Minute)
		s.decisions.Advance(clk.Now())
		if err := s.readmit(t.Context()); err != nil {
			t.Fatal(err)
		}
		const left = `{"duration":"59m0s","id":1,"origin":"cscli","scenario":"manual","scope":"Ip","type":"ban","value":"1.1.1.1"}`
		b.want("GET", "/v1/decisions", "", 200, "["+left+"]")
		if w := b.want("GET", "/v1/decisions/stream", "", 200, "*"); w.Header().Get("X-Cs-Full") != "true" || !strings.Contains(w.Body.String(), `"id":1,`) {
			t.Fatalf("a bouncer that polls must get the whole set, this is %s", w.Body)
		}
	}
}

// TestStrangersShareRoom: of what anybody may send, few large bodies are in memory
// at a time. Small ones don't wait for them.
func TestStrangersShareRoom(t *testing.T) {
	s := open(t, nil)
	v := visitor{t: t, h: s.handler()}
	var others []*turn
	for i := range strangerTurns {
		o, err := s.strangers.take(t.Context(), fmt.Sprint(i), func() {})
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, o)
	}
	v.want("POST", "/v1/watchers", `{"machine_id":"x","password":"p"}`, 201, "")
	sent := &counted{r: strings.NewReader(strings.Repeat(" ", smallBody/2) + `{"machine_id":"y","password":"p"}`)}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	v.send(httptest.NewRequestWithContext(ctx, "POST", "/v1/watchers", sent))
	if sent.n != smallStranger {
		t.Fatalf("%d bytes of a large body were read", sent.n)
	}
	others[0].end()
	v.want("POST", "/v1/watchers", strings.Repeat(" ", smallBody/2)+`{"machine_id":"y","password":"p"}`, 201, "")
	if n := len(s.strangers.having); n != strangerTurns-1 {
		t.Fatalf("%d have a turn", n)
	}
}

type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// slowDisk is a store whose AddBouncer waits.
type slowDisk struct {
	storage.Store
	adding, goOn chan struct{}
}

func (d slowDisk) AddBouncer(ctx context.Context, b storage.Bouncer) error {
	if b.AutoCreated {
		close(d.adding)
		<-d.goOn
	}
	return d.Store.AddBouncer(ctx, b)
}

// TestPollsDoNotWaitForTheDisk: while a row is made for a new host, others are
// answered.
func TestPollsDoNotWaitForTheDisk(t *testing.T) {
	disk := slowDisk{mem.New(), make(chan struct{}), make(chan struct{})}
	s := open(t, func(c *Config) { c.OpenStore = func(context.Context) (storage.Store, error) { return disk, nil } })
	b := bouncer(t, s, "b")
	b.want("GET", "/v1/decisions", "", 200, "null")
	second := b
	second.from = "192.0.2.2"
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		second.want("GET", "/v1/decisions", "", 200, "null")
	}()
	<-disk.adding
	b.want("GET", "/v1/decisions", "", 200, "null")
	close(disk.goOn)
	<-answered
	if rows := s.bouncers.list(); len(rows) != 2 || rows[1].Name != "b@192.0.2.2" {
		t.Fatalf("rows %+v", rows)
	}
}

// piecemeal is an answer that notes how much of it comes at once.
type piecemeal struct {
	*httptest.ResponseRecorder
	longest int
}

func (p *piecemeal) Write(b []byte) (int, error) {
	p.longest = max(p.longest, len(b))
	return p.ResponseRecorder.Write(b)
}

// TestLongAnswersComeInPieces: a client that asks for everything and takes it
// slowly doesn't have the server keep it in memory.
func TestLongAnswersComeInPieces(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	m, b := machine(t, s, "m"), bouncer(t, s, "b")
	for i := range 3 * mostFound / 100 {
		var list []string
		for j := range 100 {
			list = append(list, decisionJSON("ip", fmt.Sprintf("10.0.%d.%d", i, j), "ban", "cscli", "1h"))
		}
		manual(t, m, clk.Now(), list...)
	}
	const n = 3 * mostFound / 100 * 100
	f := func(path string, want int, last string) {
		t.Helper()
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("X-Api-Key", b.key)
		r.Header.Set("Authorization", "Bearer "+m.token)
		w := &piecemeal{ResponseRecorder: httptest.NewRecorder()}
		s.handler().ServeHTTP(w, r)
		body := w.Body.String()
		if got := strings.Count(body, `"origin"`); got != want || !json.Valid(w.Body.Bytes()) || !strings.HasSuffix(body, last) {
			t.Errorf("%s: %d decisions, valid %v", path, got, json.Valid(w.Body.Bytes()))
		}
		if w.longest > 3*flushOver || w.Header().Get("Content-Type") != jsonType {
			t.Errorf("%s: %d bytes at once, %s", path, w.longest, w.Header().Get("Content-Type"))
		}
	}
	end := fmt.Sprintf(`"value":"10.0.%d.99"}]`, n/100-1)
	f("/v1/decisions", n, end)
	f("/v1/decisions?range=10.0.0.0/8&contains=false", n, end)
	f("/v1/decisions?limit=5000&offset=3", 5000, "}]")
	f("/v1/alerts?limit=0", n, "}]")

	// So it is with one alert that is long.
	var list []string
	for i := range 3000 {
		list = append(list, decisionJSON("ip", fmt.Sprintf("10.1.%d.%d", i/100, i%100), "ban", "cscli", "1h"))
	}
	event := `{"timestamp":"2026-03-01T10:00:20Z","meta":[{"key":"k","value":"` + strings.Repeat("v", 4000) + `"}]}`
	long := strings.Replace(alertJSON("Ip", "192.0.2.7", "["+strings.Join(list, ",")+"]", clk.Now()), `"events":[`, `"events":[`+strings.Repeat(event+",", 200), 1)
	m.want("POST", "/v1/alerts", "["+long+"]", 201, "*")
	id := 3*mostFound/100 + 1
	f(fmt.Sprintf("/v1/alerts/%d", id), 3000, "}")
	f("/v1/alerts?limit=1", 3000, "}]")
	stored, err := s.store.Alert(t.Context(), int64(id))
	if err != nil {
		t.Fatal(err)
	}
	m.want("GET", fmt.Sprintf("/v1/alerts/%d", id), "", 200, string(marshal(shown(&stored, clk.Now()))))
}

// TestSlowReadersOfAlerts: who asks for long alerts and doesn't take them makes place for
// others.
func TestSlowReadersOfAlerts(t *testing.T) {
	s, url, _ := running(t, nil)
	s.reads.fair = 20 * time.Millisecond
	m := machine(t, s, "m")
	if w := m.do("POST", "/v1/alerts", string(importBody(100_000))); w.Code != 201 {
		t.Fatal(w.Body)
	}
	having := func() int {
		s.reads.mu.Lock()
		defer s.reads.mu.Unlock()
		return len(s.reads.having)
	}
	var slow []net.Conn
	for i := range readTurns {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.(*net.TCPConn).SetReadBuffer(64 << 10) // less than the answer
		fmt.Fprintf(c, "GET /v1/alerts/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", machine(t, s, fmt.Sprint("slow", i)).token)
		slow = append(slow, c)
	}
	for deadline := time.Now().Add(10 * time.Second); having() < readTurns; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d read", having())
		}
	}
	done := make(chan int, 1)
	go func() { done <- m.do("GET", "/v1/alerts?limit=1&with_decisions=false", "").Code }()
	select {
	case status := <-done:
		if status != 200 {
			t.Fatalf("another one gets %d", status)
		}
	case <-time.After(15 * time.Second): // a slow one's piece may take 30
		t.Fatal("another one has to wait for slow ones")
	}
	cut := 0
	for _, c := range slow {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			cut++
			continue
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode == 503 { // it had not begun
			cut++
		}
	}
	if cut != 1 {
		t.Fatalf("%d of the slow ones were sent away, want one", cut)
	}
}

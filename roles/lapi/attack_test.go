package lapi

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// endless is n bytes of one kind.
type endless struct {
	kind byte
	n    int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.n)
	for i := range p[:n] {
		p[i] = e.kind
	}
	e.n -= n
	return n, nil
}

// TestAttacks: over real connections come bodies without end, bombs, headers
// without end, guessed keys and tokens, clients that leave in the midst of their
// answers, and more who wait than there is room for. Others are served
// meanwhile, and nothing is left of it: neither goroutines nor memory.
func TestAttacks(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten seconds")
	}
	s, url, _ := running(t, nil)
	m, fw := machine(t, s, "m"), bouncer(t, s, "fw")
	if w := m.do("POST", "/v1/alerts", string(importBody(20_000))); w.Code != 201 {
		t.Fatal(w.Body)
	}
	fw.want("GET", "/v1/decisions/stream?startup=true", "", 200, "*")
	address := strings.TrimPrefix(url, "http://")
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(time.Minute))
		return c
	}
	heap := func() uint64 {
		for range 3 { // what lies in a sync.Pool goes with the second
			runtime.GC()
		}
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	goroutines, memory := runtime.NumGoroutine(), heap()

	// send writes the beginning of a request, and a body as long as it is taken,
	// and returns the status, 0 if the connection was cut.
	send := func(head string, body io.Reader) int {
		c := dial()
		defer c.Close()
		answer := make(chan int, 1)
		go func() {
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				answer <- 0
				return
			}
			answer <- resp.StatusCode
		}()
		io.WriteString(c, strings.ReplaceAll(head, "\n", "\r\n"))
		io.Copy(c, body)
		return <-answer
	}
	token := "Host: x\nAuthorization: Bearer " + m.token + "\n"
	refused := func(what string, got int, want ...int) {
		t.Helper()
		for _, w := range want {
			if got == w {
				return
			}
		}
		t.Errorf("%s: %d, want one of %d", what, got, want)
	}
	refused("1 GB announced", send("POST /v1/alerts HTTP/1.1\n"+token+"Content-Length: 1000000000\n\n", &endless{' ', 1e9}), 400, 0)
	refused("1 GB without permission", send("POST /v1/alerts HTTP/1.1\nHost: x\nContent-Length: 1000000000\n\n", &endless{' ', 1e9}), 401, 0)
	refused("a login of 1 GB", send("POST /v1/watchers/login HTTP/1.1\nHost: x\nContent-Length: 1000000000\n\n", &endless{' ', 1e9}), 401, 400, 0)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	io.Copy(z, &endless{' ', 200e6})
	z.Close()
	refused("a bomb", send(fmt.Sprintf("POST /v1/alerts HTTP/1.1\n%sContent-Encoding: gzip\nContent-Length: %d\n\n", token, bomb.Len()), &bomb), 400)
	refused("five million arrays", send("POST /v1/alerts HTTP/1.1\n"+token+"Content-Length: 5000000\n\n", &endless{'[', 5e6}), 400)
	refused("a million headers", send("GET /health HTTP/1.1\nHost: x\n", strings.NewReader(strings.Repeat("X-Many: x\r\n", 1e6))), 431, 0)
	refused("a header without end", send("GET /health HTTP/1.1\nHost: x\nX-Long: ", &endless{'x', 1e9}), 431, 0)

	var others sync.WaitGroup
	for w := range 8 {
		others.Go(func() { // who guess
			for i := range 100 {
				key := fmt.Sprintf("X-Api-Key: guess %d %d\n", w, i)
				refused("a guessed key", send("GET /v1/decisions HTTP/1.1\nHost: x\nConnection: close\n"+key+"\n", nothing()), 403)
				refused("a guessed token", send("GET /v1/heartbeat HTTP/1.1\nHost: x\nAuthorization: Bearer a.b.c\n\n", nothing()), 401)
			}
		})
		others.Go(func() { // who leave when they have seen a little of it
			for range 20 {
				c := dial()
				fmt.Fprintf(c, "GET /v1/decisions/stream?startup=true HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\n\r\n", fw.key)
				io.ReadFull(c, make([]byte, 1000))
				c.Close()
			}
		})
	}
	others.Wait()

	// More wait for news than there may be connections. Those have to wait
	// outside, but for who has asked for nothing yet.
	var all []net.Conn
	for range maxConnections + 50 {
		c := dial()
		all = append(all, c)
		if len(all) <= maxConnections-10 {
			fmt.Fprintf(c, "GET /v1/decisions/stream?wait=30s HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\n\r\n", fw.key)
		}
	}
	fw.want("GET", "/v1/decisions?ip=203.0.113.1", "", 200, "null")
	refused("who comes last", send("GET /health HTTP/1.1\nHost: x\nConnection: close\n\n", nothing()), 200)
	for _, c := range all {
		c.Close()
	}

	for range 500 {
		if runtime.NumGoroutine() <= goroutines+10 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > goroutines+10 {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines, %d before:\n%s", n, goroutines, buf[:runtime.Stack(buf, true)])
	}
	if now := heap(); now > memory+8<<20 {
		t.Errorf("%d bytes of memory, %d before", now, memory)
	}
}

func nothing() io.Reader { return strings.NewReader("") }

// TestSlowHeaders: who sends a header or a login bit by bit is cut off after
// ten seconds.
func TestSlowHeaders(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten seconds")
	}
	t.Parallel()
	_, url, _ := running(t, nil)
	var slow sync.WaitGroup
	for _, head := range []string{
		"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"POST /v1/watchers/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", // is refused at the first byte
		"POST /v1/watchers/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{\"a\":\"",
		"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ", // the second of a connection
	} {
		slow.Go(func() {
			c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.WriteString(c, head)
			cut := make(chan struct{})
			go func() {
				io.Copy(io.Discard, c)
				close(cut)
			}()
			for range 300 { // a minute
				select {
				case <-cut:
					return
				case <-time.After(200 * time.Millisecond):
					io.WriteString(c, "x")
				}
			}
			t.Errorf("%q is still served", head)
		})
	}
	slow.Wait()
}

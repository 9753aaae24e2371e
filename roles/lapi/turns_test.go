package lapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestTurns: turns begin in order, one of a sender; who is overdue is hurried up
// if another one waits, and only then.
func TestTurns(t *testing.T) {
	q := newTurns(2, time.Hour)
	hurried := ""
	begin := func(who string) (*turn, context.CancelFunc, chan error) {
		ctx, cancel := context.WithCancel(t.Context())
		got, err := make(chan *turn, 1), make(chan error, 1)
		q.mu.Lock()
		before := len(q.waiting) + len(q.having)
		q.mu.Unlock()
		go func() {
			one, e := q.take(ctx, who, func() { hurried += who })
			got <- one
			err <- e
		}()
		for {
			q.mu.Lock()
			here := len(q.waiting)+len(q.having) > before
			var one *turn
			if n := len(q.waiting); here && n > 0 && q.waiting[n-1].who == who {
				one = q.waiting[n-1]
			} else if here {
				one = q.having[who]
			}
			q.mu.Unlock()
			if here {
				return one, cancel, err
			}
		}
	}
	want := func(having string, waiting string, hurriedUp string) {
		t.Helper()
		q.mu.Lock()
		defer q.mu.Unlock()
		w := ""
		for _, one := range q.waiting {
			w += one.who
		}
		h := ""
		for _, who := range []string{"a", "b", "c", "d"} {
			if q.having[who] != nil {
				h += who
			}
		}
		if h != having || w != waiting || hurried != hurriedUp {
			t.Fatalf("%s have a turn, %s wait, %s were hurried up; want %s, %s, %s", h, w, hurried, having, waiting, hurriedUp)
		}
	}
	a1, _, _ := begin("a")
	a2, _, _ := begin("a")
	want("a", "a", "")
	a1.ring()
	want("a", "a", "") // it waits for itself
	b1, _, _ := begin("b")
	want("ab", "a", "")
	_, leave, left := begin("c")
	want("ab", "ac", "a")
	leave()
	if err := <-left; err == nil {
		t.Fatal("who left has a turn")
	}
	want("ab", "a", "a")
	c1, _, _ := begin("c")
	want("ab", "ac", "a") // a is about to end
	if !a1.arrived() {
		t.Fatal("a doesn't know")
	}
	a1.end()
	want("ab", "c", "a")
	b1.arrived()
	b1.ring()
	want("ab", "c", "a") // b's is in use already
	d1, _, _ := begin("d")
	a2.ring()
	want("ab", "cd", "aa")
	b1.end()
	want("ac", "d", "aa")
	c1.end()
	a2.end()
	d1.end()
	want("", "", "aa")
}

// TestDribblersDoNotStarveOthers: two machines that send large bodies bit by bit
// make place for a third, and are told to come again; one that is slow while
// nobody waits is served.
func TestDribblersDoNotStarveOthers(t *testing.T) {
	s, url, _ := running(t, nil)
	s.large.fair = 20 * time.Millisecond
	// post begins a large body.
	post := func(id string) (c net.Conn, end func() int) {
		t.Helper()
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(20 * time.Second)) // much less than a minute
		body := strings.Repeat(" ", 2*largeUpload) + "[" + alertJSON("Ip", "192.0.2.7", "null", time.Now()) + "]"
		fmt.Fprintf(c, "POST /v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
			machine(t, s, id).token, len(body), body[:largeUpload+1])
		return c, func() int {
			t.Helper()
			go io.WriteString(c, body[largeUpload+1:]) // fails if the connection is cut
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(id, err)
			}
			if after := resp.Header.Get("Retry-After"); resp.StatusCode == 503 && after == "" {
				t.Error("it doesn't say when to come again")
			}
			return resp.StatusCode
		}
	}
	having := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			s.large.mu.Lock()
			got := 0
			for _, one := range s.large.having {
				if one.overdue {
					got++
				}
			}
			s.large.mu.Unlock()
			if got == n {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d have been having a turn for long, want %d", got, n)
			}
		}
	}
	_, end := post("alone")
	having(1)
	if status := end(); status != 201 {
		t.Fatalf("who is slow while nobody waits gets %d", status)
	}

	first, _ := post("slow 1")
	second, _ := post("slow 2")
	having(2)
	_, end = post("quick")
	if status := end(); status != 201 {
		t.Fatalf("the third gets %d", status)
	}
	busy := 0
	for _, c := range []net.Conn{first, second} {
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil && resp.StatusCode == 503 {
			busy++
		}
	}
	if busy != 1 {
		t.Fatalf("%d of the slow ones were sent away, want one", busy)
	}
}

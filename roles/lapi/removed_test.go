package lapi

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestRemovedWhileWaiting: a bouncer that is removed while it waits for news is sent
// away at once, and hears none.
func TestRemovedWhileWaiting(t *testing.T) {
	s := open(t, nil)
	m, fw, other := machine(t, s, "m"), bouncer(t, s, "fw"), bouncer(t, s, "other")
	for _, b := range []visitor{fw, other} {
		b.want("GET", "/v1/decisions/stream?startup=true", "", 200, "*")
	}
	wait := func(b visitor) chan *httptest.ResponseRecorder {
		got := make(chan *httptest.ResponseRecorder, 1)
		go func() { got <- b.do("GET", "/v1/decisions/stream?wait=30s", "") }()
		return got
	}
	gone, stays := wait(fw), wait(other)
	polls := func(name string) uint64 {
		s.requests.mu.RLock()
		defer s.requests.mu.RUnlock()
		return s.requests.callers[caller{true, name, route{"/v1/decisions/stream", "GET"}}].Load()
	}
	for deadline := time.Now().Add(30 * time.Second); polls("fw")+polls("other") < 4 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if err := s.deleteBouncer(t.Context(), "fw"); err != nil {
		t.Fatal(err)
	}
	select {
	case w := <-gone:
		if w.Code != 403 || w.Body.String() != `{"message":"access forbidden"}` {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it is still waiting")
	}
	m.want("POST", "/v1/alerts", "["+alertJSON("Ip", "192.0.2.7", "null", time.Now())+"]", 201, "*")
	if w := <-stays; w.Code != 200 || !strings.Contains(w.Body.String(), "192.0.2.7") {
		t.Fatalf("the other one hears %d %s", w.Code, w.Body)
	}
}

// TestDeletedWhilePosting: what a machine sends whose body was still coming when it was
// deleted is not stored.
func TestDeletedWhilePosting(t *testing.T) {
	s := open(t, nil)
	m := machine(t, s, "m")
	body, rest := io.Pipe()
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() { done <- m.send(httptest.NewRequestWithContext(t.Context(), "POST", "/v1/alerts", body)) }()
	text := "[" + alertJSON("Ip", "192.0.2.7", "null", time.Now()) + "]"
	io.WriteString(rest, text[:50]) // has been read when it returns
	if err := s.deleteMachine(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	io.WriteString(rest, text[50:])
	rest.Close()
	if w := <-done; w.Code != 401 || w.Body.String() != `{"code":401,"message":"ent: machine not found"}` {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if bans := live(s); len(bans) != 0 {
		t.Fatal(bans)
	}
}

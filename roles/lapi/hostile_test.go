package lapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cs/decisions"
	"cs/storage"
	"cs/storage/mem"
)

// TestIdleConnections opens a thousand connections that say nothing, or begin
// to say something and stop. Others are served meanwhile.
func TestIdleConnections(t *testing.T) {
	s, url, _ := running(t, nil)
	address := strings.TrimPrefix(url, "http://")
	var mu sync.Mutex
	var idle []net.Conn
	defer func() {
		for _, c := range idle {
			c.Close()
		}
	}()
	var openers sync.WaitGroup
	for w := range 10 {
		openers.Go(func() {
			for i := range 100 {
				c, err := net.Dial("tcp", address)
				if err != nil {
					t.Errorf("connection %d of %d: %v", i, w, err)
					return
				}
				if i%2 == 0 {
					fmt.Fprintf(c, "POST /v1/watchers/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nX-Slow: ")
				}
				mu.Lock()
				idle = append(idle, c)
				mu.Unlock()
			}
		})
	}
	openers.Wait()
	key, err := s.addBouncer(t.Context(), "fw", "")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/v1/decisions?ip=192.0.2.7", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Api-Key", key)
		req.Close = true // a connection of its own
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
}

// TestGarbage sends ten thousand requests that make no sense, some of them
// with good credentials. Nothing breaks, and who makes sense is served.
func TestGarbage(t *testing.T) {
	s := open(t, nil)
	agent, fw := machine(t, s, "m"), bouncer(t, s, "fw")
	h := s.handler()
	each := 2500
	if testing.Short() {
		each = 500
	}
	var senders sync.WaitGroup
	for w := range 4 {
		senders.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for range each {
				r := garbage(rnd)
				if r == nil {
					continue
				}
				switch rnd.IntN(3) {
				case 0:
					r.Header.Set("Authorization", "Bearer "+agent.token)
				case 1:
					r.Header.Set("X-Api-Key", fw.key)
				}
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, r.WithContext(t.Context()))
				if rec.Code >= 502 || rec.Code < 200 {
					t.Errorf("%s %s: %d", r.Method, r.URL, rec.Code)
				}
			}
		})
	}
	senders.Wait()
	agent.want("GET", "/v1/heartbeat", "", 200, "")
	fw.want("GET", "/v1/decisions?ip=192.0.2.7", "", 200, "null")
}

// garbage makes a request out of pieces that some handler knows.
func garbage(rnd *rand.Rand) *http.Request {
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	word := func() string {
		b := make([]byte, rnd.IntN(12))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return string(b)
	}
	path := pick("/v1/watchers", "/v1/watchers/login", "/v1/alerts", "/v1/alerts/7", "/v1/decisions", "/v1/decisions/stream", "/v1/decisions/9",
		"/v1/allowlists", "/v1/allowlists/x", "/v1/allowlists/check", "/v1/allowlists/check/1.2.3.4", "/v1/usage-metrics", "/v1/bouncers",
		"/v1/refresh_token", "/v1/heartbeat", "/health", "/admin/v1/machines", "/", "//", "/v1/../v1/alerts", "/v1/alerts/%2F", "/v1/allowlists/check/%00")
	query := ""
	for range rnd.IntN(4) {
		query += "&" + pick("ip", "range", "scope", "scopes", "value", "since", "until", "limit", "offset", "id_gt", "cursor", "startup", "contains", "uuid", "sort") +
			"=" + pick("1.2.3.4", "::/0", "-1", "99999999999999999999", "true", "%00", "%ff%fe", "1d1d", strings.Repeat("9", 200), "a,b,,", "0x7f")
	}
	body := pick("", "{}", "[]", "[{}]", "null", "[null]", `{"machine_id":1}`, `{"machine_id":"a","password":"b"}`, `{"targets":[1]}`, `{"targets":["`+strings.Repeat("1", 300)+`"]}`,
		`[{"decisions":[{}]}]`, `[{"source":{}}]`, strings.Repeat("[", 20_000), strings.Repeat(`{"a":`, 5000), word(), `{"remediation_components":[{}]}`)
	var text bytes.Buffer
	if rnd.IntN(4) == 0 {
		z := gzip.NewWriter(&text)
		z.Write([]byte(body))
		z.Close()
		text.Truncate(text.Len() - rnd.IntN(4))
	} else {
		text.WriteString(body)
	}
	r, err := http.NewRequest(pick("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"), "http://x"+path+"?"+query, &text)
	if err != nil {
		return nil
	}
	r.RemoteAddr = pick("192.0.2.7:1", "[2001:db8::7%eth0]:1", "@", "", word())
	for range rnd.IntN(3) {
		r.Header.Set(pick("Content-Encoding", "X-Forwarded-For", "X-Real-IP", "Authorization", "X-Api-Key", "User-Agent", "Cookie", "Content-Type"),
			pick("gzip", "gzip, gzip", "gzip, br", "Bearer ", "Bearer a.b.c", "jwt=x", "1.2.3.4, ::1", word(), strings.Repeat("x", 4000)))
	}
	return r
}

// FuzzRequests sends anything to any route, in the name of somebody good.
func FuzzRequests(f *testing.F) {
	f.Add("POST", "/v1/alerts", "", []byte("["+alertJSON("Ip", "192.0.2.7", "null", noon())+"]"))
	f.Add("POST", "/v1/watchers", "", []byte(`{"machine_id":"a","password":"b"}`))
	f.Add("POST", "/v1/allowlists/check", "gzip", []byte("\x1f\x8b\x08"))
	f.Add("GET", "/v1/decisions/stream?startup=true&scopes=ip,,range", "", []byte{})
	f.Add("DELETE", "/v1/decisions?contains=x", "", []byte{})
	f.Add("POST", "/v1/usage-metrics", "", []byte(`{"log_processors":[{"version":"1","metrics":[]}]}`))
	f.Fuzz(func(t *testing.T, method, target, coding string, body []byte) {
		s := open(t, nil)
		agent := machine(t, s, "m")
		r, err := http.NewRequestWithContext(t.Context(), method, "http://x/", bytes.NewReader(body))
		if err != nil {
			return
		}
		u, err := r.URL.Parse(target)
		if err != nil {
			return
		}
		if r.URL = u; strings.Contains(u.RawQuery, "wait") {
			return
		}
		r.Header.Set("Authorization", "Bearer "+agent.token)
		if coding != "" {
			r.Header.Set("Content-Encoding", coding)
		}
		r.RemoteAddr = "192.0.2.7:1"
		w := httptest.NewRecorder()
		s.adminHandler().ServeHTTP(w, r)
		if w.Code < 200 || w.Code > 599 {
			t.Fatal(w.Code)
		}
	})
}

// full is a store whose disk has no room for alerts.
type full struct {
	storage.Store
	mu  sync.Mutex
	err error
}

func (f *full) AddAlerts(ctx context.Context, alerts []decisions.Alert) ([]bool, error) {
	f.mu.Lock()
	err := f.err
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.Store.AddAlerts(ctx, alerts)
}

// TestFullDisk: what could not be written is not acknowledged and bans nobody;
// reading goes on, and so does writing when there is room again.
func TestFullDisk(t *testing.T) {
	disk := &full{Store: mem.New(), err: fmt.Errorf("cannot store alerts: %w", syscall.ENOSPC)}
	s := open(t, func(c *Config) { c.OpenStore = func(context.Context) (storage.Store, error) { return disk, nil } })
	agent, fw := machine(t, s, "m"), bouncer(t, s, "fw")
	var posters sync.WaitGroup
	codes := make([]int, 40)
	for i := range codes {
		posters.Go(func() {
			w := agent.do("POST", "/v1/alerts", "["+alertJSON("Ip", fmt.Sprintf("192.0.2.%d", i), "null", time.Now())+"]")
			if codes[i] = w.Code; w.Header().Get("Retry-After") == "" {
				t.Error("nothing says when to come again")
			}
		})
	}
	posters.Wait()
	if slices.ContainsFunc(codes, func(c int) bool { return c != 503 }) {
		t.Error(codes)
	}
	disk.mu.Lock()
	disk.err = errors.New("the disk is broken")
	disk.mu.Unlock()
	agent.want("POST", "/v1/alerts", "["+alertJSON("Ip", "192.0.2.7", "null", time.Now())+"]", 500, "*")
	if bans := live(s); len(bans) != 0 {
		t.Error(bans)
	}
	fw.want("GET", "/v1/decisions", "", 200, "null")
	agent.want("GET", "/v1/alerts", "", 200, "null")
	disk.mu.Lock()
	disk.err = nil
	disk.mu.Unlock()
	agent.want("POST", "/v1/alerts", "["+alertJSON("Ip", "192.0.2.7", "null", time.Now())+"]", 201, "*")
	if bans := live(s); len(bans) != 1 {
		t.Error(bans)
	}
}

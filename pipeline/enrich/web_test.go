package enrich

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestFetch(t *testing.T) {
	release := make(chan struct{})
	var waiting sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			for range maxBody>>20 + 1 {
				_, _ = w.Write(make([]byte, 1<<20))
			}
		case "/slow":
			waiting.Done()
			<-release
		case "/there":
			http.Redirect(w, r, "/here", http.StatusFound)
		case "/circle":
			http.Redirect(w, r, "/circle", http.StatusFound)
		default:
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Said", r.Header.Get("X-Say"))
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, body)
		}
	}))
	defer server.Close()
	defer server.CloseClientConnections()
	l := NewLookups(Settings{})
	f := func(method, path string, want string) {
		t.Helper()
		to := path
		if strings.HasPrefix(path, "/") {
			to = server.URL + path
		}
		r, err := l.Fetch(method, to, map[string]string{"X-Say": "hello"}, "body")
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprint(r.StatusCode, " ", r.Headers.Get("x-said"), " ", r.Body)
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s %s: %s, want %s", method, path, got, want)
		}
	}
	f("GET", "/here", "418 hello GET /here")
	f("post", "/here", "418 hello POST /here body")
	f("GET", "/there", "418 hello GET /here")
	f("GET", "/circle", "stopped after 10 redirects")
	f("GET", "/large", "the answer has more than 10485760 bytes")
	f("GET", "file:///etc/passwd", "is no web address")
	f("GET", "http:///x", "is no web address")
	f("GET", "http://user:secret@127.0.0.1:1/", "cannot ask http://user:xxxxx@127.0.0.1:1/")
	f("GET", "::", "cannot make a web request")
	f("G ET", "/here", "invalid method")

	var all sync.WaitGroup
	waiting.Add(maxRequests)
	for range maxRequests {
		all.Go(func() {
			if _, err := l.Fetch("GET", server.URL+"/slow", nil, ""); err != nil {
				t.Error(err)
			}
		})
	}
	waiting.Wait()
	f("GET", "/here", "16 requests are under way")
	close(release)
	all.Wait()
	f("GET", "/here", "418")
}

// intelligence is CTI's API.
type intelligence struct {
	asked  atomic.Int32
	status atomic.Int32
	body   atomic.Value // string
}

func (c *intelligence) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.asked.Add(1)
	if r.Header.Get("X-Api-Key") != "secret" || !strings.HasPrefix(r.URL.Path, "/v2/smoke/") {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.WriteHeader(int(c.status.Load()))
	_, _ = io.WriteString(w, c.body.Load().(string))
}

func TestCTI(t *testing.T) {
	api := &intelligence{}
	server := httptest.NewServer(api)
	defer server.Close()
	var now atomic.Int64
	l := NewLookups(Settings{CTI: CTI{Key: "secret", URL: server.URL + "/v2"}})
	l.cti.now = func() time.Time { return time.Unix(0, now.Load()).Add(time.Hour) }
	f := func(ip string, status int, body, want string, asked int32) {
		t.Helper()
		api.status.Store(int32(status))
		api.body.Store(body)
		before := api.asked.Load()
		l.cti.credit = queryTime // this is not about waiting
		c, err := l.CTI(netip.MustParseAddr(ip))
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprintf("%s %d %d", c.IP, c.Scores.LastDay.Total, len(c.Behaviors))
		}
		if !strings.Contains(got, want) || api.asked.Load()-before != asked {
			t.Errorf("%s %d: %s after %d questions, want %s after %d", ip, status, got, api.asked.Load()-before, want, asked)
		}
	}
	record := `{"ip":"192.0.2.1","scores":{"last_day":{"total":4}},"behaviors":[{"name":"http:scan"}],"unknown":[]}`
	f("192.0.2.1", 200, record, "192.0.2.1 4 1", 1)
	f("192.0.2.1", 500, "", "192.0.2.1 4 1", 0)
	now.Add(int64(keepCTI))
	f("192.0.2.1", 404, "", " 0 0", 1)
	f("192.0.2.2", 500, "", "500", 1)
	f("192.0.2.2", 200, record, "500", 0)
	now.Add(int64(ctiRetry))
	f("192.0.2.2", 200, "{", "cannot read the answer", 1)
	f("192.0.2.3", 200, `{"ip":"`+strings.Repeat("x", maxRecord)+`"}`, "cannot read the answer", 1)
	f("192.0.2.4", 429, "", errCTIQuota.Error(), 1)
	f("192.0.2.5", 200, record, errCTIQuota.Error(), 0)
	now.Add(int64(ctiBackoff))
	f("192.0.2.5", 200, record, "192.0.2.1 4 1", 1)
	f("192.0.2.6", 403, "", errCTIKey.Error(), 1)
	now.Add(int64(24 * time.Hour))
	f("192.0.2.7", 200, record, errCTIKey.Error(), 0)

	if _, err := NewLookups(Settings{}).CTI(netip.MustParseAddr("192.0.2.1")); err != errCTIOff {
		t.Error(err)
	}
}

func TestCTIIsBounded(t *testing.T) {
	api := &intelligence{}
	api.status.Store(200)
	api.body.Store(`{}`)
	server := httptest.NewServer(api)
	defer server.Close()
	l := NewLookups(Settings{CTI: CTI{Key: "secret", URL: server.URL + "/v2", Size: 10}})
	ip := netip.MustParseAddr("192.0.2.0")
	for range 30 {
		l.cti.credit = queryTime
		if _, err := l.CTI(ip); err != nil {
			t.Fatal(err)
		}
		ip = ip.Next()
	}
	if n := len(l.cti.answers); n != 10 {
		t.Errorf("%d answers are remembered", n)
	}
}

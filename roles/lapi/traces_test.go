package lapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"cs/platform/sharedtest"
	"cs/roles/api"
	"cs/storage"
)

// exchange is one line of a recorded conversation between upstream's programs.
type exchange struct {
	Method          string            `json:"method"`
	Path            string            `json:"path"`
	RequestHeaders  map[string]string `json:"request_headers"`
	RequestBody     string            `json:"request_body"`
	Status          int               `json:"status"`
	ResponseHeaders map[string]string `json:"response_headers"`
	ResponseBody    string            `json:"response_body"`
}

// TestRecordedConversations plays what upstream's programs asked an upstream
// server to ours, and compares the answers: the status, the headers that
// clients look at, refusals word by word, and the shape of the rest.
func TestRecordedConversations(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(sharedtest.Dir(t), "traces", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	clk, turned := clockAtNoon()
	s := open(t, func(c *Config) {
		turned(c)
		c.Token = "a-long-token-of-more-than-32-characters-0001"
	})
	played := 0
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for n := 1; lines.Scan(); n++ {
			var x exchange
			if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
				t.Fatal(path, n, err)
			}
			at, err := http.ParseTime(x.ResponseHeaders["Date"])
			if err != nil {
				t.Fatal(path, n, err)
			}
			clk.Set(at)
			if x.Method == "DELETE" {
				// Only whole seconds were recorded; whether an end is repeated
				// within two seconds depends on the fraction.
				clk.Add(900 * time.Millisecond)
			}
			if aboutAllowlists(x) {
				continue
			}
			if err := replay(t, s, x); err != nil {
				t.Errorf("%s:%d: %s %s: %v", filepath.Base(path), n, x.Method, x.Path, err)
			}
			played++
		}
	}
	if played < 90 {
		t.Fatalf("only %d exchanges were played", played)
	}
}

// aboutAllowlists tells whether an answer depends on an allowlist: there are none yet.
func aboutAllowlists(x exchange) bool {
	return strings.HasPrefix(x.Path, api.PathAllowlists) && strings.Contains(x.ResponseBody, "allowlisted") ||
		strings.HasPrefix(x.Path, api.PathAllowlists) && strings.Contains(x.ResponseBody, `"items"`)
}

func replay(t *testing.T, s *Server, x exchange) error {
	prepare(t, s, x)
	r := httptest.NewRequest(x.Method, x.Path, strings.NewReader(x.RequestBody))
	for key, v := range x.RequestHeaders {
		if key != "Content-Length" && key != "Content-Encoding" { // the bodies were recorded decompressed
			r.Header.Set(key, v)
		}
	}
	if old := r.Header.Get("Authorization"); old != "" {
		token, _, err := s.signer.Sign("agent1", s.now())
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := visitor{t: t, h: s.handler(), from: "127.0.0.1"}.send(r)
	if w.Code != x.Status {
		return fmt.Errorf("status %d, recorded %d: %s", w.Code, x.Status, w.Body)
	}
	for _, key := range []string{"Content-Type", "Www-Authenticate", "Cache-Control", "Expires"} {
		if got, want := w.Header().Get(key), x.ResponseHeaders[key]; got != want {
			return fmt.Errorf("%s: %q, recorded %q", key, got, want)
		}
	}
	if x.Status >= 400 || len(x.ResponseBody) < 3 || x.ResponseBody == "null" {
		if got := w.Body.String(); got != x.ResponseBody {
			return fmt.Errorf("answer %q, recorded %q", got, x.ResponseBody)
		}
		return nil
	}
	got, want := shape(t, w.Body.Bytes()), shape(t, []byte(x.ResponseBody))
	if got != want {
		return fmt.Errorf("shape\n%s, recorded\n%s\nanswer %s", got, want, w.Body)
	}
	return nil
}

// prepare does what an operator did between the recorded exchanges: he made
// the bouncer and validated the machine.
func prepare(t *testing.T, s *Server, x exchange) {
	t.Helper()
	key := x.RequestHeaders["X-Api-Key"]
	if key != "" && x.Status == 200 && !s.bouncers.knowsKey(key) {
		if err := s.insertBouncer(t.Context(), storage.Bouncer{Name: "recorded " + storage.HashKey(key)[:8], KeyHash: storage.HashKey(key), AuthType: storage.AuthKey}); err != nil {
			t.Fatal(err)
		}
	}
	if x.Path == api.PathLogin && x.Status == 200 {
		var in api.LoginRequest
		if err := json.Unmarshal([]byte(x.RequestBody), &in); err != nil {
			t.Fatal(err)
		}
		if !s.machines.allowed(in.MachineID) {
			if err := s.validateMachine(t.Context(), in.MachineID); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// shape describes a JSON value without its texts and numbers: the keys of
// objects in order, the distinct shapes of the elements of arrays.
func shape(t *testing.T, body []byte) string {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(body))
	var walk func() string
	walk = func() string {
		tok, err := dec.Token()
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		switch tok {
		case json.Delim('{'):
			var parts []string
			for dec.More() {
				key, _ := dec.Token()
				parts = append(parts, fmt.Sprint(key)+":"+walk())
			}
			dec.Token()
			return "{" + strings.Join(parts, ",") + "}"
		case json.Delim('['):
			seen := map[string]bool{}
			for dec.More() {
				seen[walk()] = true
			}
			dec.Token()
			var parts []string
			for s := range seen {
				parts = append(parts, s)
			}
			sort.Strings(parts)
			return "[" + strings.Join(parts, "|") + "]"
		}
		return fmt.Sprintf("%T", tok)
	}
	return walk()
}

package lapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"cs/decisions"
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
// server to ours, from an empty store on, and compares the answers: statuses,
// headers that clients look at, and bodies word by word, but for UUIDs, tokens
// and two seconds of time. Then it compares the page of metrics.
func TestRecordedConversations(t *testing.T) {
	dir := filepath.Join(sharedtest.Dir(t), "traces")
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	clk, turned := clockAtNoon()
	s := open(t, func(c *Config) {
		turned(c)
		c.Policy.Token = "a-long-token-of-more-than-32-characters-0001"
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
			if err := replay(t, s, x); err != nil {
				t.Errorf("%s:%d: %s %s: %v", filepath.Base(path), n, x.Method, x.Path, err)
			}
			played++
		}
	}
	if played != 100 {
		t.Errorf("%d exchanges were played", played)
	}
	recorded, err := os.ReadFile(filepath.Join(dir, "07-lapi-prometheus.txt"))
	if err != nil {
		t.Fatal(err)
	}
	want, got := numbers(string(recorded)), numbers(page(t, s, MetricsFull))
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("the page says %s %s, recorded %s", name, got[name], want[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok && !strings.Contains(name, "last_heartbeat") { // it came later
			t.Errorf("upstream doesn't say %s", name)
		}
	}
}

// numbers returns the samples of a page by their names, with the labels in the
// order of the alphabet. Left out are those that count what was not recorded (the
// requests of machine srv, and so the sums of all), the durations
// themselves, the version, and those of the central API.
func numbers(page string) map[string]string {
	samples := make(map[string]string)
	for line := range strings.Lines(page) {
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 || strings.Contains(line, `machine="srv"`) || strings.HasPrefix(line, "cs_papi") ||
			strings.HasPrefix(line, "go_") || strings.HasPrefix(line, "process_") || strings.HasPrefix(line, "cs_info") {
			continue
		}
		name, labels, _ := strings.Cut(strings.TrimSuffix(line[:at], "}"), "{")
		pairs := strings.Split(labels, ",")
		sort.Strings(pairs)
		value := strings.TrimSpace(line[at:])
		if strings.HasPrefix(name, "cs_lapi_request_duration") || name == "cs_lapi_route_requests_total" {
			value = "some"
		}
		// A path was replaced by a shorter one in the recorded request.
		key := strings.ReplaceAll(name+"{"+strings.Join(pairs, ",")+"}", "/etc/crowdsec/v.txt", "/etc/crowdsecv")
		samples[key] = value
	}
	return samples
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
	if strings.HasPrefix(x.ResponseBody, "{") || strings.HasPrefix(x.ResponseBody, "[") {
		if err := sameJSON(w.Body.Bytes(), []byte(x.ResponseBody)); err != nil {
			return fmt.Errorf("%w\nanswer   %s\nrecorded %s", err, w.Body, x.ResponseBody)
		}
		return nil
	}
	if got := w.Body.String(); got != x.ResponseBody {
		return fmt.Errorf("answer %q, recorded %q", got, x.ResponseBody)
	}
	return nil
}

// prepare does what an operator did between the recorded exchanges: he made
// the bouncer and an allowlist, and validated the machine.
func prepare(t *testing.T, s *Server, x exchange) {
	t.Helper()
	key := x.RequestHeaders["X-Api-Key"]
	if key != "" && x.Status == 200 && s.bouncers.keyOwner(key) == "" {
		if err := s.insertBouncer(t.Context(), storage.Bouncer{Name: "fw2", KeyHash: storage.HashKey(key), AuthType: storage.AuthKey}); err != nil {
			t.Fatal(err)
		}
	}
	if strings.HasPrefix(x.Path, api.PathAllowlists+"/l1") {
		var list api.Allowlist
		if err := json.Unmarshal([]byte(x.ResponseBody), &list); err != nil {
			t.Fatal(err)
		}
		if err := s.createAllowlist(t.Context(), list.Name, list.Description); err != nil {
			t.Fatal(err)
		}
		var items []storage.AllowItem
		for _, item := range list.Items {
			items = append(items, storage.AllowItem{Value: item.Value, Comment: item.Description, Expires: s.now().Add(24 * time.Hour)})
		}
		if _, lifted, err := s.allow(t.Context(), list.Name, items); err != nil || lifted != 1 {
			t.Fatal(lifted, err)
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

// sameJSON compares two JSON texts word by word. Two words count as the same
// that are UUIDs, tokens, or times or durations not more than two seconds apart.
func sameJSON(got, want []byte) error {
	g, w := json.NewDecoder(bytes.NewReader(got)), json.NewDecoder(bytes.NewReader(want))
	g.UseNumber()
	w.UseNumber()
	for {
		a, err := g.Token()
		b, err2 := w.Token()
		if err == io.EOF && err2 == io.EOF {
			return nil
		}
		if err != nil || err2 != nil {
			return fmt.Errorf("one ends early: %v, %v", err, err2)
		}
		if a == b {
			continue
		}
		x, ok := a.(string)
		y, ok2 := b.(string)
		if !ok || !ok2 || !alike(x, y) {
			return fmt.Errorf("%v instead of %v at byte %d", a, b, g.InputOffset())
		}
	}
}

func alike(x, y string) bool {
	const slack = 2 * time.Second
	if a, err := time.ParseDuration(x); err == nil {
		b, err := time.ParseDuration(y)
		return err == nil && (a-b).Abs() <= slack
	}
	if a, err := time.Parse(time.RFC3339, x); err == nil {
		b, err := time.Parse(time.RFC3339, y)
		return err == nil && a.Sub(b).Abs() <= slack && len(x) == len(y)
	}
	isToken := func(s string) bool { return strings.HasPrefix(s, "ey") && strings.Count(s, ".") == 2 }
	return decisions.IsUUID(x) && decisions.IsUUID(y) || isToken(x) && isToken(y)
}

package webhook

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/pipeline/source/sourcetest"
)

// ask sends a request and returns the status and the headers of the answer.
func ask(t *testing.T, c *http.Client, method, url string, body io.Reader, headers ...string) (int, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header
}

func zipped(text string) io.Reader {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return &b
}

func TestHTTP(t *testing.T) {
	port := sourcetest.FreePort(t)
	r := sourcetest.Start(t, HTTP, sourcetest.Spec(t, "http", fmt.Sprintf(`
listen_addr: 127.0.0.1:%d
path: /logs
auth_type: headers
headers: {X-Key: secret}
custom_status_code: 202
custom_headers: {X-Seen: "yes"}
max_body_size: 2000
`, port)))
	url := fmt.Sprintf("http://127.0.0.1:%d/logs", port)
	lines := 0
	f := func(method string, body io.Reader, status int, want ...string) {
		t.Helper()
		got, head := ask(t, http.DefaultClient, method, url, body, "X-Key", "secret")
		if got != status {
			t.Errorf("status %d, want %d", got, status)
		}
		if status == 202 && head.Get("X-Seen") != "yes" {
			t.Error("no custom header")
		}
		texts := r.Texts() // an answer means that they were processed
		if !slices.Equal(texts[lines:], want) {
			t.Errorf("got %q, want %q", texts[lines:], want)
		}
		lines = len(texts)
	}
	f("GET", nil, 200)
	f("HEAD", nil, 200)
	f("PUT", nil, 405)
	f("POST", strings.NewReader(`{"a": 1}`), 202, `{"a": 1}`)
	f("POST", strings.NewReader("{\"a\":1}\n{\"b\":2} [3]\n\"four\"\n"), 202, `{"a":1}`, `{"b":2}`, `[3]`, `"four"`)
	f("POST", struct{ io.Reader }{strings.NewReader(`{"chunked":1}`)}, 202, `{"chunked":1}`)
	f("POST", strings.NewReader(``), 202)
	f("POST", strings.NewReader(`{"good":1}{"bad`), 400, `{"good":1}`)
	f("POST", strings.NewReader(`"`+strings.Repeat("x", 3000)+`"`), 413)
	f("POST", struct{ io.Reader }{strings.NewReader(`"` + strings.Repeat("x", 3000) + `"`)}, 413)
	if status, _ := ask(t, http.DefaultClient, "POST", url, zipped(`{"z":1}`), "X-Key", "secret", "Content-Encoding", "gzip"); status != 202 || r.Wait(lines + 1)[lines] != `{"z":1}` {
		t.Errorf("gzip: %d, %q", status, r.Texts())
	}
	if status, _ := ask(t, http.DefaultClient, "POST", url, zipped(`"`+strings.Repeat("x", 1<<20)+`"`), "X-Key", "secret", "Content-Encoding", "gzip"); status != 413 {
		t.Errorf("a bomb: %d", status)
	}
	if status, _ := ask(t, http.DefaultClient, "POST", url, strings.NewReader("{}"), "X-Key", "secret", "Content-Encoding", "gzip"); status != 400 {
		t.Errorf("no gzip: %d", status)
	}
	if status, _ := ask(t, http.DefaultClient, "POST", url, strings.NewReader("{}"), "X-Key", "guess"); status != 401 {
		t.Errorf("a guess: %d", status)
	}
	if status, _ := ask(t, http.DefaultClient, "GET", url+"/other", nil, "X-Key", "secret"); status != 404 {
		t.Errorf("another path: %d", status)
	}
	if l := r.Lines()[0]; l.Src != "127.0.0.1" || l.Module != "http" {
		t.Errorf("got %+v", l)
	}

	// A slow engine: the sender waits, and stopping doesn't.
	release := r.Hold()
	answered := make(chan int, 1)
	go func() {
		resp, err := http.Post(url, "", nil)
		_ = err
		if err == nil {
			resp.Body.Close()
		}
		req, _ := http.NewRequest("POST", url, strings.NewReader(`{"slow":1}`))
		req.Header.Set("X-Key", "secret")
		if resp, err = http.DefaultClient.Do(req); err != nil {
			answered <- 0
			return
		}
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	select {
	case status := <-answered:
		t.Errorf("answered with %d before it was processed", status)
	case <-time.After(50 * time.Millisecond):
	}
	r.Stop()
	release()
	if status := <-answered; status == 202 {
		t.Error("taken and lost")
	}
}

func TestHTTPAuth(t *testing.T) {
	dir, pair, pool := sourcetest.Certificates(t)
	port := sourcetest.FreePort(t)
	keys := fmt.Sprintf("listen_addr: 127.0.0.1:%d\ntls: {server_cert: %[2]s/cert, server_key: %[2]s/key, ca_cert: %[2]s/cert}\n", port, filepath.ToSlash(dir))
	url := fmt.Sprintf("https://127.0.0.1:%d/", port)
	client := func(certs ...tls.Certificate) *http.Client {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certs}}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	r := sourcetest.Start(t, HTTP, sourcetest.Spec(t, "http", keys+"auth_type: mtls\n"))
	if status, _ := ask(t, client(pair), "POST", url, strings.NewReader("1")); status != 200 || len(r.Texts()) != 1 {
		t.Errorf("with a certificate: %d, %q", status, r.Texts())
	}
	if resp, err := client().Get(url); err == nil {
		resp.Body.Close()
		t.Errorf("without a certificate: %d", resp.StatusCode)
	}
	r.Stop()
	r = sourcetest.Start(t, HTTP, sourcetest.Spec(t, "http", keys+"auth_type: basic_auth\nbasic_auth: {username: me, password: secret}\n"))
	req, _ := http.NewRequest("POST", url, strings.NewReader("2"))
	req.SetBasicAuth("me", "secret")
	resp, err := client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || len(r.Texts()) != 1 {
		t.Errorf("with a password: %d, %q", resp.StatusCode, r.Texts())
	}
	req, _ = http.NewRequest("GET", url, nil)
	req.SetBasicAuth("me", "guess")
	if resp, err = client().Do(req); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 401 {
		t.Errorf("with a guess: %d", resp.StatusCode)
	}
}

// TestHTTPTimeout: who is slow is cut off.
func TestHTTPTimeout(t *testing.T) {
	port := sourcetest.FreePort(t)
	r := sourcetest.Start(t, HTTP, sourcetest.Spec(t, "http", fmt.Sprintf("listen_addr: 127.0.0.1:%d\nauth_type: headers\nheaders: {a: b}\ntimeout: 50ms\n", port)))
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\na: b\r\nContent-Length: 100\r\n\r\n{") // and no more
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if text, err := io.ReadAll(conn); err != nil || len(r.Lines()) > 0 {
		t.Errorf("%v, answered %q, %q", err, text, r.Texts())
	}
	r.Stop()
}

func TestHTTPSocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("paths of sockets differ")
	}
	path := filepath.Join(t.TempDir(), "sock")
	r := sourcetest.Start(t, HTTP, sourcetest.Spec(t, "http", "listen_socket: "+path+"\nauth_type: headers\nheaders: {a: b}\n"))
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	defer tr.CloseIdleConnections()
	if status, _ := ask(t, &http.Client{Transport: tr}, "POST", "http://x/", strings.NewReader("1"), "a", "b"); status != 200 {
		t.Errorf("status %d", status)
	}
	if l := r.Lines(); len(l) != 1 || l[0].Src != path {
		t.Errorf("got %+v", l)
	}
}

func TestAudit(t *testing.T) {
	port := sourcetest.FreePort(t)
	r := sourcetest.Start(t, Audit, sourcetest.Spec(t, "k8s-audit", fmt.Sprintf("listen_addr: 127.0.0.1\nlisten_port: %d\nwebhook_path: hook\n", port)))
	url := fmt.Sprintf("http://127.0.0.1:%d/hook", port)
	body := `{"kind":"EventList","metadata":{},"items":[
		{"level": "Metadata", "stageTimestamp": "2026-01-02T03:04:05.000006Z", "verb": "get"},
		{"level": "Request", "stageTimestamp": "2026-01-02T03:04:06.000006Z"}
	], "apiVersion":"audit.k8s.io/v1"}`
	if status, _ := ask(t, http.DefaultClient, "POST", url, strings.NewReader(body)); status != 200 {
		t.Errorf("status %d", status)
	}
	want := []string{
		`{"level":"Metadata","stageTimestamp":"2026-01-02T03:04:05.000006Z","verb":"get"}`,
		`{"level":"Request","stageTimestamp":"2026-01-02T03:04:06.000006Z"}`,
	}
	if got := r.Texts(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if l := r.Lines()[0]; l.Time.UTC().Format(time.RFC3339) != "2026-01-02T03:04:05Z" || l.Src != "127.0.0.1" || l.Module != "k8s-audit" {
		t.Errorf("got %+v", l)
	}
	for _, bad := range []string{"", "[]", `{"items":{}}`, `{"items":[1]}`, `{"items":[{}`, `{"items":[{}]`, "x"} {
		if status, _ := ask(t, http.DefaultClient, "POST", url, strings.NewReader(bad)); status != 400 {
			t.Errorf("%q: %d", bad, status)
		}
	}
	if status, _ := ask(t, http.DefaultClient, "GET", url, nil); status != 405 {
		t.Errorf("GET: %d", status)
	}
	r.Spec.Meter.Requests.Each(func(name string, n int64) {
		if name != "127.0.0.1" || n != 8 {
			t.Errorf("%s: %d requests", name, n)
		}
	})
	r.Stop()
}

func TestFaults(t *testing.T) {
	sourcetest.Faults(t, "http", HTTP,
		"auth_type: headers", "listen_addr: there is none",
		"listen_addr: here", "acquis.yaml:2: listen_addr: want HOST:PORT",
		"listen_addr: :80", "auth_type: there is none",
		"listen_addr: :80\nauth_type: none", "acquis.yaml:3: auth_type: want basic_auth",
		"listen_addr: :80\nauth_type: basic_auth", "needs basic_auth.username",
		"listen_addr: :80\nauth_type: headers", "needs headers",
		"listen_addr: :80\nauth_type: mtls", "needs tls.server_cert",
		"listen_addr: :80\nauth_type: headers\nheaders: {a: b}\npath: x", "acquis.yaml:5: path",
		"listen_addr: :80\nauth_type: headers\nheaders: {a: b}\ntimeout: soon", "acquis.yaml:5: timeout",
		"listen_addr: :80\nauth_type: headers\nheaders: {a: b}\nmax_body_size: 0", "max_body_size: want",
		"listen_addr: :80\nauth_type: headers\nheaders: {a: b}\ncustom_status_code: 7", "custom_status_code: want",
		"listen_addr: :80\ntls: {server_cert: x}", "belong together",
		"listen_address: :80", "did you mean listen_addr?",
	)
	sourcetest.Faults(t, "k8s-audit", Audit,
		"listen_port: 1", "listen_addr: there is none",
		"listen_addr: x\nwebhook_path: y", "listen_port: want",
		"listen_addr: x\nlisten_port: 1", "webhook_path: there is none",
	)
}

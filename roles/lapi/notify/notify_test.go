package notify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cs/decisions"
)

func attack(value string) *decisions.Alert {
	return &decisions.Alert{
		Scenario: "crowdsecurity/ssh-bf", MachineID: "m", Source: decisions.Source{Scope: "Ip", Value: value, Country: "FR"},
		Events:    []decisions.Event{{Meta: []decisions.KeyValue{{Key: "user", Value: "root"}, {Key: "user", Value: "<adm>"}}}},
		Decisions: []decisions.Decision{{Type: "ban", Value: value, Scope: "Ip", Scenario: "crowdsecurity/ssh-bf", Until: time.Now().Add(time.Hour)}},
	}
}

// recorder is a sender that fails a few times first.
type recorder struct {
	mu    sync.Mutex
	began time.Time
	fails int
	err   error
	got   []string // "seconds:text"
}

func (r *recorder) send(_ context.Context, text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails--; r.fails >= 0 {
		return r.err
	}
	r.got = append(r.got, fmt.Sprintf("%d:%s", int(time.Since(r.began).Seconds()), text))
	return nil
}

// values is a formatter that names whom the alerts are about.
type values struct{}

func (values) format(alerts []Alert) (string, error) {
	var list []string
	for _, a := range alerts {
		list = append(list, a.Source.Value)
	}
	return strings.Join(list, "+"), nil
}

// TestGrouping plays five alerts, one every two seconds but the last two
// together, against the table of group_wait and group_threshold.
func TestGrouping(t *testing.T) {
	f := func(wait time.Duration, threshold int, want string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			r := &recorder{began: time.Now()}
			in := &Instance{Name: "n", GroupWait: wait, Threshold: threshold, Timeout: time.Second, text: values{}, sender: r}
			b := NewBroker(map[string]*Instance{"n": in}, slog.New(slog.DiscardHandler), time.Now)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan bool)
			go func() { b.Run(ctx); close(done) }()
			time.Sleep(500 * time.Millisecond)
			for _, v := range []string{"a", "b", "c", "d"} {
				b.Tell("n", attack(v))
				b.Tell("unknown", attack(v))
				time.Sleep(2 * time.Second)
			}
			time.Sleep(10 * time.Second)
			b.Tell("n", attack("x"))
			b.Tell("n", attack("y"))
			cancel()
			<-done
			if got := strings.Join(r.got, " "); got != want {
				t.Errorf("%v, %d: got %q, want %q", wait, threshold, got, want)
			}
		})
	}
	f(0, 0, "1:a 3:b 5:c 7:d 18:x+y")
	f(5*time.Second, 0, "5:a 5:b 5:c 10:d 18:x+y")
	f(0, 2, "3:a+b 7:c+d 18:x+y")
	f(5*time.Second, 2, "3:a+b 7:c+d 18:x+y")
	f(3*time.Second, 3, "3:a+b 6:c 9:d 18:x+y")
	f(0, 3, "5:a+b+c 18:d+x+y")
}

func TestRetry(t *testing.T) {
	f := func(retry, fails int, err error, delivered bool, within time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			r := &recorder{began: time.Now(), fails: fails, err: err}
			q := &queue{Instance: &Instance{Name: "n", MaxRetry: retry, Timeout: time.Second, text: values{}, sender: r}}
			b := &Broker{log: slog.New(slog.DiscardHandler), now: time.Now}
			b.deliver(t.Context(), q, []Alert{{}})
			if took := time.Since(r.began); len(r.got) == 1 != delivered || took > within {
				t.Errorf("%d attempts, %d fail: delivered %v after %v", retry, fails, r.got, took)
			}
		})
	}
	broken := errors.New("broken")
	f(2, 2, broken, true, 4*time.Second)
	f(2, 3, broken, false, 4*time.Second)
	f(0, 12, broken, true, giveUp+longestPause*2)
	f(0, 100, broken, false, giveUp+longestPause*2)
	f(5, 1, lasting{broken}, false, 0)
}

func TestQueueIsBounded(t *testing.T) {
	in := &Instance{Name: "n", sender: &recorder{}}
	b := NewBroker(map[string]*Instance{"n": in}, slog.New(slog.DiscardHandler), time.Now)
	for i := range maxQueued + 3 {
		b.Tell("n", attack(fmt.Sprint(i)))
	}
	q := b.queues["n"]
	if n, all := len(q.alerts), q.take(); n != maxQueued || q.dropped != 3 || all[0].Source.Value != "3" || all[0].Source.Cn != "FR" || len(all[0].Decisions) != 1 {
		t.Fatalf("%d queued, %d dropped, the first is %+v", n, q.dropped, all[0])
	}

	// Of large ones fewer wait, and of each what is too much is left out.
	large := attack("192.0.2.7")
	for range 60_000 {
		large.Decisions = append(large.Decisions, large.Decisions[0])
		large.Events = append(large.Events, large.Events[0])
	}
	q.dropped = 0
	for range 20 {
		b.Tell("n", large)
	}
	if len(q.alerts) < 4 || q.size > maxQueuedBytes || len(q.alerts)+q.dropped != 20 {
		t.Fatalf("%d alerts of %d bytes wait, %d were dropped", len(q.alerts), q.size, q.dropped)
	}
	all := q.take()
	if n := len(all[0].Decisions); n < 1000 || n > 20_000 || q.size != 0 {
		t.Fatalf("of %d decisions %d are told", len(large.Decisions), n)
	}
}

// one loads a directory with one document and returns its instance.
func one(t *testing.T, text string) (*Instance, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "n.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := Load(dir, []string{"n"}, func(name string) (string, bool) { return "s3cret", name == "TOKEN" }, nil)
	return all["n"], err
}

// Of two with one name the last counts, as upstream has it, and a dollar that
// begins no variable that is set stays where it is.
func TestTwoOfOneName(t *testing.T) {
	dir := t.TempDir()
	const text = "type: http\nname: n\nurl: http://x\n---\ntype: file\nname: n\nlog_path: /a${NOBODY}$NOBODY$2a$10$${/$TOKEN\n"
	if err := os.WriteFile(filepath.Join(dir, "n.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var warned []error
	all, err := Load(dir, []string{"n"}, func(name string) (string, bool) { return "s3cret", name == "TOKEN" }, func(err error) { warned = append(warned, err) })
	if err != nil {
		t.Fatal(err)
	}
	if got, want := all["n"].sender.(*file).path, "/a${NOBODY}$NOBODY$2a$10$${/s3cret"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(warned) != 1 || !strings.Contains(warned[0].Error(), `n.yaml:5: this notification "n" takes the place`) {
		t.Error(warned)
	}
}

func TestLoadRefuses(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, err := one(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%q: %v, want %q", text, err, want)
		}
	}
	f("name: n\n", "document 0: missing required field 'type'")
	f("type: http\nname: other\n", "config file for plugin n not found")
	f("type: pigeon\nname: n\n", `n.yaml:1: notification "n": unknown type "pigeon"`)
	f("type: http\nname: n\n", "url: it is required")
	f("type: http\nname: n\nurl: http://x\ntimeout: soon\n", "timeout: cannot parse duration")
	f("type: http\nname: n\nurl: http://x\nheaders: [a]\n", "headers: want a table")
	f("type: email\nname: n\nsmtp_host: x\nsender_email: a@b\n", "receiver_emails: it is required")
	f("type: email\nname: n\nsmtp_host: x\nsender_email: a@b\nreceiver_emails: [\"a@b\\r\\nBcc: c@d\"]\n", "is no address")
	f("type: email\nname: n\nsmtp_host: x\nsender_email: a@b\nreceiver_emails: [c@d]\nencryption_type: rot13\n", "want ssltls")
	f("type: sentinel\nname: n\ncustomer_id: c\nlog_type: l\nshared_key: '?'\n", "not base64")
	f("type: http\nname: n\nurl: http://x\nformat: '{{'\n", "format:")
	if _, err := one(t, "type: file\nname: n\nlog_path: /x\nwhatever: {a: 1}\n---\ntype: pigeon\nname: unused\n"); err != nil {
		t.Fatal(err)
	}
}

func TestHTTP(t *testing.T) {
	var got string
	status := 200
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = fmt.Sprintf("%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("Authorization"), body)
		w.WriteHeader(status)
	}))
	defer srv.Close()
	in, err := one(t, "type: http\nname: n\nurl: "+srv.URL+"/hook\nmethod: PUT\nheaders: {Authorization: Bearer $TOKEN $UNSET}\nformat: hello\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Test(t.Context(), attack("192.0.2.1"), time.Now()); err != nil || got != "PUT /hook Bearer s3cret $UNSET hello" {
		t.Fatalf("%q, %v", got, err)
	}
	status = 503
	var final lasting
	if err := in.Test(t.Context(), attack("192.0.2.1"), time.Now()); !errors.As(err, &final) {
		t.Fatalf("an answer is no reason to try again: %v", err)
	}

	status = 200
	if in, err = one(t, "type: slack\nname: n\nwebhook: "+srv.URL+"/services/$TOKEN\nchannel: c\nformat: \"a\\\"b\"\n"); err != nil {
		t.Fatal(err)
	}
	if err := in.Test(t.Context(), attack("192.0.2.1"), time.Now()); err != nil || got != `POST /services/s3cret  {"channel":"c","text":"a\"b"}` {
		t.Fatalf("%q, %v", got, err)
	}
	srv.Close()
	err = in.Test(t.Context(), attack("192.0.2.1"), time.Now())
	if err == nil || strings.Contains(err.Error(), "s3cret") || errors.As(err, &final) {
		t.Fatalf("a secret is told, or no other attempt made: %v", err)
	}
}

func TestJSONFormat(t *testing.T) {
	in, err := one(t, "type: dummy\nname: n\noutput_file: "+filepath.Join(t.TempDir(), "out")+"\nformat: |\n  {{ . | toJson }}\n")
	if err != nil {
		t.Fatal(err)
	}
	text, err := in.text.format([]Alert{newAlert(attack("192.0.2.1"), time.Now())})
	if err != nil || !strings.HasPrefix(text, `[{"capacity":0,"decisions":[{"duration":"1h0m0s"`) || !strings.Contains(text, `"source":{"cn":"FR","scope":"Ip","value":"192.0.2.1"}`) {
		t.Fatalf("%s, %v", text, err)
	}
}

func TestFileRotates(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	for _, compress := range []bool{false, true} {
		f := &file{path: path, maxSize: 10, maxFiles: 2, compress: compress}
		for _, text := range []string{"first\n", "second\n", "third\n", "fourth\n"} {
			if err := f.send(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 5 { // log, log.1, log.2, log.1.gz, log.2.gz
		t.Fatalf("%v, %v", names, err)
	}
	for name, want := range map[string]string{"log": "fourth\n", "log.1": "third\n", "log.2": "second\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Fatalf("%s: %q, %v", name, got, err)
		}
	}
}

// TestEmail sends a mail to a server that knows LOGIN only.
func TestEmail(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in := bufio.NewScanner(conn)
		fmt.Fprint(conn, "220 hello\r\n")
		var all strings.Builder
		data := false
		for in.Scan() {
			line := in.Text()
			all.WriteString(line + "\n")
			switch {
			case data && line == ".":
				data = false
				fmt.Fprint(conn, "250 ok\r\n")
			case data:
			case strings.HasPrefix(line, "EHLO"):
				fmt.Fprint(conn, "250-me\r\n250 AUTH LOGIN\r\n")
			case line == "AUTH LOGIN":
				fmt.Fprint(conn, "334 VXNlcm5hbWU6\r\n") // Username:
			case line == "dXNlcg==": // user
				fmt.Fprint(conn, "334 UGFzc3dvcmQ6\r\n") // Password:
			case line == "cGFzcw==": // pass
				fmt.Fprint(conn, "235 ok\r\n")
			case line == "DATA":
				data = true
				fmt.Fprint(conn, "354 go on\r\n")
			case line == "QUIT":
				fmt.Fprint(conn, "221 bye\r\n")
				heard <- all.String()
				return
			default:
				fmt.Fprint(conn, "250 ok\r\n")
			}
		}
		heard <- all.String()
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	in, err := one(t, "type: email\nname: n\nsmtp_host: 127.0.0.1\nsmtp_port: "+port+"\nsmtp_username: user\nsmtp_password: pass\nsender_email: a@example.org\n"+
		"sender_name: Crowd\nreceiver_emails: [b@example.org, c@example.org]\nemail_subject: \"bans\\nX: y é\"\nauth_type: login\nformat: '<p>héllo</p>'\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Test(t.Context(), attack("192.0.2.1"), time.Now()); err != nil {
		t.Fatal(err)
	}
	got := <-heard
	for _, want := range []string{
		"EHLO localhost\n", "MAIL FROM:<a@example.org>", "RCPT TO:<c@example.org>", "\nFrom: \"Crowd\" <a@example.org>\n", "\nTo: b@example.org, c@example.org\n",
		"\nSubject: =?utf-8?q?bans_X:_y_=C3=A9?=\n", "\n<p>h=C3=A9llo</p>\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// FuzzLoad: no document makes the loading panic.
func FuzzLoad(f *testing.F) {
	f.Add("type: http\nname: n\nurl: http://x\nheaders: {a: b}\nformat: '{{ range . }}{{ .Source.Cn }}{{ end }}'\n")
	f.Add("type: file\nname: n\nlog_path: x\nrotate: {enabled: true, max_size: -1}\n")
	f.Add("type: email\nname: n\nreceiver_emails: {}\n---\ntype: [1]\n")
	f.Fuzz(func(t *testing.T, text string) {
		in, err := one(t, text)
		if err != nil || in.text == nil {
			return
		}
		in.text.format([]Alert{newAlert(attack("192.0.2.1"), time.Now())})
	})
}

package lapi

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// ids returns the IDs of an array of decisions.
func ids(t *testing.T, body []byte) string {
	t.Helper()
	var list []struct{ ID int64 }
	if err := json.Unmarshal(body, &list); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	var out []string
	for _, d := range list {
		out = append(out, fmt.Sprint(d.ID))
	}
	return strings.Join(out, " ")
}

// manual posts one alert with the given decisions.
func manual(t *testing.T, m visitor, at time.Time, decisions ...string) {
	t.Helper()
	m.want("POST", "/v1/alerts", "["+alertJSON("", "", "["+strings.Join(decisions, ",")+"]", at)+"]", 201, "*")
}

func TestLiveDecisions(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	m, b := machine(t, s, "m"), bouncer(t, s, "b")
	manual(t, m, clk.Now(),
		decisionJSON("ip", "1.2.3.4", "ban", "cscli", "1h"),                                                // 1
		decisionJSON("range", "1.2.0.0/16", "captcha", "crowdsec", "2h"),                                   // 2
		decisionJSON("country", "FR", "ban", "cscli", "1h"),                                                // 3
		decisionJSON("ip", "2001:db8::1", "ban", "CAPI", "1h"),                                             // 4
		decisionJSON("username", "bob", "ban", "cscli", "1h"),                                              // 5
		strings.Replace(decisionJSON("ip", "1.2.3.4", "ban", "lists", "30m"), `"manual"`, `"Tor-exit"`, 1), // 6
		decisionJSON("ip", "9.9.9.9", "ban", "cscli", "0s"),                                                // over
	)
	m.want("POST", "/v1/alerts", "["+strings.Replace(alertJSON("ip", "5.5.5.5", "null", clk.Now()), `"simulated":false`, `"simulated":true`, 1)+"]", 201, "*") // 8

	f := func(query, want string) {
		t.Helper()
		if got := ids(t, b.want("GET", "/v1/decisions"+query, "", 200, "*").Body.Bytes()); got != want {
			t.Fatalf("%s: got %q, want %q", query, got, want)
		}
	}
	f("", "1 2 3 4 5 6")
	f("?foo=bar&startup=true&banned=true&community_pull=false", "1 2 3 4 5 6")
	f("?ip=1.2.3.4", "1 2 6") // no deduplication
	f("?ip=1.2.9.9", "2")
	f("?ip=::ffff:1.2.9.9", "2")
	f("?ip=2001:db8::1", "4")
	f("?range=1.2.3.0/24", "2")
	f("?range=1.0.0.0/8&contains=false", "1 2 6")
	f("?ip=1.2.3.4&range=1.2.0.0/16", "2")
	f("?scope=Country&value=FR", "3")
	f("?scopes=country,username", "3 5")
	f("?scope=ip", "1 4 6")
	f("?value=1.2.3.4", "1 6")
	f("?type=captcha", "2")
	f("?origins=CAPI,lists", "4 6")
	f("?scenarios_containing=tor,nothing", "6")
	f("?scenarios_not_containing=TOR", "1 2 3 4 5")
	f("?simulated=true", "1 2 3 4 5 6 8")
	f("?simulated=false", "1 2 3 4 5 6")
	f("?limit=2", "1 2")
	f("?limit=2&offset=1", "2 3")
	f("?id_gt=4", "5 6")
	f("?ip=1.2.3.4&scopes=Country", "")
	b.want("GET", "/v1/decisions?ip=1.2.3.4&scopes=Country", "", 200, "null")
	b.want("HEAD", "/v1/decisions?ip=1.2.3.4", "", 200, "")
	b.want("GET", "/v1/decisions?ip=bad", "", 500, `{"message":"unable to convert 'bad' to int: invalid ip address 'bad': invalid ip address / range"}`)
	b.want("GET", "/v1/decisions?limit=x", "", 500, "*")
	// Who doesn't know whom to ask about must not take the first ban of all for the answer.
	b.want("GET", "/v1/decisions?ip=", "", 500, `{"message":"unable to convert '' to int: invalid ip address '': invalid ip address / range"}`)
	b.want("GET", "/v1/decisions?range=", "", 500, "*")
	f("?scope=Country&value=", "")
	f("?value=", "")
	f("?type=", "")
	// Lists without a word are none.
	f("?scopes=&origins=,&scenarios_containing=&scenarios_not_containing=", "1 2 3 4 5 6")
	b.want("GET", "/v1/decisions?contains=x", "", 500, "*")

	clk.Add(30 * time.Minute)
	f("?ip=1.2.3.4", "1 2")
	clk.Add(2 * time.Hour)
	f("", "")
}

func TestDeletingDecisions(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	m, b := machine(t, s, "m"), bouncer(t, s, "b")
	for range 3 {
		manual(t, m, clk.Now(),
			decisionJSON("ip", "1.2.3.4", "ban", "cscli", "1h"), // 1, 5, 9
			decisionJSON("range", "1.2.0.0/16", "captcha", "crowdsec", "1h"),
			decisionJSON("Country", "FR", "ban", "lists", "1h"),
			decisionJSON("ip", "1.2.3.5", "ban", "cscli", "1h"))
	}
	f := func(target string, n int) {
		t.Helper()
		m.want("DELETE", "/v1/decisions"+target, "", 200, fmt.Sprintf(`{"nbDeleted":"%d"}`, n))
	}
	f("/1", 1)
	f("/1", 1) // over already, and told again
	f("?ip=1.2.3.5&type=ban&origin=cscli", 3)
	f("?range=1.2.0.0/16&contains=false&type=captcha", 3)
	f("?scopes=Country&scenario=manual", 3)
	f("?scopes=country", 0) // exact
	f("?ip=1.2.3.4&uuid=nonsense", 0)
	d := live(s)[0]
	f("?uuid=x&uuid="+d.UUID, 1)
	for _, key := range []string{"value", "type", "origin", "scenario", "scopes", "uuid"} {
		f("?"+key+"=", 0)
	}
	m.want("DELETE", "/v1/decisions?ip=", "", 500, "*")
	m.want("DELETE", "/v1/decisions?scope=Ip", "", 500, `{"message":"'scope' doesn't exist: invalid filter"}`)
	m.want("DELETE", "/v1/decisions?limit=1", "", 500, `{"message":"'limit' doesn't exist: invalid filter"}`)
	m.want("DELETE", "/v1/decisions/x", "", 400, `{"message":"decision_id must be valid integer"}`)
	m.want("DELETE", "/v1/decisions/100", "", 500, `{"message":"decision with id '100' doesn't exist: unable to delete"}`)
	f("", 1)
	f("", 0)
	b.want("GET", "/v1/decisions", "", 200, "null")
	// The alert shows them as over.
	if w := m.want("GET", "/v1/alerts/1", "", 200, "*"); !strings.Contains(w.Body.String(), `"duration":"0s"`) {
		t.Fatal(w.Body)
	}
}

// TestSharedKey has two hosts use one key.
func TestSharedKey(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	m, b := machine(t, s, "m"), bouncer(t, s, "fw")
	manual(t, m, clk.Now(), decisionJSON("ip", "1.2.3.4", "ban", "cscli", "1h"))
	news := func(from, query string) (n int) {
		t.Helper()
		b.from = from
		return strings.Count(b.want("GET", "/v1/decisions/stream"+query, "", 200, "*").Body.String(), `"value"`)
	}
	if news("10.0.0.1", "?startup=true") != 1 || news("10.0.0.1", "") != 0 {
		t.Fatal("the first host")
	}
	if news("10.0.0.2", "") != 1 || news("10.0.0.2", "") != 0 {
		t.Fatal("another host with the same key starts with everything")
	}
	b.from = "10.0.0.3"
	b.want("HEAD", "/v1/decisions/stream", "", 200, "")
	names := func() string {
		var out []string
		for _, row := range s.bouncers.list() {
			out = append(out, fmt.Sprintf("%s/%s/%v", row.Name, row.IP, row.AutoCreated))
		}
		return strings.Join(out, " ")
	}
	clk.Add(time.Second)
	if got := names(); got != "fw/10.0.0.1/false fw@10.0.0.2/10.0.0.2/true" {
		t.Fatal(got)
	}
	if err := s.deleteBouncer(t.Context(), "fw@10.0.0.2"); err == nil || !strings.Contains(err.Error(), `delete parent bouncer "fw"`) {
		t.Fatal(err)
	}
	if err := s.deleteBouncer(t.Context(), "fw"); err != nil || names() != "" {
		t.Fatal(err, names())
	}
	b.want("GET", "/v1/decisions", "", 403, `{"message":"access forbidden"}`)
	if rows, _ := s.store.Bouncers(t.Context()); len(rows) != 0 {
		t.Fatalf("left in the store: %+v", rows)
	}
}

func TestSharingIsBounded(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	b := bouncer(t, s, "fw")
	for i := range maxSharing + 20 {
		clk.Add(time.Second)
		if i == maxSharing { // one that comes and asks no more
			b.from = "192.0.2.77"
			if _, err := s.bouncer(t.Context(), b.key, b.from, "x/y"); err != nil {
				t.Fatal(err)
			}
		}
		b.from = fmt.Sprintf("10.0.%d.%d", i>>8, i&255)
		b.want("GET", "/v1/decisions/stream", "", 200, "*")
	}
	if _, err := s.store.Bouncer(t.Context(), "fw@"+b.from); err != nil {
		t.Fatal("the last row is gone: ", err)
	}
	if n := len(s.bouncers.list()); n != maxSharing {
		t.Fatalf("%d rows", n)
	}
	if _, err := s.store.Bouncer(t.Context(), "fw"); err != nil {
		t.Fatal("the first row was given up: ", err)
	}
	if _, err := s.store.Bouncer(t.Context(), "fw@192.0.2.77"); err != nil {
		t.Fatal("a row that is young was given up before its first poll: ", err)
	}
}

func TestBouncerTellsWhatItIs(t *testing.T) {
	s := open(t, nil)
	b := bouncer(t, s, "b")
	f := func(agent, kind, version string) {
		t.Helper()
		b.agent = agent
		b.want("GET", "/v1/decisions", "", 200, "null")
		if err := s.writeStamps(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		row, err := s.store.Bouncer(t.Context(), "b")
		if err != nil || row.Type != kind || row.Version != version || row.LastPull.IsZero() {
			t.Fatalf("%+v, %v", row, err)
		}
	}
	f("crowdsec-firewall-bouncer/v1.2", "crowdsec-firewall-bouncer", "v1.2")
	f("Go-http-client/1.1", "Go-http-client", "1.1")
	f("a/b/c", "a/b/c", "N/A")
	f("curl", "curl", "N/A")
	f(strings.Repeat("x", 400), strings.Repeat("x", 255), "N/A")
}

func TestOneQuestionDoesNotMoveAStreamer(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	m, b := machine(t, s, "m"), bouncer(t, s, "b")
	manual(t, m, clk.Now(), decisionJSON("ip", "1.1.1.1", "ban", "cscli", "1h"))
	b.want("GET", "/v1/decisions/stream?startup=true", "", 200, "*")
	clk.Add(10 * time.Minute)
	manual(t, m, clk.Now(), decisionJSON("ip", "1.1.1.2", "ban", "cscli", "1h"))
	m.want("DELETE", "/v1/decisions?ip=1.1.1.1", "", 200, "*")
	clk.Add(10 * time.Minute)
	b.want("GET", "/v1/decisions?ip=1.1.1.2", "", 200, "*")
	b.want("HEAD", "/v1/decisions/stream", "", 200, "")
	got := b.want("GET", "/v1/decisions/stream", "", 200, "*").Body.String()
	if !strings.Contains(got, `"value":"1.1.1.2"`) || !strings.Contains(got, `"value":"1.1.1.1"`) {
		t.Fatal(got)
	}
}

// BenchmarkLive is one look-up of a web bouncer among 100,000 decisions.
func BenchmarkLive(b *testing.B) {
	s := filled(b, 100_000)
	key, err := s.addBouncer(b.Context(), "b", "")
	if err != nil {
		b.Fatal(err)
	}
	h := s.handler()
	for b.Loop() {
		r := httptest.NewRequest("GET", "/v1/decisions?ip=10.0.1.1", nil)
		r.Header.Set("X-Api-Key", key)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 || w.Body.Len() < 10 {
			b.Fatal(w.Body)
		}
	}
}

package lapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"cs/decisions"
	"cs/roles/api"
	"cs/roles/config"
	"cs/storage"
	"cs/storage/mem"
)

const goodToken = "0123456789012345678901234567890123456789"

// clock is a time that the test turns; the server's background reads it too.
type clock struct{ ns atomic.Int64 }

func (c *clock) Now() time.Time      { return time.Unix(0, c.ns.Load()).UTC() }
func (c *clock) Set(t time.Time)     { c.ns.Store(t.UnixNano()) }
func (c *clock) Add(d time.Duration) { c.ns.Add(int64(d)) }

func noon() time.Time { return time.Date(2026, 3, 1, 10, 0, 20, 0, time.UTC) }

// clockAtNoon returns a clock and the change that gives it to a server.
func clockAtNoon() (*clock, func(*Config)) {
	c := new(clock)
	c.Set(noon())
	return c, func(conf *Config) { conf.Now = c.Now }
}

// kept is a store that outlives the server that closes it.
type kept struct{ storage.Store }

func (kept) Close() error { return nil }

// open opens a server without listeners on a store of its own.
func open(t *testing.T, change func(*Config)) *Server {
	t.Helper()
	conf := Config{
		OpenStore: func(context.Context) (storage.Store, error) { return mem.New(), nil },
		Log:       slog.New(slog.DiscardHandler),

		passwordCost: bcrypt.MinCost,
	}
	if change != nil {
		change(&conf)
	}
	s, err := Open(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// reload gives a server another policy.
func reload(t *testing.T, s *Server, p config.Policy) {
	t.Helper()
	if err := s.Reload(Config{Policy: p}); err != nil {
		t.Fatal(err)
	}
}

// visitor sends requests straight to the handler.
type visitor struct {
	t     *testing.T
	h     http.Handler
	from  string // address; "" is 192.0.2.1
	token string // of a machine
	key   string // of a bouncer
	agent string
}

func (v visitor) do(method, target, body string) *httptest.ResponseRecorder {
	v.t.Helper()
	return v.send(httptest.NewRequestWithContext(v.t.Context(), method, target, strings.NewReader(body)))
}

func (v visitor) send(r *http.Request) *httptest.ResponseRecorder {
	if v.from == "" {
		v.from = "192.0.2.1"
	}
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(v.from), 4711).String()
	if v.token != "" {
		r.Header.Set("Authorization", "Bearer "+v.token)
	}
	if v.key != "" {
		r.Header.Set(api.HeaderKey, v.key)
	}
	if v.agent != "" {
		r.Header.Set("User-Agent", v.agent)
	}
	w := httptest.NewRecorder()
	v.h.ServeHTTP(w, r)
	return w
}

// want sends a request and compares the status and, unless it is "*", the body.
func (v visitor) want(method, target, body string, status int, answer string) *httptest.ResponseRecorder {
	v.t.Helper()
	w := v.do(method, target, body)
	if got := w.Body.String(); w.Code != status || answer != "*" && got != answer {
		v.t.Fatalf("%s %s %s\ngot  %d %q\nwant %d %q", method, target, body, w.Code, got, status, answer)
	}
	return w
}

// machine makes a validated machine and logs it in.
func machine(t *testing.T, s *Server, id string) visitor {
	t.Helper()
	if err := s.ensureMachine(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	token, _, err := s.signer.Sign(id, s.now())
	if err != nil {
		t.Fatal(err)
	}
	return visitor{t: t, h: s.handler(), token: token, agent: "crowdsec/v1.7.8-linux"}
}

// bouncer makes a bouncer with a key.
func bouncer(t *testing.T, s *Server, name string) visitor {
	t.Helper()
	key, err := s.addBouncer(t.Context(), name, "")
	if err != nil {
		t.Fatal(err)
	}
	return visitor{t: t, h: s.handler(), key: key, agent: "crowdsec-firewall-bouncer/v0.0.34"}
}

// alertJSON is an alert as it is posted; decisions is "null" or an array.
func alertJSON(scope, value, decisions string, at time.Time) string {
	stamp := at.UTC().Format(time.RFC3339)
	return fmt.Sprintf(`{"scenario":"crowdsecurity/ssh-bf","scenario_hash":"ab12","scenario_version":"0.3","message":"Ip %[2]s","events_count":6,
"start_at":%[4]q,"stop_at":%[4]q,"capacity":5,"leakspeed":"10s","simulated":false,"remediation":true,"kind":"crowdsec",
"events":[{"timestamp":%[4]q,"meta":[{"key":"service","value":"ssh"}]}],"source":{"scope":%[1]q,"value":%[2]q},"decisions":%[3]s}`, scope, value, decisions, stamp)
}

func decisionJSON(scope, value, kind, origin, duration string) string {
	return fmt.Sprintf(`{"origin":%q,"type":%q,"scope":%q,"value":%q,"duration":%q,"scenario":"manual"}`, origin, kind, scope, value, duration)
}

func TestRegistration(t *testing.T) {
	s := open(t, func(c *Config) {
		c.Policy.Token = goodToken
		c.Policy.TokenRanges = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	v := visitor{t: t, h: s.handler()}
	body := func(id, token string) string {
		return fmt.Sprintf(`{"machine_id":%q,"password":"pw","registration_token":%q}`, id, token)
	}
	v.want("POST", "/v1/watchers", `{"machine_id":"a","password":"pw"}`, 201, "")
	v.want("POST", "/v1/watchers/login", `{"machine_id":"a","password":"pw"}`, 401, `{"code":401,"message":"machine a not validated"}`)
	v.want("POST", "/v1/watchers", body("b", goodToken), 202, "")
	v.want("POST", "/v1/watchers/login", `{"machine_id":"b","password":"pw"}`, 200, "*")
	v.want("POST", "/v1/watchers", body("b", goodToken), 403, `{"message":"user 'b': user already exist"}`)
	v.want("POST", "/v1/watchers", body("c", "short"), 422, `{"message":"validation failure list:\nregistration_token in body should be at least 32 chars long"}`)
	v.want("POST", "/v1/watchers", body("c", strings.Repeat("x", 40)), 401, `{"message":"invalid token for auto registration"}`)
	v.want("POST", "/v1/watchers", `{}`, 422, `{"message":"validation failure list:\nmachine_id in body is required\npassword in body is required"}`)
	v.want("POST", "/v1/watchers", ``, 400, `{"message":"EOF"}`)
	v.want("POST", "/v1/watchers", `{"machine_id":"d","password":"`+strings.Repeat("x", 73)+`"}`, 400, `{"message":"unable to hash: password length exceeds 72 bytes"}`)
	v.from = "198.51.100.1"
	v.want("POST", "/v1/watchers", body("c", goodToken), 401, `{"message":"IP not in allowed range for auto registration"}`)
	v.want("POST", "/v1/bouncers", `{"name":"x","registration_token":"`+goodToken+`"}`, 404, "") // not switched on

	reload(t, s, config.Policy{LocalRegistrationOnly: true})
	v.want("POST", "/v1/watchers", "", 403, `{"message":"access forbidden"}`)
	v.from = "127.0.0.1"
	v.want("POST", "/v1/watchers", `{"machine_id":"e","password":"pw"}`, 201, "")
}

func TestBouncerRegistration(t *testing.T) {
	s := open(t, func(c *Config) { c.Policy.Token, c.Policy.BouncerRegistration = goodToken, true })
	v := visitor{t: t, h: s.handler()}
	w := v.want("POST", "/v1/bouncers", `{"name":"fw","registration_token":"`+goodToken+`"}`, 201, "*")
	var out api.BouncerResponse
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || len(out.Key) != 43 {
		t.Fatalf("%s: %v", w.Body, err)
	}
	visitor{t: t, h: s.handler(), key: out.Key}.want("GET", "/v1/decisions", "", 200, "null")
	v.want("POST", "/v1/bouncers", `{"name":"fw","registration_token":"`+goodToken+`"}`, 403, `{"message":"bouncer fw already exists"}`)
	v.want("POST", "/v1/bouncers", `{"name":"fw2","registration_token":"`+strings.Repeat("x", 40)+`"}`, 401, "*")
	v.want("POST", "/v1/bouncers", `{"name":"fw2"}`, 422, "*")
}

func TestLogin(t *testing.T) {
	s := open(t, nil)
	if err := s.addMachine(t.Context(), "m", "secret", "", true); err != nil {
		t.Fatal(err)
	}
	v := visitor{t: t, h: s.handler(), agent: "crowdsec/v1.7.8-linux"}
	w := v.want("POST", "/v1/watchers/login", `{"machine_id":"m","password":"secret","scenarios":["a","b"]}`, 200, "*")
	var in api.LoginResponse
	if err := json.Unmarshal(w.Body.Bytes(), &in); err != nil || in.Code != 200 {
		t.Fatal(w.Body)
	}
	if expire, err := time.Parse(time.RFC3339, in.Expire); err != nil || time.Until(expire) < 59*time.Minute {
		t.Fatal(in.Expire, err)
	}
	m, _ := s.store.Machine(t.Context(), "m")
	if m.Version != "v1.7.8-linux" || m.IP != "192.0.2.1" || strings.Join(m.Scenarios, ",") != "a,b" {
		t.Fatalf("%+v", m)
	}
	deny := func(body, message string) {
		t.Helper()
		w := v.want("POST", "/v1/watchers/login", body, 401, `{"code":401,"message":`+message+`}`)
		if got := w.Header().Get("WWW-Authenticate"); got != "JWT realm=Crowdsec API local" {
			t.Fatal(got)
		}
	}
	deny(`{bad`, `"missing: invalid character 'b' looking for beginning of object key string"`)
	deny(`{"machine_id":"m"}`, `"validation failure list:\npassword in body is required"`)
	deny(`{"machine_id":"nobody","password":"x"}`, `"ent: machine not found"`)
	deny(`{"machine_id":"m","password":"wrong"}`, `"incorrect Username or Password"`)
	// The machine of an in-process agent has no password, not an empty one.
	if err := s.ensureMachine(t.Context(), "local"); err != nil {
		t.Fatal(err)
	}
	deny(`{"machine_id":"local","password":"x"}`, `"incorrect Username or Password"`)

	v.token = in.Token
	v.want("GET", "/v1/heartbeat", "", 200, "")
	v.want("GET", "/v1/refresh_token", "", 200, "*")
	v.want("POST", "/v1/heartbeat", "", 405, "")
	v.want("DELETE", "/v1/watchers/self", "", 204, "")
	v.want("GET", "/v1/heartbeat", "", 401, `{"code":401,"message":"ent: machine not found"}`)
}

func TestTokens(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	v := machine(t, s, "m")
	good := v.token
	deny := func(token string, status int, message string) {
		t.Helper()
		v.token = token
		v.want("GET", "/v1/heartbeat", "", status, fmt.Sprintf(`{"code":%d,"message":%q}`, status, message))
	}
	deny("", 401, "cookie token is empty")
	deny("nonsense", 401, "token contains an invalid number of segments")
	deny(good[:len(good)-4]+"AAAA", 401, "signature is invalid")
	none := "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + strings.Split(good, ".")[1] + "."
	deny(none, 401, "invalid signing algorithm")

	clk.Add(time.Hour)
	v.token = good
	v.want("GET", "/v1/refresh_token", "", 200, "*") // an hour after its issue is just in time
	clk.Add(2 * time.Second)
	deny(good, 401, "Token is expired")
	v.want("GET", "/v1/refresh_token", "", 401, `{"code":401,"message":"token is expired"}`)
	r := httptest.NewRequest("GET", "/v1/heartbeat", nil)
	fresh, _, _ := s.signer.Sign("m", clk.Now())
	r.AddCookie(&http.Cookie{Name: "jwt", Value: fresh})
	if w := (visitor{t: t, h: s.handler()}).send(r); w.Code != 200 {
		t.Fatal(w.Body)
	}
}

func TestTokensSurviveARestart(t *testing.T) {
	store := mem.New()
	again := func(c *Config) {
		c.OpenStore = func(context.Context) (storage.Store, error) { return kept{store}, nil }
	}
	first := open(t, again)
	v := machine(t, first, "m")
	first.Close()
	second := open(t, again)
	v.h = second.handler()
	v.want("GET", "/v1/heartbeat", "", 200, "")
}

func TestWhoMayAsk(t *testing.T) {
	s := open(t, nil)
	m, b := machine(t, s, "m"), bouncer(t, s, "b")
	b.want("GET", "/v1/alerts", "", 401, `{"code":401,"message":"cookie token is empty"}`)
	b.want("DELETE", "/v1/decisions", "", 401, `{"code":401,"message":"cookie token is empty"}`)
	m.want("GET", "/v1/decisions", "", 403, `{"message":"access forbidden"}`)
	visitor{t: t, h: s.handler(), key: "bad"}.want("GET", "/v1/decisions/stream", "", 403, `{"message":"access forbidden"}`)
	visitor{t: t, h: s.handler(), key: "bad"}.want("HEAD", "/v1/decisions/stream", "", 403, "*")
	b.want("HEAD", "/v1/decisions/stream", "", 200, "")
	m.want("GET", "/admin/v1/machines", "", 404, "") // not over TCP
}

func TestUnknownPathsAndMethods(t *testing.T) {
	s := open(t, nil)
	v := machine(t, s, "m")
	v.want("GET", "/v1/nothing", "", 404, "")
	v.want("GET", "/", "", 404, "")
	for _, path := range []string{"/v1//alerts", "//v1/alerts", "/v1/alerts//", "/v1/./alerts", "/v1/x/../alerts", "/v1/alerts/.."} {
		v.want("GET", path, "", 404, "")
	}
	if w := v.want("PUT", "/v1/alerts", "", 405, ""); w.Header().Get("Allow") != "DELETE, GET, HEAD, POST" {
		t.Fatal(w.Header())
	}
	if w := v.want("GET", "/v1/alerts/?limit=1", "", 301, ""); w.Header().Get("Location") != "/v1/alerts?limit=1" {
		t.Fatal(w.Header())
	}
	v.want("POST", "/v1/alerts/", "", 307, "")
	v.want("HEAD", "/health", "", 405, "")
	w := v.want("GET", "/health", "", 200, `{"status":"up"}`)
	for key, want := range map[string]string{"Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "Thu, 01 Jan 1970 00:00:00 GMT", "Content-Type": "application/json; charset=utf-8"} {
		if got := w.Header().Get(key); got != want {
			t.Fatalf("%s: %q", key, got)
		}
	}
}

func TestBodies(t *testing.T) {
	s := open(t, nil)
	v := machine(t, s, "m")
	zip := func(b []byte) string {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		w.Write(b)
		w.Close()
		return z.String()
	}
	post := func(target, coding, body string, status int, answer string) {
		t.Helper()
		r := httptest.NewRequest("POST", target, strings.NewReader(body))
		r.Header.Set("Content-Encoding", coding)
		if w := v.send(r); w.Code != status || answer != "*" && w.Body.String() != answer {
			t.Fatalf("got %d %s, want %d %s", w.Code, w.Body, status, answer)
		}
	}
	post("/v1/alerts", "gzip", zip([]byte("[]")), 201, "[]")
	post("/v1/alerts", "gzip, gzip", zip([]byte("[]")), 201, "[]")
	post("/v1/alerts", "gzip, br", zip([]byte("[]")), 415, "")
	post("/v1/alerts", "gzip", "no gzip", 400, "")
	const large = `{"message":"http: request body too large"}`
	post("/v1/watchers", "", `{"machine_id":"`+strings.Repeat("x", smallBody), 400, large)
	post("/v1/watchers", "gzip", zip([]byte(`{"machine_id":"`+strings.Repeat("x", smallBody))), 400, large)
	// A bomb: 51 MiB of spaces are 50 KB compressed.
	post("/v1/alerts", "gzip", zip(bytes.Repeat([]byte(" "), largeBody+1)), 400, large)
	post("/v1/alerts", "", "{", 400, `{"message":"unexpected EOF"}`)
	post("/v1/alerts", "", `[{}]`, 500, "*")
	if got := v.do("POST", "/v1/alerts", "[]").Header().Get("Content-Encoding"); got != "" {
		t.Fatal("the answer is compressed")
	}
	r := httptest.NewRequest("GET", "/health", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	if w := v.send(r); w.Body.String() != `{"status":"up"}` {
		t.Fatal("the answer is compressed")
	}
}

func TestUsageMetrics(t *testing.T) {
	s := open(t, nil)
	m, b := machine(t, s, "m"), bouncer(t, s, "b")
	const report = `[{"version":"v1.7.8","utc_startup_timestamp":1,"os":{"name":"debian","version":"12"},"feature_flags":["f"],"datasources":{"file":1},"metrics":[]}]`
	m.want("POST", "/v1/usage-metrics", `{"log_processors":`+report+`}`, 201, "")
	b.want("POST", "/v1/usage-metrics", `{"remediation_components":`+report+`,"log_processors":null}`, 201, "")
	b.want("POST", "/v1/usage-metrics", `{"log_processors":`+report+`}`, 400, `{"message":"Missing remediation component data"}`)
	m.want("POST", "/v1/usage-metrics", `{}`, 400, `{"message":"Missing log processor data"}`)
	m.want("POST", "/v1/usage-metrics", `{"log_processors":[`+strings.Repeat(report[1:len(report)-1]+",", 2)+report[1:len(report)-1]+`]}`, 400, `{"message":"Payload has more than one log processor"}`)
	m.want("POST", "/v1/usage-metrics", `{"log_processors":[{}]}`, 422, "*")
	m.want("POST", "/v1/usage-metrics", `{`, 400, "*")
	visitor{t: t, h: s.handler()}.want("POST", "/v1/usage-metrics", `{}`, 403, "*")

	row, err := s.store.Machine(t.Context(), "m")
	if err != nil || row.OSName != "debian" || row.OSVersion != "12" || row.Datasources["file"] != 1 {
		t.Fatalf("%+v, %v", row, err)
	}
	if err := s.writeStamps(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	brow, err := s.store.Bouncer(t.Context(), "b")
	if err != nil || brow.OSName != "debian" || brow.Type != "crowdsec-firewall-bouncer" {
		t.Fatalf("%+v, %v", brow, err)
	}
}

func TestAllowlistRoutes(t *testing.T) {
	s := open(t, nil)
	v := machine(t, s, "m")
	v.want("GET", "/v1/allowlists?with_content=true", "", 200, "[]")
	v.want("GET", "/v1/allowlists/x", "", 500, `{"message":"allowlist 'x' not found"}`)
	v.want("GET", "/v1/allowlists/check/10.20.0.0%2F16", "", 200, "{}")
	v.want("GET", "/v1/allowlists/check/2001:db8::1", "", 200, "{}")
	v.want("HEAD", "/v1/allowlists/check/1.2.3.4", "", 204, "")
	v.want("GET", "/v1/allowlists/check/bad", "", 500, "*")
	v.want("POST", "/v1/allowlists/check", `{"targets":["1.2.3.4"]}`, 200, `{"results":[]}`)
	v.want("POST", "/v1/allowlists/check", `{"targets":[]}`, 400, `{"message":"targets list cannot be empty"}`)
	v.want("POST", "/v1/allowlists/check", ``, 400, `{"message":"EOF"}`)
}

func TestTrustedProxies(t *testing.T) {
	s := open(t, func(c *Config) {
		c.Policy.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		c.Policy.TrustedIPs = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	})
	f := func(from, named, want string) {
		t.Helper()
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(from), 1).String()
		r.Header.Set("X-Forwarded-For", named)
		r.Header.Set("X-Real-IP", "192.0.2.99")
		r = r.WithContext(withPeer(t.Context(), connected(viaTCP, r.RemoteAddr)))
		if got := forwarded(r, s.rules.Load().TrustedProxies).String(); got != want {
			t.Fatalf("%s forwards %q: got %s, want %s", from, named, got, want)
		}
	}
	f("198.51.100.1", "203.0.113.7", "198.51.100.1") // nobody we trust
	f("10.0.0.1", "203.0.113.7", "203.0.113.7")
	f("10.0.0.1", "1.1.1.1, 203.0.113.7, 10.9.9.9", "203.0.113.7")
	f("10.0.0.1", "1.1.1.1, nonsense", "192.0.2.99")
	f("10.0.0.1", "", "192.0.2.99")
	f("::ffff:10.0.0.1", "::ffff:203.0.113.7", "203.0.113.7")
	f("10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1") // the proxies' network has clients, too
	f("10.0.0.1", "127.0.0.1", "10.0.0.1")
	f("10.0.0.1", "::1", "10.0.0.1")
	f("10.0.0.1", "203.0.113.7:80", "192.0.2.99")

	// This is what use_forwarded_for_headers makes if no proxy is named.
	reload(t, s, config.Policy{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})
	f("127.0.0.1", "203.0.113.7", "203.0.113.7")
	f("127.0.0.1", "1.1.1.1, 203.0.113.7", "1.1.1.1")
	f("127.0.0.1", "127.0.0.1", "127.0.0.1")
	f("198.51.100.1", "127.0.0.1", "198.51.100.1")
	f("2001:db8::1", "203.0.113.7", "2001:db8::1")
}

func TestOpenRefuses(t *testing.T) {
	f := func(change func(*Config), want string) {
		t.Helper()
		conf := Config{OpenStore: func(context.Context) (storage.Store, error) { return mem.New(), nil }, Log: slog.New(slog.DiscardHandler)}
		change(&conf)
		if s, err := Open(t.Context(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("got %v, %v; want %q", s, err, want)
		}
	}
	f(func(c *Config) { c.Policy.Token = "short" }, "registration token")
	f(func(c *Config) { c.Secret = []byte("short") }, "CS_LAPI_SECRET not strong enough")
	f(func(c *Config) {
		c.OpenStore = func(context.Context) (storage.Store, error) { return nil, io.ErrClosedPipe }
	}, "closed pipe")
}

func live(s *Server) (out []decisions.Decision) {
	s.decisions.View(func(set *decisions.Set) {
		set.All(func(d *decisions.Decision) bool {
			out = append(out, *d)
			return true
		})
	})
	return out
}

// FuzzQueries: whatever stands in a query, it is understood or refused.
func FuzzQueries(f *testing.F) {
	f.Add("ip=1.2.3.4&scopes=ip,range&contains=false&limit=1&offset=2&id_gt=3&simulated=true", "0123456789abcdef.7.1772362800000000000")
	f.Add("since=1d&until=2h&has_active_decision=true&include_capi=false&origin=cscli&sort=ASC", "..")
	f.Add("scope=&value=&type=&origins=,,&scenarios_containing=A&scenarios_not_containing=,b", "")
	f.Fuzz(func(t *testing.T, query, cursor string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		a := decisions.Alert{Source: decisions.Source{Scope: "Ip", Value: "1.2.3.4"}, Decisions: []decisions.Decision{{Scope: "Ip", Value: "1.2.3.4"}}}
		if f, err := parseAlertFilter(q, noon(), true); err == nil && f.Match != nil {
			f.Match(&a)
		}
		if f, err := parseDecisionFilter(parseParams(query), streamScopes); err == nil {
			f.wants(&a.Decisions[0])
		}
		s := Server{epoch: "0123456789abcdef"}
		if c := s.parseCursor(cursor); c.ID < 0 || c != (decisions.Cursor{}) && s.parseCursor(s.formatCursor(c)) != c {
			t.Fatalf("%q gives %+v", cursor, c)
		}
	})
}

func TestWhatStrangersSayIsBounded(t *testing.T) {
	var many []string
	for i := range 300 {
		many = append(many, strings.Repeat("x", 500)+fmt.Sprint(i))
	}
	if kept := strings.Join(limitScenarios(many), ","); len(kept) > maxScenarios || len(kept) < maxScenarios-600 {
		t.Fatalf("%d bytes of scenarios", len(kept))
	}
	sources := make(map[string]int64)
	for _, name := range many {
		sources[name] = 1
	}
	r := api.ComponentMetrics{FeatureFlags: many, Datasources: sources}
	limitReport(&r)
	if len(r.FeatureFlags) != maxListed || len(r.FeatureFlags[0]) != 255 || len(r.Datasources) > maxListed || r.OS == nil {
		t.Fatalf("%d flags, %d sources", len(r.FeatureFlags), len(r.Datasources))
	}
}

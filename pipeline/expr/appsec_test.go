package expr

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"cs/decisions"
	"cs/pipeline/event"
)

// evaluate runs an expression and returns its result, or "error".
func evaluate(t *testing.T, c *Compiler, x *Ctx, src string) any {
	t.Helper()
	p, err := c.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	if c.Schema != nil {
		x.Event = event.New(c.Schema)
	}
	got, err := p.Any(x)
	if err != nil {
		return "error"
	}
	return got
}

func TestAppsec(t *testing.T) {
	found := &Appsec{
		HasInBandMatches: true,
		Vars:             map[string]string{"a": "1"},
		MatchedRules: MatchedRules{
			{"id": 7, "name": "vpatch-a", "uri": "/a", "method": "GET", "hash": "h", "version": "1.0", "rule_type": "inband", "disruptive": true,
				"tags": []string{"crowdsec", "xss"}, "severity": "warning", "accuracy": "3", "matched_zones": []string{"ARGS", "URI"}},
			{"id": 8, "name": "vpatch-b", "uri": "/b", "rule_type": "outofband", "disruptive": false,
				"tags": []string{"sqli"}, "severity": "CRITICAL", "matched_zones": []string{"URI"}},
		},
	}
	f := func(src string, with, without any) {
		t.Helper()
		for x, want := range map[*Ctx]any{{Appsec: found}: with, {}: without} {
			if got := evaluate(t, &Compiler{Schema: event.NewSchema()}, x, src); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: got %v, want %v", src, got, want)
			}
		}
	}
	f(`evt.Appsec.HasInBandMatches ? "appsec-block" : "appsec-info"`, "appsec-block", "appsec-info")
	f(`evt.Appsec.HasOutBandMatches == true`, false, false)
	f(`evt.Appsec.GetName()`, "vpatch-a", "")
	f(`Sprintf("%+v", evt.Appsec.GetRuleIDs())`, "[7 8]", "[]")
	f(`evt.Appsec.MatchedRules.GetName() + evt.Appsec.GetURI() + evt.Appsec.GetHash() + evt.Appsec.GetVersion() + evt.Appsec.GetMethod()`, "vpatch-a/ah1.0GET", "")
	f(`evt.Appsec.GetVar("a") + evt.Appsec.Vars.a + evt.Appsec.GetVar("b")`, "11", "")
	f(`evt.Appsec.GetNames()`, "[vpatch-a vpatch-b]", "[]")
	f(`evt.Appsec.Kinds()`, "[inband outofband]", "[]")
	f(`evt.Appsec.GetMatchedZones()`, "[ARGS URI]", "[]")
	f(`evt.Appsec.GetHighestSeverity()`, "CRITICAL", "")
	f(`evt.Appsec.GetField("id")`, "[7 8]", "[]")
	f(`evt.Appsec.ByID(8).GetName()`, "vpatch-b", "")
	f(`evt.Appsec.ByKind("inband").ByTag("xss").GetRuleIDs()`, "[7]", "[]")
	f(`evt.Appsec.ByTag("none").GetName()`, "", "")
	f(`len(evt.Appsec.ByTags(["xss", "sqli"]))`, 2, 0)
	f(`evt.Appsec.ByTagRx("^sq").GetName() + evt.Appsec.ByTagRx("(").GetName()`, "vpatch-b", "")
	f(`evt.Appsec.ByDisruptiveness(true).GetName() + evt.Appsec.BySeverity("CRITICAL").GetName() + evt.Appsec.ByAccuracy("3").GetName()`, "vpatch-avpatch-bvpatch-a", "")
	f(`len(evt.Appsec.MatchedRules) > 0 ? evt.Appsec.MatchedRules[1].name : "none"`, "vpatch-b", "none")
	f(`any(evt.Appsec.MatchedRules, .id == 8)`, true, false)
	f(`evt.Type`, 0, 0)

	for src, want := range map[string]string{
		`evt.Appsec.GetNam()`:           "did you mean GetName?",
		`evt.Appsec.ByID("7")`:          "must be an int",
		`evt.Appsec.MatchedRules.Nam`:   "has no field Nam",
		`evt.Appsec.HasInbandMatches`:   "did you mean HasInBandMatches?",
		`evt.Appsec.GetName`:            "write GetName(…)",
		`evt.Appsec.ByID(7) == "a"`:     "invalid operation",
		`evt.Overflow.Alert.GetScpoe()`: "did you mean GetScope?",
		`evt.Overflow.Alert.Source.ip`:  "did you mean IP?",
		`evt.Time.Weekdy()`:             "did you mean Weekday?",
	} {
		if _, err := (&Compiler{Schema: event.NewSchema()}).Compile(src); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
	}
}

func TestOverflow(t *testing.T) {
	alerts := []decisions.Alert{
		{Scenario: "s", Kind: "crowdsec", EventsCount: 6, Source: decisions.Source{Scope: "Ip", Value: "192.0.2.1", IP: "192.0.2.1", ASNumber: "64500", ASName: "Net", Country: "FR"},
			Events:    []decisions.Event{{Timestamp: "2024-03-01T11:00:00Z", Meta: []decisions.KeyValue{{Key: "user", Value: "root"}}}},
			Decisions: []decisions.Decision{{Type: "ban", Scope: "Ip", Value: "192.0.2.1"}}},
		{Scenario: "s", Kind: "crowdsec", Source: decisions.Source{Scope: "Ip", Value: "192.0.2.2"}},
	}
	over := func() *Ctx {
		return &Ctx{Alert: &alerts[0], Alerts: alerts, Sources: []string{"192.0.2.1", "192.0.2.2"}, Mapkey: "6b", Reprocess: true}
	}
	f := func(x *Ctx, src string, want any) {
		t.Helper()
		if got := evaluate(t, &Compiler{Schema: event.NewSchema()}, x, src); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", src, got, want)
		}
	}
	f(over(), `evt.Overflow.Mapkey + evt.Overflow.BucketId`, "6b6b")
	f(over(), `evt.Overflow.Reprocess && !evt.Overflow.Whitelisted`, true)
	f(over(), `evt.Overflow.GetSources()`, "[192.0.2.1 192.0.2.2]")
	f(over(), `evt.Overflow.Sources["192.0.2.1"].GetAsNumberName() + evt.Overflow.Sources["192.0.2.2"].String()`, "64500 NetIp:192.0.2.2")
	f(over(), `map(evt.Overflow.APIAlerts, .GetValue())`, "[192.0.2.1 192.0.2.2]")
	f(over(), `any(evt.Overflow.Alert.Events, .GetMeta("user") == "root")`, true)
	f(over(), `find(evt.Overflow.Alert.Events, .GetMeta("user") == "root").Timestamp`, "2024-03-01T11:00:00Z")
	f(over(), `filter(evt.Overflow.Alert.Events, .GetMeta("user") == "root")[0].Meta[0].Value`, "root")
	f(over(), `evt.Overflow.Alert.Decisions[0].Type`, "ban")
	f(over(), `evt.Overflow.Alert.FormatAsStrings("box", nil)`, "[(box/crowdsec) s by ip 192.0.2.1 (FR/64500) : 0s ban on Ip 192.0.2.1]")
	f(over(), `evt.Type == 1 && evt.GetType() == "overflow"`, true)
	f(over(), `evt.Overflow.Alert?.Scenario ?? "none"`, "s")
	f(over(), `evt.Overflow.Alert?.GetScope()`, "Ip")
	f(over(), `evt.Overflow.Alert?.Source.IP == "192.0.2.1"`, true)

	waf := alerts[0]
	waf.Kind = "waf"
	f(&Ctx{Alert: &waf, Sources: []string{"a"}}, `evt.Type == 2 && evt.GetType() == "unknown" && evt.Overflow.Sources["a"].IP == "192.0.2.1"`, true)

	f(&Ctx{}, `evt.Overflow.Alert == nil && len(evt.Overflow.APIAlerts) == 0 && len(evt.Overflow.Sources) == 0`, true)
	f(&Ctx{}, `evt.Overflow.Alert.Scenario`, "error")
	f(&Ctx{}, `evt.Overflow.Alert.GetScope()`, "error")
	f(&Ctx{}, `evt.Overflow.Alert?.Scenario ?? "none"`, "none")
	f(&Ctx{}, `evt.Overflow.Alert?.GetScope()`, "<nil>")
	f(&Ctx{}, `evt.Overflow.Alert?.Source.IP`, "<nil>")
	f(&Ctx{}, `evt.Overflow.Alert?.Source.GetScope() == nil`, true)
	f(&Ctx{}, `evt.GetType()`, "log")
}

func TestRequest(t *testing.T) {
	u, err := url.Parse("https://example.com:8443/a%20b?x=1&y=2#z")
	if err != nil {
		t.Fatal(err)
	}
	r := &http.Request{Method: "GET", URL: u, Host: "example.com", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RequestURI: "/a%20b?x=1&y=2", RemoteAddr: "192.0.2.1:99",
		Header: http.Header{"User-Agent": {"curl/8"}, "Referer": {"https://r"}, "Cookie": {"b=2; a=1"}, "Accept-Language": {"fr-CA,en;q=0.8"}, "Accept": {"*/*"}}}
	f := func(r *http.Request, src string, want any) {
		t.Helper()
		c := &Compiler{Env: NewEnv().Var("req", RequestMembers()...)}
		if got := evaluate(t, c, &Ctx{Vars: []any{r}}, src); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", src, got, want)
		}
	}
	f(r, `req.Method + " " + req.Host + " " + req.RequestURI + " " + req.RemoteAddr`, "GET example.com /a%20b?x=1&y=2 192.0.2.1:99")
	f(r, `req.UserAgent() + req.Referer() + req.Header.Get("accept") + req.Header["Accept"][0]`, "curl/8https://r*/**/*")
	f(r, `req.URL.Path + req.URL.RawQuery + req.URL.Query().Get("y") + req.URL.Query()["x"][0] + req.URL.Hostname() + req.URL.Port() + req.URL.Fragment`, "/a bx=1&y=221example.com8443z")
	f(r, `map(req.Cookies(), .Name + "=" + .Value)`, "[b=2 a=1]")
	f(r, `req.ProtoAtLeast(1, 1) && !req.ProtoAtLeast(2, 0)`, true)
	f(r, `len(req.Header) == 5 && len(req.Header.Values("none")) == 0`, true)
	f(r, `req != nil ? req.Host : ""`, "example.com")
	f(nil, `req != nil ? req.Host : ""`, "")
	f(&http.Request{}, `req.Method != "" ? JA4H(req) : ""`, "")
	f(&http.Request{}, `req.UserAgent() + req.Header.Get("a")`, "")
	f(nil, `JA4H(req)`, "")

	f(r, `JA4H(req)`, "ge11cr03frca_"+hash12([]string{"Accept", "Accept-Language", "User-Agent"})+"_"+hash12([]string{"a", "b"})+"_"+hash12([]string{"a=1", "b=2"}))
	f(&http.Request{Method: "GET", ProtoMajor: 1, ProtoMinor: 1}, `JA4H(req)`, "ge11nn000000_e3b0c44298fc_000000000000_000000000000")
	f(&http.Request{Method: "X", ProtoMajor: 2, Header: http.Header{"Accept-Language": {"*"}}}, `JA4H(req)`, "x020nn01*000_"+hash12([]string{"Accept-Language"})+"_000000000000_000000000000")
}

func TestBots(t *testing.T) {
	files := testFiles{"bots.json": {
		`{"name": "range", "user_agent": "GoodBot/\\d", "ranges": ["192.0.2.0/24", "2001:db8::/32"], "ips": ["198.51.100.7"]}`,
		`{"name": "named", "user_agent": "namedbot", "paths": ["^/robots", "\\.xml$"], "rdns": ["\\.bot\\.example$"]}`,
		`{"name": "quiet", "ips": ["203.0.113.9"]}`,
	}}
	f := func(look Lookups, ip, agent, path, names string, want bool) {
		t.Helper()
		c := &Compiler{Schema: event.NewSchema(), Files: files, Lookups: look}
		src := fmt.Sprintf("MatchKnownBot(%q, %q, %q, %s)", ip, agent, path, names)
		if got := evaluate(t, c, &Ctx{}, src); got != want {
			t.Errorf("%s: %v", src, got)
		}
	}
	honest := confirming{}
	f(nil, "192.0.2.5", "x goodbot/1", "/", `"bots.json"`, true)
	f(nil, "2001:db8::5", "GoodBot/1", "/", `"none.json", "bots.json"`, true)
	f(nil, "198.51.100.7", "GoodBot/1", "/", `"bots.json"`, true)
	f(nil, "198.51.100.8", "GoodBot/1", "/", `"bots.json"`, false)
	f(nil, "192.0.2.5", "curl", "/", `"bots.json"`, false)
	f(nil, "203.0.113.9", "", "", `"bots.json"`, true)
	f(nil, "nobody", "GoodBot/1", "/", `"bots.json"`, false)
	f(nil, "192.0.2.5", "GoodBot/1", "/", `"none.json"`, false)
	f(honest, "192.0.2.66", "NamedBot", "/robots.txt", `"bots.json"`, true)
	f(honest, "192.0.2.66", "NamedBot", "/SITEMAP.XML", `"bots.json"`, true)
	f(honest, "192.0.2.66", "NamedBot", "/", `"bots.json"`, false)
	f(testLookups{}, "192.0.2.66", "NamedBot", "/robots.txt", `"bots.json"`, false) // its name leads elsewhere
	f(nil, "192.0.2.66", "NamedBot", "/robots.txt", `"bots.json"`, false)

	for row, want := range map[string]string{
		`{"name": "a"}`:                                        "none of ips, ranges and rdns",
		`{"ips": ["1.2.3.4"]}`:                                 "no name",
		`{"name": "a", "ips": ["1.2.3.400"]}`:                  "1.2.3.400",
		`{"name": "a", "ranges": ["1.2.3.0/33"]}`:              "1.2.3.0/33",
		`{"name": "a", "rdns": [""]}`:                          "rdns is empty",
		`{"name": "a", "rdns": ["("]}`:                         "regular expression",
		`{"name": "a", "user_agent": "(", "ips": ["1.2.3.4"]}`: "regular expression",
		`{"name": "a", "ips": ["1.2.3.4"], "agent": "x"}`:      "unknown field",
		`{"name": "a", "ips": ["1.2.3.4"]} {}`:                 "behind the object",
		`{"name": `:                                            "EOF",
	} {
		if _, err := ParseBot(row); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", row, err, want)
		}
	}
}

// confirming knows the address of every name that it gives an address.
type confirming struct{ testLookups }

func (confirming) Hosts(name string) []string {
	ip, ok := strings.CutPrefix(strings.TrimSuffix(name, ".bot.example"), "crawl-")
	if !ok {
		return nil
	}
	return []string{"203.0.113.1", strings.ReplaceAll(ip, "-", ".")}
}

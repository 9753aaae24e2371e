package lapi

import (
	"encoding/json"
	"regexp"
	"slices"
	"testing"
	"time"

	"cs/decisions"
)

// TestBouncersOfOthers plays what bouncers that are not made with upstream's Go
// library send, and looks for what each relies on (spec of the wire, 1.7).
func TestBouncersOfOthers(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	m := machine(t, s, "m")
	manual(t, m, clk.Now(), decisionJSON("ip", "192.0.2.7", "ban", "cscli", "4h"), decisionJSON("range", "198.51.100.0/24", "captcha", "cscli", "90m"),
		decisionJSON("country", "FR", "ban", "cscli", "1h"), decisionJSON("ip", "192.0.2.8", "ban", "cscli", "2s"))
	const (
		ban     = `{"duration":"4h0m0s","id":1,"origin":"cscli","scenario":"manual","scope":"Ip","type":"ban","value":"192.0.2.7"}`
		captcha = `{"duration":"1h30m0s","id":2,"origin":"cscli","scenario":"manual","scope":"Range","type":"captcha","value":"198.51.100.0/24"}`
		country = `{"duration":"1h0m0s","id":3,"origin":"cscli","scenario":"manual","scope":"Country","type":"ban","value":"FR"}`
	)
	nginx, haproxy, traefik, php := bouncer(t, s, "nginx"), bouncer(t, s, "haproxy"), bouncer(t, s, "traefik"), bouncer(t, s, "php")
	nginx.agent, haproxy.agent, traefik.agent, php.agent = "crowdsec-openresty-bouncer/v1.1.3", "crowdsec-haproxy-bouncer/v1.0.0", "Crowdsec-Bouncer-Traefik-Plugin/1.X.X", "csphplapi_standalone/v1.6.0"
	type change struct {
		New, Deleted []struct {
			ID                                             int64
			Duration, Origin, Scenario, Scope, Type, Value string
		}
	}
	stream := func(v visitor, query string) (c change) {
		t.Helper()
		w := v.want("GET", "/v1/decisions/stream"+query, "", 200, "*")
		if err := json.Unmarshal(w.Body.Bytes(), &c); err != nil || c.New == nil || c.Deleted == nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		for _, d := range c.New {
			if !regexp.MustCompile(`^(\d+h)?(\d+m)?[1-9]\d*s$|^(\d+h)?[1-9]\d*m0s$|^[1-9]\d*h0m0s$`).MatchString(d.Duration) {
				t.Errorf("nginx and ipset can't do with the duration %q", d.Duration)
			}
		}
		return c
	}
	ids := func(c change) (added, gone []int64) {
		for _, d := range c.New {
			added = append(added, d.ID)
		}
		for _, d := range c.Deleted {
			gone = append(gone, d.ID)
		}
		return added, gone
	}
	same := func(what string, c change, added, gone []int64) {
		t.Helper()
		a, g := ids(c)
		if !slices.Equal(a, added) || !slices.Equal(g, gone) {
			t.Errorf("%s: new %v, deleted %v; want %v, %v", what, a, g, added, gone)
		}
	}
	// nginx, Lua: compares the body with the four bytes null, else takes the first element.
	nginx.want("GET", "/v1/decisions?ip=203.0.113.1", "", 200, "null")
	nginx.want("GET", "/v1/decisions?ip=192.0.2.7", "", 200, "["+ban+"]")
	nginx.want("GET", "/v1/decisions?scope=Country&value=FR", "", 200, "["+country+"]")
	same("nginx starts", stream(nginx, "?startup=true"), []int64{1, 2, 4}, nil)
	same("nginx polls", stream(nginx, "?startup=false"), nil, nil)
	// HAProxy, Lua: keeps no timers, so it must be told of every end.
	haproxy.want("GET", "/v1/decisions?ip=198.51.100.7", "", 200, "["+captcha+"]")
	same("HAProxy starts", stream(haproxy, "?startup=true"), []int64{1, 2, 4}, nil)
	// Traefik: a parameter that nobody knows; both arrays about one value would unban it.
	traefik.want("GET", "/v1/decisions?ip=192.0.2.7&banned=true", "", 200, "["+ban+"]")
	traefik.want("GET", "/v1/decisions?ip=203.0.113.1&banned=true", "", 200, "null")
	same("Traefik starts", stream(traefik, "?startup=true"), []int64{1, 2, 4}, nil)
	// PHP: asks twice, for the address and for the country; takes back by ID.
	php.want("GET", "/v1/decisions?ip=198.51.100.9", "", 200, "["+captcha+"]")
	same("PHP starts", stream(php, "?startup=true&scopes=ip,range,country"), []int64{1, 2, 3, 4}, nil)
	// The AppSec component tries the keys of its own bouncers.
	appsec := visitor{t: t, h: s.handler(), key: nginx.key, agent: "appsec/1.7.8"}
	appsec.want("HEAD", "/v1/decisions/stream", "", 200, "")
	appsec.key = "wrong"
	if w := appsec.do("HEAD", "/v1/decisions/stream", ""); w.Code != 403 {
		t.Errorf("a wrong key gives %d", w.Code)
	}

	clk.Add(3 * time.Second)
	s.decisions.Advance(clk.Now())
	m.want("DELETE", "/v1/decisions?ip=192.0.2.7", "", 200, `{"nbDeleted":"1"}`)
	manual(t, m, clk.Now(), decisionJSON("range", "198.51.100.0/24", "captcha", "cscli", "4h"))
	for name, v := range map[string]visitor{"nginx": nginx, "HAProxy": haproxy, "Traefik": traefik} {
		c := stream(v, "?startup=false")
		same(name, c, []int64{5}, []int64{1, 4})
		for _, d := range c.Deleted { // ipset looks in the set of that origin
			if d.Origin != "cscli" || d.Scenario != "manual" || d.Type != "ban" || d.Scope != decisions.ScopeIP {
				t.Errorf("%s is told the end of %+v", name, d)
			}
		}
	}
	same("PHP", stream(php, "?startup=false&scopes=ip,range,country"), []int64{5}, []int64{1, 4})
	for _, row := range s.bouncers.list() {
		if row.Type == "" || row.Version == "" || row.Version == "N/A" {
			t.Errorf("%s is shown as %q %q", row.Name, row.Type, row.Version)
		}
	}
	// Reports of usage as Lua and PHP send them.
	const report = `{"remediation_components":[{"type":"lua-bouncer","version":"v1","utc_startup_timestamp":1,"feature_flags":[],"os":{"name":"x","version":"1"},` +
		`"metrics":[{"meta":{"window_size_seconds":900,"utc_now_timestamp":2},"items":[{"name":"dropped","value":1,"unit":"request","labels":{"origin":"CAPI"}}]}]}],"log_processors":null}`
	nginx.want("POST", "/v1/usage-metrics", report, 201, "")
}

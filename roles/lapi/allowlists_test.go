package lapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/roles/api"
	"cs/storage"
)

// listed makes a list with values on it.
func listed(t *testing.T, s *Server, name string, values ...string) {
	t.Helper()
	if err := s.createAllowlist(t.Context(), name, "of a test"); err != nil && !errors.Is(err, storage.ErrExists) {
		t.Fatal(err)
	}
	var items []storage.AllowItem
	for _, v := range values {
		items = append(items, storage.AllowItem{Value: v})
	}
	if _, _, err := s.allow(t.Context(), name, items); err != nil {
		t.Fatal(err)
	}
}

func TestAllowlistContents(t *testing.T) {
	clock, at := clockAtNoon()
	s := open(t, at)
	v := machine(t, s, "m")
	if err := s.createAllowlist(t.Context(), "l1", "desc"); err != nil {
		t.Fatal(err)
	}
	clock.Add(1500 * time.Millisecond)
	_, _, err := s.allow(t.Context(), "l1", []storage.AllowItem{
		{Value: "1.1.1.1", Comment: "com", Expires: clock.Now().Add(30 * time.Minute)}, {Value: "192.0.2.0/24"},
	})
	if err != nil {
		t.Fatal(err)
	}
	items := `{"created_at":"2026-03-01T10:00:21.500Z","description":"com","expiration":"2026-03-01T10:30:21.500Z","value":"1.1.1.1"},`
	never := `{"created_at":"2026-03-01T10:00:21.500Z","expiration":"0001-01-01T00:00:00.000Z","value":"192.0.2.0/24"}`
	list := `{"created_at":"2026-03-01T10:00:20.000Z","description":"desc","items":[%s],"name":"l1","updated_at":"2026-03-01T10:00:21.500Z"}`
	v.want("GET", "/v1/allowlists", "", 200, "["+fmt.Sprintf(list, "")+"]")
	v.want("GET", "/v1/allowlists?with_content=true", "", 200, "["+fmt.Sprintf(list, items+never)+"]")
	v.want("GET", "/v1/allowlists/l1?with_content=true", "", 200, fmt.Sprintf(list, items+never))
	v.want("GET", "/v1/allowlists/l1", "", 200, fmt.Sprintf(list, ""))
	v.want("HEAD", "/v1/allowlists/l1", "", 405, "")

	yes := func(reason string) string { return `{"allowlisted":true,"reason":"` + reason + `"}` }
	v.want("GET", "/v1/allowlists/check/1.1.1.1", "", 200, yes("1.1.1.1 from l1 (com)"))
	v.want("HEAD", "/v1/allowlists/check/1.1.1.1", "", 200, "")
	v.want("GET", "/v1/allowlists/check/192.0.2.7", "", 200, yes("192.0.2.0/24 from l1"))
	v.want("GET", "/v1/allowlists/check/192.0.0.0%2F16", "", 200, yes("192.0.2.0/24 from l1")) // it would ban those
	v.want("GET", "/v1/allowlists/check/0.0.0.0%2F0", "", 200, yes("1.1.1.1 from l1 (com), 192.0.2.0/24 from l1"))
	v.want("GET", "/v1/allowlists/check/::%2F0", "", 200, "{}")
	v.want("GET", "/v1/allowlists/check/::ffff:192.0.2.9", "", 200, yes("192.0.2.0/24 from l1"))
	v.want("POST", "/v1/allowlists/check", `{"targets":["9.9.9.9","1.1.1.1","FR","192.0.2.0/25"]}`, 200,
		`{"results":[{"allowlists":["1.1.1.1 from l1 (com)"],"target":"1.1.1.1"},{"allowlists":["192.0.2.0/24 from l1"],"target":"192.0.2.0/25"}]}`)

	// What has expired is gone for everybody at once, and from the store later.
	clock.Add(30 * time.Minute)
	v.want("GET", "/v1/allowlists/check/1.1.1.1", "", 200, "{}")
	v.want("GET", "/v1/allowlists/l1?with_content=true", "", 200, fmt.Sprintf(list, never))
	if err := s.dropExpired(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l, err := s.store.Allowlist(t.Context(), "l1"); err != nil || len(l.Items) != 1 {
		t.Error(l, err)
	}
}

// TestAllowlistsWin tries all ways by which somebody could be banned.
func TestAllowlistsWin(t *testing.T) {
	clock, at := clockAtNoon()
	s := open(t, at)
	listed(t, s, "office", "192.0.2.0/24", "2001:db8::/48")
	agent, fw := machine(t, s, "m"), bouncer(t, s, "fw")
	post := func(alert string, ids string) {
		t.Helper()
		agent.want("POST", "/v1/alerts", "["+alert+"]", 201, ids)
	}
	bans := func(want ...string) {
		t.Helper()
		var got []string
		for _, d := range live(s) {
			got = append(got, d.Value)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("banned: %v, want %v", got, want)
		}
	}
	// An agent's alert: dropped, or made.
	post(alertJSON("Ip", "192.0.2.7", "null", clock.Now()), "[]")
	post(alertJSON("Ip", "2001:db8::7", "null", clock.Now()), "[]")
	post(alertJSON("Range", "192.0.0.0/16", "null", clock.Now()), "[]")
	post(alertJSON("Ip", "198.51.100.7", "null", clock.Now()), `["1"]`)
	post(alertJSON("Country", "192.0.2.7", "null", clock.Now()), `["2"]`) // no address, whatever it looks like
	bans("198.51.100.7")
	// An agent that decides by itself.
	post(alertJSON("Ip", "x", "["+decisionJSON("Ip", "192.0.2.9", "ban", "crowdsec", "1h")+","+
		decisionJSON("Ip", "203.0.113.1", "ban", "crowdsec", "1h")+"]", clock.Now()), `["3"]`)
	post(alertJSON("Ip", "x", "["+decisionJSON("Range", "192.0.2.128/25", "ban", "lists", "1h")+"]", clock.Now()), "[]")
	bans("198.51.100.7", "203.0.113.1")
	// In this process.
	err := s.Local("localhost").SendAlerts(t.Context(), []decisions.Alert{{
		Scenario: "a/b", Remediation: true, Source: decisions.Source{Scope: "Ip", Value: "192.0.2.8"}, StartAt: clock.Now(), StopAt: clock.Now(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	bans("198.51.100.7", "203.0.113.1")
	// By hand: cscli has asked, and was told to go on.
	post(alertJSON("Ip", "192.0.2.9", "["+decisionJSON("Ip", "192.0.2.9", "ban", "cscli", "1h")+"]", clock.Now()), `["4"]`)
	bans("192.0.2.9", "198.51.100.7", "203.0.113.1")

	// Adding an item lifts what it covers, and what covers it; bouncers are told.
	post(alertJSON("Range", "198.51.0.0/16", "null", clock.Now()), `["5"]`)
	fw.want("GET", "/v1/decisions/stream?startup=true", "", 200, "*")
	clock.Add(time.Minute)
	known, lifted, err := s.allow(t.Context(), "office", []storage.AllowItem{{Value: "198.51.100.0/24"}, {Value: "192.0.2.1/24"}})
	if err != nil || lifted != 2 || !slices.Equal(known, []string{"192.0.2.1/24"}) {
		t.Fatal(known, lifted, err)
	}
	bans("192.0.2.9", "203.0.113.1") // what was there before isn't looked at again
	var delta struct{ New, Deleted []struct{ Value string } }
	if err := json.Unmarshal(fw.do("GET", "/v1/decisions/stream", "").Body.Bytes(), &delta); err != nil {
		t.Fatal(err)
	}
	if len(delta.New) != 0 || len(delta.Deleted) != 2 {
		t.Error(delta)
	}
	// After a restart too.
	if a, err := s.store.Alert(t.Context(), 1); err != nil || a.Decisions[0].Active(clock.Now()) {
		t.Error(a.Decisions, err)
	}

	// Off the list, one may be banned again.
	if n, err := s.disallow(t.Context(), "office", []string{"192.0.2.0/24", "9.9.9.9"}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	post(alertJSON("Ip", "192.0.2.7", "null", clock.Now()), `["6"]`)
	bans("192.0.2.7", "192.0.2.9", "203.0.113.1")
	if err := s.deleteAllowlist(t.Context(), "office"); err != nil {
		t.Fatal(err)
	}
	post(alertJSON("Ip", "2001:db8::7", "null", clock.Now()), `["7"]`)
}

// TestAllowlistChangedMeanwhile lets an item be added between the look at the
// lists and the writing of the alert.
func TestAllowlistChangedMeanwhile(t *testing.T) {
	s := open(t, nil)
	listed(t, s, "l", "10.0.0.1")
	agent := machine(t, s, "m")
	release, err := s.commits.hold(t.Context()) // nothing is written meanwhile
	if err != nil {
		t.Fatal(err)
	}
	posted := make(chan string)
	go func() {
		w := agent.do("POST", "/v1/alerts", "["+alertJSON("Ip", "192.0.2.7", "null", time.Now())+"]")
		posted <- w.Body.String()
	}()
	for waiting := 0; waiting == 0; time.Sleep(time.Millisecond) {
		s.commits.mu.Lock()
		waiting = len(s.commits.waiting)
		s.commits.mu.Unlock()
	}
	changed := make(chan error)
	go func() {
		_, _, err := s.allow(context.WithoutCancel(t.Context()), "l", []storage.AllowItem{{Value: "192.0.2.0/24"}})
		changed <- err
	}()
	for s.lists.now.Load().find("l").Items[len(s.lists.now.Load().find("l").Items)-1].Value != "192.0.2.0/24" {
		time.Sleep(time.Millisecond)
	}
	release()
	if err := <-changed; err != nil {
		t.Fatal(err)
	}
	if got := <-posted; got != `["1"]` {
		t.Error(got)
	}
	if bans := live(s); len(bans) != 0 {
		t.Error(bans)
	}
}

func TestAllowlistAdministration(t *testing.T) {
	s := open(t, nil)
	v := visitor{t: t, h: s.adminHandler()}
	const all = "/admin/v1/allowlists"
	v.want("POST", all, `{"name":"l","description":"d"}`, 201, "")
	v.want("POST", all, `{"name":"l"}`, 409, "*")
	v.want("POST", all, `{"name":""}`, 422, "*")
	v.want("POST", all, `{"name":"a/b"}`, 422, "*")
	v.want("POST", all+"/l/add", `{"items":[{"value":"192.0.2.1"},{"value":"192.0.2.1/32"},{"value":"10.0.0.0/8","expires":"2126-01-01T00:00:00Z"}]}`, 200,
		`{"added":2,"known":["192.0.2.1/32"],"lifted":0}`)
	v.want("POST", all+"/l/add", `{"items":[{"value":"1.2.3.4"},{"value":"nonsense"}]}`, 422, "*") // all or none
	v.want("POST", all+"/none/add", `{"items":[{"value":"1.2.3.4"}]}`, 404, "*")
	v.want("POST", all+"/l/remove", `{"values":["10.0.0.0/8","1.2.3.4"]}`, 200, `{"removed":1}`)
	v.want("POST", all+"/l/remove", `{"values":["nonsense"]}`, 422, "*")
	v.want("POST", all+"/none/remove", `{"values":["1.2.3.4"]}`, 404, "*")
	if err := s.store.UpdateAllowlist(t.Context(), "l", func(l *storage.Allowlist) error { l.ConsoleID = "c"; return nil }); err != nil {
		t.Fatal(err)
	}
	v.want("POST", all+"/l/add", `{"items":[{"value":"1.2.3.4"}]}`, 422, "*")
	v.want("POST", all+"/l/remove", `{"values":["192.0.2.1"]}`, 422, "*")
	v.want("DELETE", all+"/l", "", 422, "*")
	v.want("POST", all, `{"name":"other"}`, 201, "")
	v.want("DELETE", all+"/other", "", 204, "")
	v.want("DELETE", all+"/other", "", 404, "*")
	// Not from outside.
	visitor{t: t, h: s.handler()}.want("POST", all, `{"name":"x"}`, 404, "")
}

func TestAllowlistBounds(t *testing.T) {
	s := open(t, nil)
	listed(t, s, "l")
	items := make([]storage.AllowItem, maxAllowed+1)
	for i := range items {
		items[i].Value = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()
	}
	if _, _, err := s.allow(t.Context(), "l", items); !errors.Is(err, errRefused) {
		t.Error(err)
	}
	if _, _, err := s.allow(t.Context(), "l", []storage.AllowItem{{Value: "1.1.1.1", Comment: strings.Repeat("é", 300)}}); err != nil {
		t.Error(err)
	}
	if c := s.lists.now.Load().lists[0].Items[0].Comment; len(c) > maxComment || !strings.HasSuffix(c, "é") {
		t.Errorf("%d bytes", len(c))
	}
}

// TestAllowedAgainstSlow compares the look-up with going through all items.
func TestAllowedAgainstSlow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	prefix := func() netip.Prefix {
		if rnd.IntN(3) == 0 {
			return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0xd, 0xb8, byte(rnd.IntN(3))}), 32+rnd.IntN(97)).Masked()
		}
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(rnd.IntN(4)), byte(rnd.IntN(4)), byte(rnd.IntN(256))}), 8+rnd.IntN(25)).Masked()
	}
	now := noon()
	for range 50 {
		lists := make([]storage.Allowlist, 3)
		for i := range lists {
			lists[i].Name = fmt.Sprint("l", i)
			for range rnd.IntN(40) {
				item := storage.AllowItem{Value: prefix().String()}
				if rnd.IntN(4) == 0 {
					item.Expires = now.Add(time.Duration(rnd.IntN(3)-1) * time.Hour)
				}
				lists[i].Items = append(lists[i].Items, item)
			}
		}
		fast := newAllowed(lists)
		for range 100 {
			p := prefix()
			var want []string
			for i := range lists {
				for _, item := range lists[i].Items {
					q := netip.MustParsePrefix(item.Value)
					if q.Overlaps(p) && (item.Expires.IsZero() || item.Expires.After(now)) {
						want = append(want, item.Value+" from "+lists[i].Name)
					}
				}
			}
			if got := fast.texts(fast.covering(p, now)); !slices.Equal(got, want) {
				t.Fatalf("%s: %v, want %v", p, got, want)
			}
			by, yes := fast.covers(decisions.ScopeRange, p.String(), now)
			if yes != (len(want) > 0) || yes && by != want[0] {
				t.Fatalf("%s: %q, want %v", p, by, want)
			}
		}
	}
}

func TestFormatMilli(t *testing.T) {
	if got := api.FormatMilli(time.Time{}); got != "0001-01-01T00:00:00.000Z" {
		t.Error(got)
	}
}

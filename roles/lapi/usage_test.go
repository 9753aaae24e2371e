package lapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cs/roles/api"
	"cs/storage"
	"cs/storage/mem"
)

func report(kind string, items ...string) string {
	return fmt.Sprintf(`{"%s":[{"version":"v1","type":"t","utc_startup_timestamp":1,"feature_flags":[],"metrics":[{"meta":{"window_size_seconds":900,"utc_now_timestamp":2},"items":[%s]}]}]}`,
		kind, joined(items))
}

func joined(items []string) (out string) {
	for i, item := range items {
		if i > 0 {
			out += ","
		}
		out += item
	}
	return out
}

func usageItem(name, unit string, value int, origin string) string {
	return fmt.Sprintf(`{"name":%q,"unit":%q,"value":%d,"labels":{"origin":%q,"ip_type":"ipv4"}}`, name, unit, value, origin)
}

// TestUsage: counts add up over days and restarts, of states the last one
// counts, and what is too old or whose sender is gone is forgotten.
func TestUsage(t *testing.T) {
	clk, turned := clockAtNoon()
	store := kept{mem.New()}
	conf := func(c *Config) {
		turned(c)
		c.Policy.MaxMetricsAge = 3 * 24 * time.Hour
		c.OpenStore = func(context.Context) (storage.Store, error) { return store, nil }
	}
	s := open(t, conf)
	b := bouncer(t, s, "fw")
	const components, processors = "remediation_components", "log_processors"
	b.want("POST", "/v1/usage-metrics", report(components, usageItem("dropped", "packet", 5, "CAPI"), usageItem("active_decisions", "ip", 100, "CAPI")), 201, "")
	first := clk.Now()
	clk.Add(24 * time.Hour)
	b.want("POST", "/v1/usage-metrics", report(components, usageItem("dropped", "packet", 7, "CAPI"), usageItem("dropped", "packet", 1, "cscli"), usageItem("active_decisions", "ip", 90, "CAPI")), 201, "")
	machine(t, s, "m").want("POST", "/v1/usage-metrics", report(processors, `{"name":"read","unit":"line","value":3}`), 201, "")

	item := func(name, unit string, value float64, origin string) api.UsageItem {
		return api.UsageItem{Name: name, Unit: unit, Value: value, Labels: map[string]string{"origin": origin, "ip_type": "ipv4"}}
	}
	want := []api.Usage{
		{Machine: "m", Since: clk.Now(), Items: []api.UsageItem{{Name: "read", Unit: "line", Value: 3}}},
		{Bouncer: "fw", Since: first, Items: []api.UsageItem{
			item("active_decisions", "ip", 90, "CAPI"), item("dropped", "packet", 12, "CAPI"), item("dropped", "packet", 1, "cscli"),
		}},
	}
	check := func() {
		t.Helper()
		admin := visitor{t: t, h: s.adminHandler()}
		var got []api.Usage
		if err := json.Unmarshal(admin.want("GET", api.PathAdminUsage, "", 200, "*").Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, conf)
	check()
	if err := s.deleteMachine(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	clk.Add(3 * 24 * time.Hour) // the first day is too old
	want = want[1:]
	want[0].Since, want[0].Items[1].Value = first.Add(24*time.Hour), 7
	check()
}

func TestUsageIsBounded(t *testing.T) {
	s := open(t, nil)
	b := bouncer(t, s, "fw")
	var items []string
	for i := range maxUsageItems + 10 {
		items = append(items, usageItem("dropped", "packet", 1, fmt.Sprint("lists:", i)))
	}
	b.want("POST", "/v1/usage-metrics", report("remediation_components", items...), 201, "")
	if got := len(s.usage.list(s.now())[0].Items); got != maxUsageItems || s.usage.size != maxUsageItems {
		t.Fatalf("%d items kept, counted %d", got, s.usage.size)
	}
	for i := range maxUsage {
		s.usage.add(reporter{Name: fmt.Sprint(i)}, []api.UsageWindow{{Items: []api.UsageItem{{Name: "n"}}}}, s.now())
	}
	if s.usage.size != maxUsage {
		t.Fatalf("%d items kept", s.usage.size)
	}
	tomorrow := s.now().Add(24 * time.Hour)
	s.usage.add(reporter{Name: "late"}, []api.UsageWindow{{Items: []api.UsageItem{{Name: "n"}}}}, tomorrow)
	if s.usage.size != 1 {
		t.Fatalf("%d items kept: the oldest day makes room", s.usage.size)
	}
	b.want("POST", "/v1/usage-metrics", report("remediation_components", items...), 201, "")
	s.usage.keep(func(who reporter) bool { return who.Bouncer })
	if s.usage.size != maxUsageItems {
		t.Fatalf("%d items kept of the one who is left", s.usage.size)
	}
}

// TestReportOfAMachine shows what a report leaves with the machine's row.
func TestReportOfAMachine(t *testing.T) {
	s := open(t, nil)
	m := machine(t, s, "m")
	const head = `{"log_processors":[{"version":"v1","utc_startup_timestamp":1,"feature_flags":["f"],"metrics":[],"datasources":{"file":2},`
	m.want("POST", api.PathUsageMetrics, head+`"os":{"name":"debian"}}]}`, 422, `{"message":"validation failure list:\nlog_processors.0.os.version in body is required"}`)
	m.want("POST", api.PathUsageMetrics, head+`"os":{"name":"debian","version":"12","family":"linux"},
"hub_items":{"parsers":[{"name":"a/b","version":"0.1","status":"official"},{"name":"mine","status":"custom"}],"contexts":[]}}]}`, 201, "")
	got, err := s.store.Machine(t.Context(), "m")
	if err != nil {
		t.Fatal(err)
	}
	want := storage.Machine{
		ID: "m", AuthType: got.AuthType, Validated: true, Created: got.Created, Updated: got.Updated, Version: "v1",
		OSName: "debian", OSVersion: "12", OSFamily: "linux", FeatureFlags: []string{"f"}, Datasources: map[string]int64{"file": 2},
		HubItems: map[string][]storage.HubItem{"parsers": {{Name: "a/b", Version: "0.1", Status: "official"}, {Name: "mine", Status: "custom"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	items := strings.TrimSuffix(strings.Repeat(`{"name":"x","status":"custom"},`, maxHubItems+1), ",")
	m.want("POST", api.PathUsageMetrics, head+`"hub_items":{"parsers":[`+items+`]}}]}`, 201, "")
	if got, err = s.store.Machine(t.Context(), "m"); err != nil || len(got.HubItems["parsers"]) != maxHubItems {
		t.Error(len(got.HubItems["parsers"]), err)
	}
}

package pipeline_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/enrich/enrichtest"
	"cs/pipeline/event"
	"cs/pipeline/hub"
	"cs/platform/sharedtest"
)

// TestGeoIPReachesAlerts runs the hub's own parser over small databases, and
// without any.
func TestGeoIPReachesAlerts(t *testing.T) {
	path := filepath.Join(sharedtest.Dir(t), "hub", "parsers", "s02-enrich", "crowdsecurity", "geoip-enrich.yaml")
	geoip, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	run := func(dataDir, line string) (src decisions.Source, warnings []string) {
		t.Helper()
		var alerts []decisions.Alert
		e, errs := pipeline.Load(pipeline.Options{
			Content: hub.Content{Items: []hub.Item{
				{Kind: hub.Parser, Stage: "s00-raw", Path: "raw.yaml", Data: []byte("name: raw\nonsuccess: next_stage\nstatics: [{meta: source_ip, expression: evt.Line.Raw}]\n")},
				{Kind: hub.Parser, Stage: "s02-enrich", Path: path, Data: geoip},
				{Kind: hub.Scenario, Path: "all.yaml", Data: []byte("type: trigger\nname: all\ndescription: x\nfilter: 'true'\ngroupby: evt.Meta.source_ip\nlabels: {remediation: true}\n")},
			}},
			DataDir: dataDir,
			Alert:   func(a decisions.Alert) { alerts = append(alerts, a) },
			Warn:    func(m string) { warnings = append(warnings, m) },
		})
		for _, err := range errs {
			t.Fatal(err)
		}
		now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
		e.Process([]event.Line{{Raw: line, Time: now}}, now)
		if len(alerts) != 1 {
			t.Fatalf("%d alerts: %+v", len(alerts), e.Stats())
		}
		return alerts[0].Source, warnings
	}
	dir := enrichtest.Databases(t)
	src, warnings := run(dir, "1.2.3.4")
	if src.Country != "FR" || src.ASNumber != "4242" || src.ASName != "Crowdsec" || src.Range != "1.2.0.0/16" || src.Latitude != 46 || src.Longitude != 2 {
		t.Errorf("%+v", src)
	}
	if len(warnings) != 0 {
		t.Errorf("%q", warnings)
	}
	src, warnings = run(t.TempDir(), "1.2.3.4")
	if src.IP != "1.2.3.4" || src.Country != "" || src.ASNumber != "" {
		t.Errorf("%+v", src)
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], "GeoLite2-City.mmdb") {
		t.Errorf("%q", warnings)
	}
}

package status

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cs/platform/metric"
	"cs/roles/api"
)

var now = time.Date(2026, 11, 22, 11, 0, 0, 0, time.UTC)

func page(t *testing.T, text string) (list []metric.Sample) {
	t.Helper()
	if err := metric.Parse(strings.NewReader(text), func(s metric.Sample) { list = append(list, s) }); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestLook(t *testing.T) {
	healthy := func() *Seen {
		return &Seen{
			Now: now, ServesL: true,
			Pages: [][]metric.Sample{page(t, `cs_info{version="v1"} 1
cs_filesource_hits_total{source="/var/log/auth.log"} 1000
cs_parser_hits_ok_total{source="/var/log/auth.log",type="file"} 900
cs_buckets{name="a"} 3
cs_active_decisions{reason="a",origin="crowdsec",action="ban"} 4
cs_active_decisions{reason="b",origin="crowdsec",action="ban"} 5
`)},
			Machines: []api.Machine{{Name: "m", Validated: true, LastHeartbeat: now.Add(-time.Minute)}},
			Bouncers: []api.Bouncer{{Name: LocalFirewall, LastPull: now.Add(-time.Second)}},
			Firewall: &Firewall{Backend: "nft", Desired: 9, Enforced: 9, Ratio: 1},
		}
	}
	r := Look(healthy())
	if !r.OK || len(r.Problems) != 0 || r.Processes[0].Version != "v1" || r.Buckets != 3 || len(r.Decisions) != 1 || r.Decisions[0].Count != 9 ||
		r.Sources[0].Ratio != 0.9 || *r.Bouncers[0].Ratio != 1 {
		t.Errorf("%+v", r)
	}
	f := func(want string, change func(*Seen)) {
		t.Helper()
		s := healthy()
		change(s)
		r := Look(s)
		for _, p := range r.Problems {
			if strings.Contains(p.What, want) && p.Fix != "" && !r.OK {
				return
			}
		}
		t.Errorf("want %q, got %+v", want, r.Problems)
	}
	f("no process", func(s *Seen) { s.Pages, s.Firewall = nil, nil })
	f("doesn't answer", func(s *Seen) { s.LAPI = os.ErrPermission })
	f("waits to be let in", func(s *Seen) { s.Machines[0].Validated = false })
	f("silent for 3m0s", func(s *Seen) { s.Machines[0].LastHeartbeat = now.Add(-3 * time.Minute) })
	f("not asked for decisions", func(s *Seen) { s.Bouncers[0].LastPull = now.Add(-time.Hour) })
	f("there is no bouncer", func(s *Seen) { s.Bouncers, s.Firewall = nil, nil })
	f("no bouncer has asked for them", func(s *Seen) {
		s.Bouncers, s.Firewall = []api.Bouncer{{Name: "new"}, {Name: "old", LastPull: now.Add(-48 * time.Hour)}}, nil
	})
	f("blocks 4 of 9 prefixes (full, 5: shed)", func(s *Seen) {
		s.Firewall = &Firewall{Desired: 9, Enforced: 4, Ratio: 0.44, Trouble: "full", Unenforced: map[string]int{"shed": 5}}
	})
	f("hardly a line", func(s *Seen) {
		s.Pages = append(s.Pages, page(t, `cs_filesource_hits_total{source="/x"} 100`))
	})
	f("no line of /x is understood any more", func(s *Seen) {
		s.Pages = append(s.Pages, page(t, `cs_source_unparsed{source="/x"} 1`))
	})
	f("read 5m0s late", func(s *Seen) {
		s.Pages = append(s.Pages, page(t, `cs_source_lag_seconds{source="/x"} 300`))
	})
	f("has been silent for much longer", func(s *Seen) {
		s.Pages = append(s.Pages, page(t, `cs_source_silent{source="/x"} 1
cs_source_lag_seconds{source="/x"} 0`))
	})
	f("7 lines of /x were lost", func(s *Seen) {
		s.Pages = append(s.Pages, page(t, `cs_source_dropped_total{source="/x"} 7`))
	})

	// What is configured as a pattern, or by a relative path, is read as files.
	s := healthy()
	s.Pages = append(s.Pages, page(t, `cs_source_lag_seconds{source="/var/log/*.log,logs/a.log"} 2
cs_source_last_line_timestamp_seconds{source="/var/log/*.log,logs/a.log"} 1795345200.5
cs_filesource_hits_total{source="/home/x/logs/a.log"} 1
cs_filesource_hits_total{source="/home/x/otherlogs/a.log"} 1
cs_source_lag_seconds{source="/var/nothing.log"} 0
`))
	lags := map[string]float64{}
	for _, src := range Look(s).Sources {
		lags[src.Name] = -1
		if src.Lag != nil {
			lags[src.Name] = *src.Lag
		}
	}
	want := map[string]float64{"/var/log/auth.log": 2, "/home/x/logs/a.log": 2, "/home/x/otherlogs/a.log": -1, "/var/nothing.log": 0}
	if !maps.Equal(lags, want) {
		t.Errorf("lags are %v, want %v", lags, want)
	}
}

// The lines of an alert are found in the log again, and only those.
func TestExplain(t *testing.T) {
	log := filepath.Join(t.TempDir(), "auth.log")
	text := "Nov 22 10:59:58 host sshd[1]: Failed password for root from 192.0.2.7 port 1\n" +
		"Nov 22 10:59:58 host sshd[1]: Failed password for admin from 192.0.2.7 port 2\n" +
		"Nov 22 10:59:58 host sshd[1]: Failed password for root from 192.0.2.77 port 3\n" + strings.Repeat("x", 20_000) + "\n" +
		"Nov 22 10:59:59 host sshd[1]: Failed password for root from 192.0.2.7 port 4\n"
	if err := os.WriteFile(log, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	event := func(at, user string) api.Event {
		return api.Event{Timestamp: at, Meta: []api.Meta{{Key: "datasource_path", Value: log}, {Key: "target_user", Value: user}}}
	}
	alerts := []api.Alert{{
		ID: 5, Scenario: "ssh-bf", Kind: "crowdsec", Capacity: 5, Leakspeed: "10s", EventsCount: 6,
		Source:    api.Source{Scope: "Ip", Value: "192.0.2.7"},
		Events:    []api.Event{event("2026-11-22T10:59:58Z", "admin"), event("2026-11-22 10:59:59 +0000 UTC", "root"), event("2026-11-22T09:00:00Z", "root")},
		Decisions: []api.Decision{{Type: "ban", Scope: "Ip", Value: "192.0.2.7", Duration: "3h"}, {Type: "ban", Scope: "Ip", Value: "192.0.2.7", Duration: "-1s"}},
	}}
	r := Explain("192.0.2.7", alerts, "", NewLogs("192.0.2.7").Line)
	if !r.Banned || len(r.Decisions) != 1 || len(r.Alerts) != 1 {
		t.Fatalf("%+v", r)
	}
	lines := r.Alerts[0].Lines
	if !strings.HasSuffix(lines[0].Text, "port 2") || !strings.HasSuffix(lines[1].Text, "port 4") || lines[2].Text != "" {
		t.Errorf("%+v", lines)
	}
	if want := "more than 5 events, of which one is forgotten each 10s"; r.Alerts[0].Threshold != want {
		t.Errorf("%q, want %q", r.Alerts[0].Threshold, want)
	}
	if r.File != "s02-enrich/trusted-192.0.2.7.yaml" || !strings.Contains(r.Exception, "  ip:\n    - ") || !strings.Contains(r.Exception, "192.0.2.7") {
		t.Error(r.Exception)
	}
	if r := Explain("192.0.2.8", nil, "", nil); r.Banned || r.Exception != "" || len(r.Commands) > 0 {
		t.Errorf("%+v", r)
	}
}

func TestHolds(t *testing.T) {
	f := func(line, ip string, want bool) {
		t.Helper()
		if got := holds(line, ip); got != want {
			t.Errorf("%q in %q: %v", ip, line, got)
		}
	}
	f("from 1.2.3.4 port", "1.2.3.4", true)
	f("1.2.3.4:80", "1.2.3.4", true)
	f("11.2.3.4", "1.2.3.4", false)
	f("1.2.3.45, 1.2.3.4", "1.2.3.4", true)
	f("", "1.2.3.4", false)
	f("[2001:db8::1]", "2001:db8::1", true)
	f("2001:db8::1f", "2001:db8::1", false)
}

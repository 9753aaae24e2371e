package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cs/platform/sharedtest"
	"cs/roles/api"
)

// recorded returns what upstream's program showed for each command line of a
// recorded terminal session, by the command line after "cscli".
func recorded(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(sharedtest.Dir(t), "traces", file))
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{}
	// No line break follows the JSON of alerts there.
	all := strings.ReplaceAll("\n"+string(text), "]$ cscli ", "]\n$ cscli ")
	for _, part := range strings.Split(all, "\n$ cscli ")[1:] {
		command, output, _ := strings.Cut(part, "\n")
		shown[command] = strings.TrimSuffix(output, "\n") + "\n"
	}
	return shown
}

// TestRecordedLists feeds the data of a recorded session and wants what
// upstream's cscli printed then, to the byte.
func TestRecordedLists(t *testing.T) {
	shown := recorded(t, "06-cscli-lists-console.txt")
	f := &fake{}
	decode := func(command string, v any) {
		t.Helper()
		if err := json.Unmarshal([]byte(shown[command]), v); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	}
	var machines []machineJSON
	decode("machines list -o json", &machines)
	for _, m := range machines {
		name, version, _ := strings.Cut(strings.TrimPrefix(m.OS, "?"), "/")
		f.machines = append(f.machines, api.Machine{
			Name: m.MachineID, IP: m.IPAddress, AuthType: m.AuthType, Validated: m.IsValidated, Version: m.Version,
			OSName: name, OSVersion: version, Datasources: m.Datasources,
			Created: m.CreatedAt, Updated: m.UpdatedAt, LastPush: *m.LastPush,
		})
		if m.LastHeartbeat != nil {
			f.machines[len(f.machines)-1].LastHeartbeat = *m.LastHeartbeat
		}
	}
	var bouncers []bouncerJSON
	decode("bouncers list -o json", &bouncers)
	for _, b := range bouncers {
		f.bouncers = append(f.bouncers, api.Bouncer{
			Name: b.Name, IP: b.IPAddress, AuthType: b.AuthType, Type: b.Type, Version: b.Version, Created: b.CreatedAt, Updated: b.UpdatedAt,
		})
		if b.LastPull != nil {
			f.bouncers[len(f.bouncers)-1].LastPull = *b.LastPull
		}
	}
	dir := f.serve(t)
	show := func(command string) string {
		t.Helper()
		r := run(t, dir, "", strings.Fields(command)...)
		if r.code != 0 || r.stderr != "" {
			t.Errorf("%s: code %d, %s", command, r.code, r.stderr)
		}
		return r.stdout
	}
	compare := func(command string, edit func(string) string) {
		t.Helper()
		want, ok := shown[command]
		if !ok {
			t.Fatalf("%s was not recorded", command)
		}
		if diff := cmp.Diff(edit(want), edit(show(command))); diff != "" {
			t.Errorf("%s (-recorded +ours):\n%s", command, diff)
		}
	}
	same := func(s string) string { return s }

	compare("machines list -o json", same)
	compare("machines list -o raw", same)
	compare("bouncers list -o json", same)
	compare("bouncers list -o raw", same)
	compare("bouncers list -o human", same)
	// srv logged in for the first time after this one was recorded.
	f.machines[0].IP, f.machines[0].Version, f.machines[0].Updated = "", "", f.machines[0].Created
	compare("machines list -o human", same)

	// The seconds went by between one command and the next, and the path in
	// one scenario was replaced by a shorter one afterwards, in the table too.
	seconds := regexp.MustCompile(`(\d+)s\b`)
	path := strings.NewReplacer("import /etc/crowdsec/v.txt: 2 IPs", "import /etc/crowdsecv: 2 IPs")
	masked := func(s string) string {
		s, _, _ = strings.Cut(s, "2 duplicated")
		return seconds.ReplaceAllString(path.Replace(s), "_s")
	}
	decode("decisions list -o json", &f.alerts)
	compare("decisions list -o json", same)
	compare("decisions list -o human", masked)
	compare("decisions list -o raw", masked)

	f.alerts = nil
	decode("alerts list -o json", &f.alerts)
	compare("alerts list -o json", same)
	compare("alerts list -o raw", same)
	for i := range f.alerts {
		f.alerts[i].Scenario = path.Replace(f.alerts[i].Scenario)
	}
	compare("alerts list -o human", path.Replace)
}

// TestRecordedInspect compares the page about one alert.
func TestRecordedInspect(t *testing.T) {
	shown := recorded(t, "02-cscli-console.txt")
	f := &fake{}
	if err := json.Unmarshal([]byte(shown["alerts list -o json"]), &f.alerts); err != nil {
		t.Fatal(err)
	}
	want := shown["alerts inspect 1 -d"]
	got := run(t, f.serve(t), "", "alerts", "inspect", "1", "-d").stdout
	if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got)); diff != "" {
		t.Errorf("-recorded +ours:\n%s", diff)
	}
}

// TestRecordedRequests compares what goes over the wire with what upstream's
// cscli sent for the same command line.
func TestRecordedRequests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(sharedtest.Dir(t), "traces", "02-cscli-decisions-alerts-allowlists.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	type exchange struct {
		Method, Path string
		Body         string `json:"request_body"`
	}
	var sent []exchange
	for line := range strings.Lines(string(text)) {
		var e exchange
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Path != api.PathLogin {
			sent = append(sent, e)
		}
	}
	wasSent := func(ask string) string {
		for _, e := range sent {
			if e.Method+" "+e.Path == ask {
				return e.Body
			}
		}
		t.Errorf("%s was not recorded", ask)
		return ""
	}
	f := &fake{}
	dir, _ := f.serveTCP(t)
	times := regexp.MustCompile(`\d{4}-\d\d-\d\dT[^"]*`)
	body := func(n int, command ...string) {
		t.Helper()
		var bodies []string
		for _, e := range sent {
			if e.Method == "POST" && e.Path == api.PathAlerts {
				bodies = append(bodies, e.Body)
			}
		}
		if r := run(t, dir, "3.3.3.0/24\n", command...); r.code != 0 {
			t.Fatalf("%v: %s", command, r.stderr)
		}
		var want, got []any
		if err := json.Unmarshal([]byte(times.ReplaceAllString(bodies[n], "T")), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(times.ReplaceAll(f.posted, []byte("T")), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.FilterPath(func(p cmp.Path) bool {
			// We say that a decision is not simulated where upstream leaves it out.
			return p.Last().String() == `["simulated"]`
		}, cmp.Ignore())); diff != "" {
			t.Errorf("%v (-recorded +ours):\n%s", command, diff)
		}
	}
	body(0, strings.Fields("decisions add -i 9.9.9.9 -d 10m")...)
	body(1, strings.Fields("decisions add -r 10.20.0.0/16 -t captcha -d 2h -R test-reason")...)
	body(2, strings.Fields("decisions add --scope AS -v 12345 -d 1h")...)
	body(3, strings.Fields("decisions add -i 2001:db8::1")...)
	body(5, strings.Fields("decisions import -i - --format values --scope range -d 2h -R r")...)

	asks := func(command string) {
		t.Helper()
		before := len(f.asks())
		if r := run(t, dir, "", strings.Fields(command)...); r.code != 0 {
			t.Fatalf("%s: %s", command, r.stderr)
		}
		for _, ask := range f.asks()[before:] {
			wasSent(ask)
		}
	}
	asks("decisions list")
	asks("decisions list -a")
	asks("decisions list -i 10.20.1.1 -o raw")
	asks("alerts list")
	asks("alerts list -a")
	asks("alerts list --since 1h")
	asks("decisions delete -i 9.9.9.9")
	asks("decisions delete --id 3")
	asks("decisions delete -r 10.20.0.0/16")
	asks("alerts delete --id 1")
	asks("alerts delete -i 2001:db8::1")
	asks("decisions add -r 10.20.0.0/16")
}

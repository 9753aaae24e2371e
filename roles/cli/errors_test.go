package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cs/roles/api"
)

// TestErrors runs command lines that can't work and wants the words that
// scripts match on, exit code 1 and nothing on stdout.
func TestErrors(t *testing.T) {
	server := fixed(t)
	server.refuse = map[string]api.Error{
		"DELETE /v1/decisions/100": {Status: 500, Message: "decision with id '100' doesn't exist: unable to delete"},
		"DELETE /v1/alerts/7":      {Status: 500, Message: "ent: alert not found"},
		"DELETE /v1/alerts":        {Status: 403, Message: "access forbidden from this IP (192.0.2.1)"},
		"GET /v1/alerts/99":        {Status: 500, Message: "\x1b]0;owned\x07"},
	}
	dir := server.serve(t)
	f := func(command, want string) {
		t.Helper()
		r := run(t, dir, "", strings.Fields(command)...)
		if r.stderr != want+"\n" || r.code != 1 || r.stdout != "" {
			t.Errorf("%s: got\n%+v\nwant\n%s", command, r, want)
		}
	}
	// the command line itself
	f("decisions foobar", `Error: unknown command "foobar" for "cscli decisions"`)
	f("foobar", `Error: unknown command "foobar" for "cscli"`)
	f("machine foobar -x", `Error: unknown command "foobar" for "cscli machines"`)
	f("decisions lst", "Error: unknown command \"lst\" for \"cscli decisions\"\n\nDid you mean this?\n  list")
	f("decisions list --x", "Error: unknown flag: --x")
	f("decisions list --limt 3", "Error: unknown flag: --limt")
	f("decisions list -x", "Error: unknown shorthand flag: 'x' in -x")
	f("decisions import", `Error: required flag(s) "input" not set`)
	f("decisions list foo -l 3 bar", "Error: accepts 0 arg(s), received 2")
	f("decisions list -l x", `Error: invalid argument "x" for "-l, --limit" flag: strconv.ParseInt: parsing "x": invalid syntax`)
	f("decisions add -i 1.2.3.4 -d foobar", `Error: invalid argument "foobar" for "-d, --duration" flag: time: invalid duration "foobar"`)
	f("decisions list --since 1dd", `Error: invalid argument "1dd" for "--since" flag: invalid day value in duration "1dd"`)
	f("bouncers add", "Error: cscli bouncers add: accepts 1 arg(s), received 0")
	f("bouncers add a b", "Error: cscli bouncers add: accepts 1 arg(s), received 2")
	f("machines validate a b c", "Error: cscli machines validate: accepts 1 arg(s), received 3")
	f("bouncers delete", "Error: cscli bouncers delete: requires at least 1 arg(s), only received 0")
	f("machines delete", "Error: cscli machines delete: requires at least 1 arg(s), only received 0")
	f("machines list -o xml", "Error: output format 'xml' not supported: must be one of human, json, raw")
	f("machines list --color never", `Error: color "never" not supported: must be one of yes, no, auto`)
	f("machines list -c /does/not/exist", "Error: cannot read the configuration: open /does/not/exist: no such file or directory")

	f("alerts inspect 1x -d 2", "Error: cscli alerts inspect: bad alert id 1x")
	f("bouncers delete --bad nobody", "Error: unknown flag: --bad")
	f("decisions add -i", "Error: flag needs an argument: --ip")
	f("machines delete a b -o", "Error: flag needs an argument: --output")

	// decisions
	f("decisions add", "Error: cscli decisions add: missing arguments, a value is required (--ip, --range or --scope and --value)")
	f("decisions add --scope Ip", "Error: cscli decisions add: missing arguments, a value is required (--ip, --range or --scope and --value)")
	f("decisions add -i 1.2.3", `Error: cscli decisions add: 1.2.3 is not a valid ip: cannot parse address "1.2.3": ParseAddr("1.2.3"): IPv4 address too short`)
	f("decisions add -v nonsense", `Error: cscli decisions add: nonsense is not a valid ip: cannot parse address "nonsense": ParseAddr("nonsense"): unable to parse IP`)
	f("decisions add -r 1.2.3.4", "Error: cscli decisions add: 1.2.3.4 is not a valid range: netip.ParsePrefix(\"1.2.3.4\"): no '/'")
	f("decisions add -i 192.0.2.7", "Error: cscli decisions add: 192.0.2.7 is allowlisted by item 192.0.2.0/24 from l1 (com), use --bypass-allowlist to add the decision anyway")
	f("decisions add --scope range -v 203.0.113.0/24", "Error: cscli decisions add: 203.0.113.0/24 is allowlisted by item 203.0.113.9 from vip, use --bypass-allowlist to add the decision anyway")
	f("decisions delete", "Error: cscli decisions delete: at least one filter or --all must be specified")
	f("decisions delete --contained", "Error: cscli decisions delete: at least one filter or --all must be specified")
	f("decisions delete --id x", `Error: cscli decisions delete: id 'x' is not an integer: strconv.ParseInt: parsing "x": invalid syntax`)
	f("decisions delete --id 100", "Error: cscli decisions delete: unable to delete decisions: API error: decision with id '100' doesn't exist: unable to delete")
	f("decisions import -i x.txt", "Error: cscli decisions import: unable to guess format from file extension, please provide a format with --format flag")
	f("decisions import -i x --format xml", "Error: cscli decisions import: invalid format 'xml', expected one of 'json', 'csv', 'values'")
	f("decisions import -i x.csv -d=", "Error: cscli decisions import: default duration cannot be empty")
	f("decisions import -i x.csv -R=", "Error: cscli decisions import: default reason cannot be empty")
	f("decisions import -i /does/not/exist.csv", "Error: cscli decisions import: unable to open /does/not/exist.csv: open /does/not/exist.csv: no such file or directory")

	// alerts
	f("alerts inspect", "Error: cscli alerts inspect: missing alert_id")
	f("alerts inspect x", "Error: cscli alerts inspect: bad alert id x")
	f("alerts inspect 77", "Error: cscli alerts inspect: can't find alert with id 77: API error: ent: alert not found")
	f("alerts inspect 99", `Error: cscli alerts inspect: can't find alert with id 99: API error: \x1b]0;owned\x07`)
	f("alerts delete", "Error: cscli alerts delete: at least one filter or --all must be specified")
	f("alerts delete --id x", "Error: cscli alerts delete: bad alert id x")
	f("alerts delete --id 7", "Error: cscli alerts delete: unable to delete alert: API error: ent: alert not found")
	f("alerts delete -a", "Error: cscli alerts delete: unable to delete alert: API error: access forbidden from this IP (192.0.2.1)")

	// accounts
	f("bouncers add fw", "Error: cscli bouncers add: unable to create bouncer: bouncer fw already exists")
	f("bouncers delete nobody fw", "Error: cscli bouncers delete: unable to delete bouncer nobody: ent: bouncer not found")
	f("bouncers inspect nobody", "Error: cscli bouncers inspect: unable to read bouncer data 'nobody': ent: bouncer not found")
	f("machines validate nobody", "Error: cscli machines validate: unable to validate machine 'nobody': machine not found")
	f("machines inspect nobody", "Error: cscli machines inspect: unable to read machine data 'nobody': user 'nobody': user doesn't exist")
	f("machines add", "Error: cscli machines add: please specify a machine name to add, or use --auto")
	f("machines add a b", "Error: cscli machines add: accepts at most 1 arg(s), received 2")
	f("machines add a", "Error: cscli machines add: please specify a password with --password or use --auto")
	f("machines add agent1 -a", "Error: cscli machines add: unable to create machine: user 'agent1': user already exist")
	f("machines add a -p "+strings.Repeat("x", 73), "Error: cscli machines add: password too long (max 72 characters)")
	for _, ask := range server.asks() {
		if strings.HasPrefix(ask, "POST /v1/alerts") || strings.HasPrefix(ask, "DELETE /admin/v1/bouncers/fw") {
			t.Errorf("%s was asked after an error", ask)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "local_api_credentials.yaml")); err == nil {
		t.Error("credentials were written although no machine was added")
	}
}

// TestNoLAPI wants clear words when there is nothing to talk to, and no store
// made by a command that only looks.
func TestNoLAPI(t *testing.T) {
	dir := t.TempDir()
	f := func(command string, want ...string) {
		t.Helper()
		r := run(t, dir, "", strings.Fields(command)...)
		for _, w := range want {
			if !strings.Contains(r.stderr, w) || r.code != 1 || r.stdout != "" {
				t.Errorf("%s: got %+v, want %q", command, r, w)
			}
		}
	}
	sock, creds := filepath.Join(dir, "cs.sock"), filepath.Join(dir, "local_api_credentials.yaml")
	f("decisions list", "cscli decisions list: no local API listens on "+sock, "no credentials for another one in "+creds, "cs register --lapi-url URL")
	f("machines list", "cscli machines list: unable to list machines: local API is disabled -- this command must be run on the local API machine: nothing listens on "+sock)
	f("bouncers delete x", "local API is disabled -- this command must be run on the local API machine")

	conf := filepath.Join(dir, "config.yaml")
	writeTestFile(t, conf, "common: {log_level: info}\napi:\n  client:\n    credentials_path: "+dir+"/other.yaml\n  server:\n    enable: false\n")
	f("decisions list -c "+conf, "loading api client: while reading yaml file: open "+dir+"/other.yaml: no such file or directory")
	f("bouncers list -c "+conf, `level=warning msg="crowdsec local API is disabled"`, "local API is disabled -- this command must be run on the local API machine\n")
	if _, err := os.Stat(filepath.Join(dir, "cs.db")); err == nil {
		t.Error("a store was made")
	}

	// credentials that can't be right
	bad := func(text, want string) {
		t.Helper()
		writeTestFile(t, creds, text)
		f("lapi status", want)
		if r := run(t, dir, "", "lapi", "status"); strings.Contains(r.stderr, "s3cret") {
			t.Errorf("the password is shown: %s", r.stderr)
		}
	}
	bad("", "loading api client: no credentials or URL found in api client configuration '"+creds+"'")
	bad("url: http://127.0.0.1:8080\n", "no credentials or URL found in api client configuration")
	bad("url: ftp://127.0.0.1:8080\nlogin: a\npassword: s3cret\n", "loading api client: cannot use the credentials in "+creds)
	bad("url: http://a\nlogin: a\ncert_path: /x\n", "user/password authentication and TLS authentication are mutually exclusive")
	bad("url: http://a\nlogin: a\npasswrd: s3cret\n", creds+":3:1: passwrd: unknown key")
	bad("url: http://a\nlogin: [a\npassword: s3cret\n", creds+":")
	writeTestFile(t, creds, "url: http://127.0.0.1:1/\nlogin: a\npassword: s3cret\n")
	f("decisions list", "unable to retrieve decisions: ", "cannot reach the local API: ", "connection refused")
}

func TestStatus(t *testing.T) {
	server := &fake{}
	dir, url := server.serveTCP(t)
	creds := filepath.Join(dir, "local_api_credentials.yaml")
	want := "Loaded credentials from " + creds + "\nTrying to authenticate with username \"agent1\" on " + url + "/\n"
	good := want + "You can successfully interact with Local API (LAPI)\n"
	if r := run(t, dir, "", "lapi", "status"); r != (result{good, "", 0}) {
		t.Errorf("got %+v, want %s", r, good)
	}
	server.mu.Lock()
	server.password = "another"
	server.mu.Unlock()
	bad := result{want, "Error: cscli lapi status: failed to authenticate to Local API (LAPI): API error: incorrect Username or Password\n", 1}
	if r := run(t, dir, "", "lapi", "status"); r != bad {
		t.Errorf("got %+v, want %+v", r, bad)
	}
}

// TestConfirmations wants each success told by one log line, which vanishes
// when the output is for a program or the level says so.
func TestConfirmations(t *testing.T) {
	dir := fixed(t).serve(t)
	f := func(command, want string) {
		t.Helper()
		for _, more := range [][]string{nil, {"--error"}, {"--warning"}, {"-o", "raw"}, {"-o", "json"}, {"--error", "--debug"}} {
			r := run(t, dir, "", append(strings.Fields(command), more...)...)
			if r.code != 0 || r.stdout != "" {
				t.Errorf("%s %v: got %+v", command, more, r)
			}
			visible := want
			if more != nil && more[len(more)-1] != "--debug" {
				visible = ""
			}
			if r.stderr != visible {
				t.Errorf("%s %v: got %q on stderr, want %q", command, more, r.stderr, visible)
			}
		}
	}
	f("decisions add -i 9.9.9.9", "level=info msg=\"Decision successfully added\"\n")
	f("decision add -i 192.0.2.7 -B", "level=info msg=\"Decision successfully added\"\n")
	f("decisions delete --all", "level=info msg=\"3 decision(s) deleted\"\n")
	f("decisions remove --id 4", "level=info msg=\"1 decision(s) deleted\"\n")
	f("alerts delete -s x", "level=info msg=\"3 alert(s) deleted\"\n")
	f("alert remove --id 4", "level=info msg=\"1 alert(s) deleted\"\n")
	f("machines validate agent1", "level=info msg=\"machine 'agent1' validated successfully\"\n")
	f("machine remove agent1 silent", "level=info msg=\"machine 'agent1' deleted successfully\"\nlevel=info msg=\"machine 'silent' deleted successfully\"\n")
	f("bouncer remove fw", "level=info msg=\"bouncer 'fw' deleted successfully\"\n")
	f("bouncers delete nobody --ignore-missing fw", "level=info msg=\"bouncer 'fw' deleted successfully\"\n")

	plain := func(want result, args ...string) {
		t.Helper()
		if r := run(t, dir, "", args...); r != want {
			t.Errorf("%v: got %+v, want %+v", args, r, want)
		}
	}
	// An error line that does not end the command is shown in all formats.
	plain(result{"", "level=error msg=\"unable to delete machine: 'nobody' does not exist\"\n", 0}, "machines", "delete", "nobody", "-o", "raw")
	plain(result{"", `{"level":"error","msg":"unable to delete machine: 'nobody' does not exist"}` + "\n", 0}, "machines", "delete", "nobody", "-o", "json")
	plain(result{"", "", 0}, "machines", "delete", "nobody", "--ignore-missing")
	plain(result{"", "level=warning msg=\"bouncer 'lua@192.0.2.9' is auto-created and cannot be deleted, delete parent bouncer 'lua' instead\"\n", 0},
		"bouncers", "delete", "lua@192.0.2.9")
	plain(result{"made/by+the/server", "", 0}, "bouncers", "add", "new", "-o", "raw")
	plain(result{"hard -key", "", 0}, "bouncers", "add", "new", "-o", "raw", "-k", "hard -key", "-l", "5")
}

// TestAllowlistsOutOfOrder wants that a ban by hand works although the lists
// can't be asked.
func TestAllowlistsOutOfOrder(t *testing.T) {
	server := fixed(t)
	server.refuse = map[string]api.Error{"GET /v1/allowlists/check/9.9.9.9": {Status: 500, Message: "broken"}}
	dir := server.serve(t)
	want := result{"", "level=error msg=\"failed to check if the value is in an allowlist: API error: broken\"\nlevel=info msg=\"Decision successfully added\"\n", 0}
	if r := run(t, dir, "", "decisions", "add", "-i", "9.9.9.9"); r != want {
		t.Errorf("got %+v, want %+v", r, want)
	}
	server.refuse["GET /v1/allowlists/check/9.9.9.9"] = api.Error{Status: 404, Message: "object not found"}
	want = result{"", "level=info msg=\"Decision successfully added\"\n", 0}
	if r := run(t, dir, "", "decisions", "add", "-i", "9.9.9.9"); r != want {
		t.Errorf("without allowlists: got %+v, want %+v", r, want)
	}
}

// TestDropped wants no success told of a decision that the server dropped.
func TestDropped(t *testing.T) {
	dir := (&fake{drops: true}).serve(t)
	for _, args := range [][]string{{"decisions", "add", "-i", "9.9.9.9"}, {"decisions", "import", "-i", "-", "--format", "values"}} {
		r := run(t, dir, "9.9.9.9\n", args...)
		if r.code != 1 || !strings.Contains(r.stderr, "kept no decision") || strings.Contains(r.stdout, "Imported") {
			t.Errorf("%v: got %+v", args, r)
		}
	}
}

// TestServerOfAnEarlierVersion: one that runs on while its program was replaced wants
// a token on its socket, too.
func TestServerOfAnEarlierVersion(t *testing.T) {
	server := fixed(t)
	dir := server.serve(t)
	want := run(t, dir, "", "decisions", "list")
	server.demands = true
	if got := run(t, dir, "", "decisions", "list"); got != want || got.code != 0 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestQueries(t *testing.T) {
	server := fixed(t)
	dir := server.serve(t)
	f := func(command, want string) {
		t.Helper()
		before := len(server.asks())
		if r := run(t, dir, "", strings.Fields(command)...); r.code != 0 {
			t.Fatalf("%s: %s", command, r.stderr)
		}
		if got := server.asks()[before:]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: asked %q, want %s", command, got, want)
		}
	}
	f("decisions list --no-simu --contained -r 10.0.0.0/8 --scope RANGE -s a/b -t ban --origin lists -v x -l 5 --since 2d12h --until 30m",
		"GET /v1/alerts?contains=false&decision_type=ban&has_active_decision=true&include_capi=false&limit=5&origin=lists"+
			"&range=10.0.0.0%2F8&scenario=a%2Fb&scope=Range&simulated=false&since=60h0m0s&until=30m0s&value=x")
	f("decisions list -l 0", "GET /v1/alerts?has_active_decision=true&include_capi=false&limit=0")
	f("decisions list -a -l 5", "GET /v1/alerts?has_active_decision=true&include_capi=true&limit=0")
	f("alerts list --kind waf --type ban --scope as --contained -i 1.2.3.4 -m",
		"GET /v1/alerts?contains=false&decision_type=ban&include_capi=false&ip=1.2.3.4&kind=waf&limit=50&scope=AS")
	f("decisions delete -i 1.2.3.4 -t ban -v 1.2.3.4 -s x --origin cscli --contained",
		"DELETE /v1/decisions?contains=false&ip=1.2.3.4&origin=cscli&scenario=x&type=ban&value=1.2.3.4")
	f("decisions delete --all", "DELETE /v1/decisions")
	f("alerts delete -a", "DELETE /v1/alerts?limit=0")
	f("-o json alerts list -l=3 -- ", "GET /v1/alerts?include_capi=false&limit=3")
	f("alerts delete --scope ip -v 1.2.3.4 --contained", "DELETE /v1/alerts?contains=false&limit=0&scope=Ip&value=1.2.3.4")
}

func TestImport(t *testing.T) {
	server := fixed(t)
	dir := server.serve(t)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		writeTestFile(t, path, text)
		return path
	}
	f := func(stdin, command string, want result, values ...string) {
		t.Helper()
		server.mu.Lock()
		server.posted = nil
		server.mu.Unlock()
		if r := run(t, dir, stdin, strings.Fields(command)...); r != want {
			t.Errorf("%s: got %+v, want %+v", command, r, want)
		}
		var alerts []api.Alert
		var got []string
		json.Unmarshal(server.posted, &alerts)
		for _, a := range alerts {
			for _, d := range a.Decisions {
				got = append(got, strings.Join([]string{d.Value, d.Scope, d.Type, d.Duration, d.Scenario, d.Origin}, " "))
			}
		}
		if !slices.Equal(got, values) {
			t.Errorf("%s: posted %q, want %q", command, got, values)
		}
	}
	csv := file("a.csv", "\ufefforigin,value,duration, scope\nx,1.1.1.1,2h,Ip\ny,2.2.2.0/24,,range\nz,,1h,Ip\n")
	f("", "decisions import -i "+csv, result{"Parsing csv\nImported 2 decisions\n", "", 0},
		"1.1.1.1 Ip ban 2h manual cscli-import", "2.2.2.0/24 range ban 4h manual cscli-import")
	js := file("a.json", `[{"value":"FR","scope":"country","type":"captcha","reason":"r","duration":"1d","other":1}]`)
	f("", "decisions import -R x -i "+js, result{"Parsing json\nImported 1 decisions\n", "", 0}, "FR country captcha 1d r cscli-import")
	f(" 1.1.1.1\r\n\n192.0.2.7\n3.3.3.3", "decisions import -i - --format values -d 1h -t captcha -R why",
		result{"Parsing values\nValue 192.0.2.7 is allowlisted by [192.0.2.0/24 from l1 (com)]\nImported 2 decisions\n", "", 0},
		"1.1.1.1 Ip captcha 1h why cscli-import", "3.3.3.3 Ip captcha 1h why cscli-import")
	f("1.1.1.1\n2.2.2.2\n3.3.3.3\n", "decisions import -i - --format values --batch 2 --debug",
		result{"Parsing values\nbatch size: 2\nImported 3 decisions\n",
			"level=debug msg=\"Processing chunk of 2 decisions\"\nlevel=debug msg=\"Processing chunk of 1 decisions\"\n", 0},
		"3.3.3.3 Ip ban 4h manual cscli-import")
	many := strings.Repeat("9.9.9.9\n", 1001)
	if r := run(t, dir, many, "decisions", "import", "-i-", "--format=values"); !strings.Contains(r.stdout, "\nYou are about to add 1001 decisions, this may take a while\nImported 1001") {
		t.Errorf("got %+v", r)
	}
	fails := func(stdin, format, want string) {
		t.Helper()
		f(stdin, "decisions import -i - --format "+format, result{"Parsing " + format + "\n", "Error: cscli decisions import: " + want + "\n", 1})
	}
	fails("", "values", "no decisions found")
	fails("\n\n", "values", "no decisions found")
	fails("value\n", "csv", "no decisions found")
	fails("", "csv", "unable to parse csv: it has no header row")
	fails("a,b\n1,2\n", "csv", "unable to parse csv: no column is called 'value'")
	fails("value,scope\n\"1", "csv", `unable to parse csv: parse error on line 2, column 3: extraneous or missing " in quoted-field`)
	fails("[]", "json", "no decisions found")
	fails("{}", "json", "json: cannot unmarshal object into Go value of type []clidecision.decisionRaw")
	fails("1.1.1.1\nbad-apple\n", "values", `API error: invalid ip address 'bad-apple' (decision 2): cannot parse address "bad-apple": ParseAddr("bad-apple"): unable to parse IP`)
	fails(`[{"value":"1.1.1.1","duration":"1 day"}]`, "json", `decision 1 (1.1.1.1): cannot parse duration "1 day": "1 " is no number of days`)
	fails(strings.Repeat("x", 70_000), "values", "unable to parse values: line 1: bufio.Scanner: token too long")
}

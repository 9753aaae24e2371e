package engine

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/enrich"
	"cs/pipeline/event"
	"cs/pipeline/hub"
	"cs/roles/config"
)

// write makes a file below a directory.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	name = filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestContent(t *testing.T) {
	dir := t.TempDir()
	f := func(contentDir, configDir string, items, settings int) {
		t.Helper()
		c, errs := Content(contentDir, config.Resolved{ConfigDir: configDir})
		if len(errs) > 0 {
			t.Error(errs)
		}
		if len(c.Items) != items || len(c.Settings) != settings {
			t.Errorf("%d items, %d settings; want %d, %d", len(c.Items), len(c.Settings), items, settings)
		}
	}
	starter := len(hub.Base().Items)
	f("", "", starter, 0)
	f("", dir, starter, 0)
	f(dir, "", 0, 0)
	write(t, dir, "simulation.yaml", "simulation: true\n")
	f("", dir, starter, 1) // the starter set is simulated
	write(t, dir, "scenarios/s.yaml", "name: s\n")
	f("", dir, starter+1, 1) // one's own joins it
	write(t, dir, "parsers/s01-parse/p.yaml", "name: p\n")
	f("", dir, 2, 1)
	f("", "", starter, 0)
}

// Every key of the configuration about the engine reaches it.
func TestOptionsReachTheEngine(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "parsers/s00-raw/p.yaml", `
name: p
grok: {pattern: '^%{BOOK:isbn} %{GREEDYDATA:rest}$', apply_on: Line.Raw}
statics:
 - {meta: source_ip, value: 192.0.2.1}
 - {meta: known, expression: 'evt.Parsed.isbn in File("books.txt") ? "yes" : "no"'}
data: [{dest_file: books.txt, type: string}]
`)
	const trigger = "type: trigger\ndescription: d\nfilter: evt.Meta.known == 'yes'\n"
	write(t, dir, "scenarios/real.yaml", "name: real\n"+trigger)
	write(t, dir, "scenarios/mock.yaml", "name: mock\n"+trigger)
	conf := write(t, dir, "config.yaml", `
config_paths:
  data_dir: `+filepath.Join(dir, "data")+`
  simulation_path: `+write(t, dir, "else/sim.yaml", "exclusions: [mock]\n")+`
  pattern_dir: `+filepath.Dir(write(t, dir, "grok/books", "BOOK isbn[0-9]+\n"))+`
crowdsec_service:
  console_context_path: `+write(t, dir, "else/context.yaml", "rest: [evt.Parsed.rest]\n")+`
  console_context_value_length: 12
  parser_routines: 3
  dns_cache: {ttl: 2m, negative_ttl: 3s, size: 44}
api: {cti: {key: secret, cache_timeout: 5m, cache_size: 66}}
limits: {max_buckets: 1234}
`)
	write(t, dir, "data/books.txt", "isbn77\n")
	file, err := config.Load(conf, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	r, errs := file.Resolve(func(string) (string, bool) { return "", false })
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	opt := Options(r)
	if opt.MaxBuckets != 1234 || opt.Workers != 3 {
		t.Errorf("max_buckets: %d, parser_routines: %d", opt.MaxBuckets, opt.Workers)
	}
	if want := (enrich.DNS{TTL: 2 * time.Minute, NegativeTTL: 3 * time.Second, Size: 44}); opt.DNS != want {
		t.Errorf("dns_cache: %+v", opt.DNS)
	}
	if want := (enrich.CTI{Key: "secret", TTL: 5 * time.Minute, Size: 66}); opt.CTI != want {
		t.Errorf("cti: %+v", opt.CTI)
	}
	opt.Content, errs = Content("", r)
	var got []decisions.Alert
	opt.Alert = func(a decisions.Alert) { got = append(got, a) }
	e, faulty := pipeline.Load(opt)
	if errs = append(errs, faulty...); len(errs) > 0 {
		t.Fatal(errs)
	}
	e.Process([]event.Line{{Raw: "isbn77 " + strings.Repeat("long ", 10)}, {Raw: "isbn78 x"}}, time.Now())
	if len(got) != 2 {
		t.Fatalf("%d alerts, want one a scenario", len(got))
	}
	for _, a := range got {
		if a.Simulated != (a.Scenario == "mock") {
			t.Errorf("%s is simulated: %v", a.Scenario, a.Simulated)
		}
		i := slices.IndexFunc(a.Meta, func(kv decisions.KeyValue) bool { return kv.Key == "rest" })
		if i < 0 || len(a.Meta[i].Value) > 12+len(`[""]`) {
			t.Errorf("context of %s: %v", a.Scenario, a.Meta)
		}
	}
}

// The usual place of patterns may be missing, one that was named may not.
func TestPatternDir(t *testing.T) {
	dir := t.TempDir()
	f := func(named, want string) {
		t.Helper()
		if got := Options(config.Resolved{ConfigDir: dir, Agent: config.Agent{PatternDir: named}}).PatternDir; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("", "")
	f("/named", "/named")
	write(t, dir, "patterns/x", "")
	f("", filepath.Join(dir, "patterns"))
	f("/named", "/named")
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "a.log", "one,two\n")
	f := func(acq config.Acquisition, wantOnce bool, want ...string) {
		t.Helper()
		acq.Labels["type"] = "x"
		started := 0
		src, once, err := Reader{Stdin: strings.NewReader("typed\n"), Started: func() { started++ }}.Open(acq)
		if err != nil || once != wantOnce {
			t.Fatalf("%v, once %v", err, once)
		}
		if !once {
			return
		}
		var got []string
		err = src.Run(t.Context(), func(_ context.Context, batch []event.Line, done func()) error {
			for _, l := range batch {
				got = append(got, l.Raw)
			}
			done()
			return nil
		})
		if err != nil || !slices.Equal(got, want) || started != 1 {
			t.Errorf("%v, got %q, want %q; started %d times", err, got, want, started)
		}
	}
	files := File(path)
	f(files, false)
	files.Cat = true
	f(files, true, "one,two")
	files.Transform.Value = `Split(evt.Line.Raw, ",")`
	f(files, true, "one", "two")
	f(File(Stdin), true, "typed")
	dsn, err := config.ParseDSN("file://" + path + "?max_buffer_size=5")
	if err != nil {
		t.Fatal(err)
	}
	f(dsn, true, "one,t")
	files.Transform.Value = "nope"
	if _, _, err := (Reader{}).Open(files); err == nil {
		t.Error("a faulty transform is accepted")
	}
}

func TestAcquisitions(t *testing.T) {
	list, errs := Acquisitions("testdata/acquis.yaml", func(string) (string, bool) { return "", false })
	var got strings.Builder
	for _, a := range list {
		got.WriteString("reads " + What(a) + "\n")
	}
	for _, err := range errs {
		got.WriteString(err.Error() + "\n")
	}
	want, err := os.ReadFile("testdata/acquis.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

func TestDSN(t *testing.T) {
	open := func(dsn string) (string, error) {
		acq, err := config.ParseDSN(dsn)
		if err != nil {
			return "", err
		}
		acq.Labels["type"] = "x"
		src, _, err := (Reader{}).Open(acq)
		if err != nil {
			return "", err
		}
		return src.Name(), nil
	}
	f := func(dsn, want string) {
		t.Helper()
		if got, err := open(dsn); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", dsn, got, err, want)
		}
	}
	f("file:///var/log/*.log", "/var/log/*.log")
	f("file://x.gz?max_buffer_size=100&log_level=debug", "x.gz")
	f("journalctl://filters=_SYSTEMD_UNIT%3Dssh.service&filters=-q&since=2+days+ago", "journalctl-_SYSTEMD_UNIT=ssh.service.-q")
	f("journalctl://?filters=a", "journalctl-a")
	f("stdin://", "stdin")

	bad := func(dsn, want string) {
		t.Helper()
		if _, err := open(dsn); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "cannot read ") {
			t.Errorf("%s: got %v, want %q", dsn, err, want)
		}
	}
	bad("file://", "it has no path")
	bad("file://x?y=1", "unknown parameter y")
	bad("file://x?since=1", "unknown parameter since")
	bad("file://x?max_buffer_size=none", `not "none"`)
	bad("file://x?max_buffer_size=-1", "not -1")
	bad("file://x?a=%", "invalid")
	bad("journalctl://since=1", "there is none")
	bad("syslog://x", "syslog datasource does not support command-line acquisition")
	bad("ftp://x", "unknown source \"ftp\"")
}

func TestShare(t *testing.T) {
	f := func(limit int64, max, buckets, kept int) {
		t.Helper()
		if b, k := share(limit, max); b != buckets || k != kept {
			t.Errorf("got %d, %d", b, k)
		}
	}
	f(0, 1000, 1000, 0)
	f(32<<20, 262144, 50533, 6710886)
	f(32<<20, 1000, 1000, 6710886)
	f(4<<30, 262144, 262144, 64<<20)
}

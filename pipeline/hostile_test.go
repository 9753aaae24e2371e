package pipeline_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
	"cs/platform/sharedtest"
)

var logOfTest = regexp.MustCompile(`(?m)^log_(file|type): *"?([^"\r\n]+?)"? *$`)

// hubLines returns a line of each kind in the logs of the hub's tests.
func hubLines(tb testing.TB) (lines []event.Line) {
	tb.Helper()
	seen := map[string]bool{}
	configs, err := filepath.Glob(filepath.Join(sharedtest.Dir(tb), "hub", ".tests", "*", "config.yaml"))
	if err != nil || len(configs) == 0 {
		tb.Fatal(err, "the hub has no tests")
	}
	for _, name := range configs {
		text, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		conf := map[string]string{}
		for _, m := range logOfTest.FindAllStringSubmatch(string(text), -1) {
			conf[m[1]] = m[2]
		}
		log, err := os.ReadFile(filepath.Join(filepath.Dir(name), conf["file"]))
		if err != nil {
			tb.Fatal(err)
		}
		if raw, _, _ := strings.Cut(string(log), "\n"); !seen[conf["type"]] {
			seen[conf["type"]] = true
			labels := map[string]string{"type": conf["type"]}
			lines = append(lines, event.Line{Raw: raw, Src: conf["file"], Module: "file", Labels: labels, Mode: event.Replay})
		}
	}
	return lines
}

// everythingSmall is all of the public hub with room for little.
func everythingSmall(tb testing.TB) *pipeline.Engine {
	tb.Helper()
	dir := filepath.Join(sharedtest.Dir(tb), "hub")
	c, errs := hub.Load(dir)
	e, faulty := pipeline.Load(pipeline.Options{
		Content: c, DataDir: filepath.Join(dir, "data"), MaxBuckets: maxBuckets, MaxKept: maxKept,
		Now:   func() time.Time { return t0 },
		Alert: func(decisions.Alert) {},
	})
	for _, err := range append(errs, faulty...) {
		tb.Fatal(err)
	}
	return e
}

const maxBuckets, maxKept = 5000, 4 << 20

// No line makes the engine fail, forget its bounds or miss what comes after,
// whatever parser it is for: each kind of line that the hub knows, with something in
// it that its author would like to do harm with.
func TestAllOfTheHubSurvivesHostileLines(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const size = 6_000
	var keys strings.Builder
	for i := range size / 10 {
		keys.WriteString("key" + strings.Repeat("x", i%5) + "=v,")
	}
	hostile := map[string]string{
		"long word":      strings.Repeat("a", size),
		"numbers":        strings.Repeat("1.", size/2),
		"blanks":         strings.Repeat(" \t", size/2),
		"quotes":         strings.Repeat(`"'\`, size/3),
		"brackets":       strings.Repeat(`[{`, size/2),
		"closed":         strings.Repeat(`{"a":`, size/10) + "1" + strings.Repeat("}", size/10),
		"elements":       strings.Repeat("<a>", size/6) + strings.Repeat("</a>", size/8),
		"pairs":          keys.String(),
		"slashes":        strings.Repeat("/../", size/4),
		"escapes":        strings.Repeat("%25", size/3),
		"NULs":           strings.Repeat("\x00", 500),
		"no UTF-8":       strings.Repeat("\xff\xc3", 500),
		"runes":          strings.Repeat("\u0130\u212a\U0001f4a9", 500),
		"what templates": "%{GREEDYDATA:x} ${jndi:ldap://x} {{.x}} $(id) evt.Parsed.x",
	}
	e := everythingSmall(t)
	n := uint64(0)
	for _, l := range hubLines(t) {
		middle := len(l.Raw) / 2
		for _, h := range hostile {
			var batch []event.Line
			for _, raw := range []string{h, l.Raw + h, h + l.Raw, l.Raw[:middle] + h + l.Raw[middle:]} {
				bad := l
				bad.Raw = raw
				batch = append(batch, bad)
			}
			e.Process(batch, t0)
			n += uint64(len(batch))
		}
	}
	s := e.Stats()
	if s.Lines != n || s.Buckets.Buckets > maxBuckets || s.Buckets.KeptBytes > maxKept {
		t.Errorf("after %d lines: %+v", n, s)
	}
	before := e.Stats().Alerts
	for i := range 6 {
		line := syslogLine("Mar 14 10:00:00 box sshd[77]: Failed password for root from 192.0.2.7 port 4000" + string(rune('0'+i)) + " ssh2")
		e.Process([]event.Line{line}, t0)
	}
	if e.Stats().Alerts == before {
		t.Error("a brute force went unseen")
	}
}

// Lines of a megabyte, for parsers that decode them.
func TestAllOfTheHubSurvivesHugeLines(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const size = 1 << 20
	e := everythingSmall(t)
	var keys strings.Builder
	for keys.Len() < size {
		keys.WriteString(`"k` + strings.Repeat("0", keys.Len()%7) + `":0,`)
	}
	for _, l := range hubLines(t) {
		switch l.Labels["type"] {
		case "syslog", "nginx", "caddy", "k8s-audit", "eventlog", "traefik":
			for _, raw := range []string{
				`{"a":{` + keys.String() + `"x":1}}`, strings.Repeat(`{"a":`, size/5),
				"<Event>" + strings.Repeat("<Data Name='x'>", size/15), l.Raw + strings.Repeat(" x=1", size/4), strings.Repeat("a", size),
			} {
				l.Raw = raw
				e.Process([]event.Line{l}, t0)
			}
		}
	}
	if s := e.Stats(); s.Buckets.KeptBytes > maxKept {
		t.Errorf("%+v", s)
	}
}

// FuzzLine gives lines of any kind to all of the hub's content at once.
func FuzzLine(f *testing.F) {
	for _, l := range hubLines(f) {
		f.Add(l.Labels["type"], l.Raw)
	}
	e := everythingSmall(f)
	f.Fuzz(func(t *testing.T, typ, raw string) {
		before := e.Stats()
		l := event.Line{Raw: raw, Src: "x.log", Module: "file", Labels: map[string]string{"type": typ}}
		replayed := l
		replayed.Mode = event.Replay
		e.Process([]event.Line{l, replayed}, t0)
		e.Advance(t0)
		if s := e.Stats(); s.Lines != before.Lines+2 || s.Buckets.Buckets > maxBuckets || s.Buckets.KeptBytes > maxKept {
			t.Errorf("after %q: %+v", raw, s)
		}
	})
}

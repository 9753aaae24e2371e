package pipeline_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
	"cs/platform/sharedtest"
)

// collection is what an item of the public hub's collections/ lists.
type collection struct {
	Parsers, Scenarios, PostOverflows, Contexts, Collections []string
}

// installed returns the content that collections of the public hub install,
// like cscli; without follow not what the collections in them do.
func installed(tb testing.TB, follow bool, names ...string) hub.Content {
	tb.Helper()
	dir := filepath.Join(sharedtest.Dir(tb), "hub")
	wanted := map[hub.Kind]map[string]bool{hub.Parser: {}, hub.Scenario: {}, hub.PostOverflow: {}, hub.Context: {}}
	for i := 0; i < len(names); i++ { // it grows
		text, err := os.ReadFile(filepath.Join(dir, "collections", names[i]+".yaml"))
		if err != nil {
			tb.Fatal(err)
		}
		var c collection
		if err := yaml.Unmarshal(text, &c); err != nil {
			tb.Fatal(err)
		}
		for kind, list := range map[hub.Kind][]string{hub.Parser: c.Parsers, hub.Scenario: c.Scenarios, hub.PostOverflow: c.PostOverflows, hub.Context: c.Contexts} {
			for _, name := range list {
				wanted[kind][name] = true
			}
		}
		for _, name := range c.Collections {
			if follow && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	c := allOfTheHub(tb)
	c.Items = slices.DeleteFunc(c.Items, func(it hub.Item) bool {
		below, _ := strings.CutSuffix(it.Path, ".yaml") // scenarios/author/name, parsers/stage/author/name
		author, name := filepath.Base(filepath.Dir(below)), filepath.Base(below)
		return !wanted[it.Kind][author+"/"+name]
	})
	return c
}

func allOfTheHub(tb testing.TB) hub.Content {
	c, errs := hub.Load(filepath.Join(sharedtest.Dir(tb), "hub"))
	for _, err := range errs {
		tb.Fatal(err)
	}
	return c
}

var aboutHTTP = regexp.MustCompile(`(?m)^filter:(.*|\s*[|>]-?\n(\s+.*\n)+)`)

// withHTTP adds all scenarios of the public hub whose filter asks for http.
func withHTTP(tb testing.TB, c hub.Content) hub.Content {
	for _, it := range allOfTheHub(tb).Items {
		if it.Kind == hub.Scenario && strings.Contains(aboutHTTP.FindString(string(it.Data)), "http") &&
			!slices.ContainsFunc(c.Items, func(o hub.Item) bool { return o.Path == it.Path }) {
			c.Items = append(c.Items, it)
		}
	}
	return c
}

func loadHub(tb testing.TB, c hub.Content) (*pipeline.Engine, *int) {
	alerts := new(int)
	e, errs := pipeline.Load(pipeline.Options{
		Content: c,
		Workers: 1,
		DataDir: filepath.Join(sharedtest.Dir(tb), "hub", "data"),
		Now:     func() time.Time { return t0 },
		Alert:   func(decisions.Alert) { *alerts++ },
	})
	for _, err := range errs {
		if !strings.Contains(err.Error(), "evt.Appsec is not supported yet") {
			tb.Fatal(err)
		}
	}
	return e, alerts
}

// webLines are requests of browsers, of 200 pages by 250 addresses. odd makes
// the path, the referrer and the agent other than ASCII.
func webLines(typ string, odd bool) (batch []event.Line) {
	labels := map[string]string{"type": typ}
	page, agent := "page", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36"
	if odd {
		page, agent = "naïve-café", "Mozilla/5.0 (X11; Linux x86_64; Müller) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36"
	}
	for i := range 256 {
		raw := fmt.Sprintf(`198.51.%d.%d - - [14/Mar/2026:10:00:%02d +0000] "GET /static/app/%s-%d.html?session=abc%d HTTP/1.1" 200 %d "https://example.com/%s" "%s"`,
			i%200, i%250, i%60, page, i, i*7, 1000+i, page, agent)
		batch = append(batch, event.Line{Raw: raw, Src: "/var/log/" + typ + "/access.log", Module: "file", Labels: labels})
	}
	return batch
}

func sshdLines() (batch []event.Line) {
	for i := range 256 {
		batch = append(batch, syslogLine(fmt.Sprintf("Mar 14 10:00:%02d box sshd[%d]: Failed password for invalid user admin%d from 198.51.%d.%d port %d ssh2",
			i%60, 1000+i, i%9, i, i, 40000+i)))
	}
	return batch
}

// cronLines are what most lines of a syslog are: nothing.
func cronLines() (batch []event.Line) {
	for i := range 256 {
		batch = append(batch, syslogLine(fmt.Sprintf("Mar 14 10:00:%02d box CRON[%d]: (root) CMD (   cd / && run-parts --report /etc/cron.hourly %d)", i%60, 1000+i, i)))
	}
	return batch
}

// realLines are those of a web site with people, crawlers and scanners.
func realLines(tb testing.TB) (batch []event.Line) {
	text, err := os.ReadFile(filepath.Join(sharedtest.Dir(tb), "logs", "web-access.log"))
	if err != nil {
		tb.Fatal(err)
	}
	labels := map[string]string{"type": "nginx"}
	for line := range strings.Lines(string(text)) {
		batch = append(batch, event.Line{Raw: strings.TrimSuffix(line, "\n"), Src: "/var/log/nginx/access.log", Module: "file", Labels: labels})
	}
	return batch
}

// BenchmarkLine measures lines from the text to the bucket, with one worker. The
// content is what somebody installs who has a web server and sshd ("installed"),
// that with all scenarios for web servers ("http"), and all of the public hub ("hub").
// Lines are either as many attackers that come once ("fresh": the buckets of a line are
// made for it and end after it) or the same ones that come back ("steady": the buckets
// are there). best-ns is the best of the batches, which others on the machine disturb least.
func BenchmarkLine(b *testing.B) {
	names := []string{"crowdsecurity/linux", "crowdsecurity/sshd", "crowdsecurity/nginx", "crowdsecurity/apache2", "crowdsecurity/base-http-scenarios"}
	contents := []struct {
		name string
		load func() hub.Content
	}{
		{"installed", func() hub.Content { return installed(b, false, names...) }},
		{"http", func() hub.Content { return withHTTP(b, installed(b, true, names...)) }},
		{"hub", func() hub.Content { return allOfTheHub(b) }},
	}
	const fresh = 6 * time.Hour // no bucket lives that long
	lines := []struct {
		name  string
		batch func() []event.Line
		step  time.Duration // from one batch to the next
	}{
		{"nginx/fresh", func() []event.Line { return webLines("nginx", false) }, fresh},
		{"nginx/steady", func() []event.Line { return webLines("nginx", false) }, time.Second},
		{"apache/fresh", func() []event.Line { return webLines("apache2", false) }, fresh},
		{"apache/steady", func() []event.Line { return webLines("apache2", false) }, time.Second},
		{"sshd/fresh", sshdLines, fresh},
		{"sshd/steady", sshdLines, 59 * time.Second}, // as ssh-bf and ssh-slow-bf leak
		{"cron", cronLines, fresh},
		{"nginx-odd/fresh", func() []event.Line { return webLines("nginx", true) }, fresh},
		{"nginx-odd/steady", func() []event.Line { return webLines("nginx", true) }, time.Second},
		{"real", func() []event.Line { return realLines(b) }, fresh},
	}
	for _, c := range contents {
		for _, l := range lines {
			b.Run(c.name+"/"+l.name, func(b *testing.B) {
				e, alerts := loadHub(b, c.load())
				benchmarkBatches(b, e, l.batch(), l.step)
				if s := e.Stats(); s.Failures > 0 || s.Poured == 0 && l.name != "cron" {
					b.Fatalf("%d of %d lines parsed, %d poured, failed: %s", s.Parsed, s.Lines, s.Poured, s.LastFailure)
				}
				if *alerts > 0 {
					b.ReportMetric(float64(*alerts)/float64(b.N), "alerts/op")
				}
			})
		}
	}
}

// benchmarkBatches processes 256 lines at a time, some time apart.
func benchmarkBatches(b *testing.B, e *pipeline.Engine, all []event.Line, apart time.Duration) {
	now, next, best := t0, 0, math.Inf(1)
	step := func(n int) int {
		if next == len(all) {
			next = 0
		}
		batch := all[next:min(next+min(n, 256), len(all))]
		next += len(batch)
		now = now.Add(apart)
		begin := time.Now()
		e.Process(batch, now)
		e.Advance(now)
		if len(batch) >= 128 {
			best = min(best, float64(time.Since(begin))/float64(len(batch)))
		}
		return len(batch)
	}
	bytes := 0
	for _, l := range all {
		bytes += len(l.Raw)
	}
	for i := 0; i < 2*len(all)+2048; { // automata and buffers grow with what they see
		i += step(256)
	}
	b.SetBytes(int64(bytes / len(all)))
	b.ReportAllocs()
	b.ResetTimer()
	best = math.Inf(1)
	for i := 0; i < b.N; {
		i += step(b.N - i)
	}
	if !math.IsInf(best, 1) {
		b.ReportMetric(best, "best-ns")
	}
}

// BenchmarkLoad measures how long it takes from content to an engine; best-ms is
// the best, which others on the machine disturb least.
func BenchmarkLoad(b *testing.B) {
	for _, c := range []struct {
		name string
		load func() hub.Content
	}{{"starter", hub.Base}, {"hub", func() hub.Content { return allOfTheHub(b) }}} {
		b.Run(c.name, func(b *testing.B) {
			best := math.Inf(1)
			for range b.N {
				begin := time.Now()
				loadHub(b, c.load())
				best = min(best, time.Since(begin).Seconds())
			}
			b.ReportMetric(best*1e3, "best-ms")
		})
	}
}

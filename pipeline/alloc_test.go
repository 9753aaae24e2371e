package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cs/pipeline"
	"cs/pipeline/event"
)

// With what somebody installs who has web servers and sshd, no line costs an
// allocation once its kind has been seen; only alerts do.
func TestInstalledContentDoesNotAllocate(t *testing.T) {
	if testing.Short() {
		t.Skip("short runs have the race detector, under which kept memory is thrown away at random")
	}
	e, alerts := loadHub(t, installed(t, true, "crowdsecurity/linux", "crowdsecurity/sshd", "crowdsecurity/nginx",
		"crowdsecurity/apache2", "crowdsecurity/traefik", "crowdsecurity/base-http-scenarios"))
	apart := 24 * time.Hour // no bucket lives that long
	f := func(what, typ string, poured bool, line func(i int) string) {
		t.Helper()
		labels := map[string]string{"type": typ}
		var batch []event.Line
		for i := range 100 {
			batch = append(batch, event.Line{Raw: line(i), Src: "/var/log/x.log", Module: "file", Labels: labels})
		}
		now := t0
		step := func() {
			now = now.Add(apart)
			e.Process(batch, now)
			e.Advance(now)
		}
		for range 20 { // automata grow with what they see, and again for what they see often
			step()
		}
		before, told := e.Stats(), *alerts
		if n := testing.AllocsPerRun(20, step); n != 0 || *alerts != told {
			t.Errorf("%s: %v allocations for 100 lines, %d alerts", what, n, *alerts-told)
		}
		after := e.Stats()
		if after.Parsed == before.Parsed || poured != (after.Poured > before.Poured) {
			t.Errorf("%s: %d lines parsed, %d poured", what, after.Parsed-before.Parsed, after.Poured-before.Poured)
		}
	}
	head := func(i int) string { return fmt.Sprintf("Mar 14 10:00:%02d box sshd[%d]: ", i%60, 1000+i) }
	access := func(i int, request string, status int) string {
		return fmt.Sprintf(`198.51.100.%d - - [14/Mar/2026:10:00:%02d +0000] "%s" %d 153 "-" "Mozilla/5.0 (X11; Linux x86_64)"`, i, i%60, request, status)
	}
	f("failed logins", "syslog", true, func(i int) string {
		return head(i) + fmt.Sprintf("Failed password for invalid user u%d from 198.51.100.%d port 4%d ssh2", i, i, i)
	})
	f("logins", "syslog", true, func(i int) string {
		return head(i) + fmt.Sprintf("Accepted publickey for root from 198.51.100.%d port 22 ssh2: ED25519 SHA256:abc", i)
	})
	f("RFC 5424", "syslog", true, func(i int) string {
		return fmt.Sprintf("<38>1 2026-03-14T10:00:%02d.%03dZ box sshd %d - - Failed password for root from 198.51.100.%d port 4%d ssh2", i%60, i, i, i, i)
	})
	f("ISO dates", "syslog", true, func(i int) string {
		return fmt.Sprintf("2026-03-14T10:00:%02d.%06d+01:00 box sshd[%d]: Invalid user u%d from 198.51.100.%d port 4%d", i%60, i, i, i, i, i)
	})
	for _, typ := range []string{"nginx", "apache2"} {
		f(typ+" pages", typ, true, func(i int) string { return access(i, fmt.Sprintf("GET /page/%d?x=%d HTTP/1.1", i, i), 200) })
		f(typ+" missing pages", typ, true, func(i int) string { return access(i, fmt.Sprintf("GET /page/%d HTTP/1.1", i), 404) })
		f(typ+" pictures", typ, false, func(i int) string { return access(i, "GET /a/b/c.PNG HTTP/1.1", 200) })
		f(typ+" other letters", typ, true, func(i int) string { return access(i, fmt.Sprintf("GET /höhe/%d?ort=Köln HTTP/1.1", i), 404) })
	}
	f("failed logins from few addresses", "syslog", true, func(i int) string {
		return head(i) + fmt.Sprintf("Failed password for root from 198.51.100.%d port 4%d ssh2", i%40, i)
	})
	for _, program := range []string{"nginx", "apache2"} {
		f(program+" in syslog", "syslog", true, func(i int) string {
			return fmt.Sprintf("Mar 14 10:00:%02d box %s: ", i%60, program) + access(i, fmt.Sprintf("GET /page/%d HTTP/1.1", i), 404)
		})
		f(program+" in RFC 5424", "syslog", true, func(i int) string {
			return fmt.Sprintf("<38>1 2026-03-14T10:00:%02d.%03dZ box %s %d - - ", i%60, i, program, i) + access(i, fmt.Sprintf("GET /page/%d HTTP/1.1", i), 404)
		})
	}
	f("traefik", "traefik", true, func(i int) string {
		return fmt.Sprintf(`198.51.100.%d - - [14/Mar/2026:10:00:%02d +0000] "GET /page/%d HTTP/1.1" 404 19 "-" "curl/8" %d "web@file" "http://10.0.0.2:80" 3ms`, i, i%60, i, i)
	})
	// Those who come back slowly enough for all but the scenarios with a condition, whose
	// queues of four and more events it reads. What leaks has no time to be over.
	apart = 70 * time.Second
	before := conditional(e)
	for _, user := range []string{"root", "invalid user admin"} {
		f("failed logins that come back, "+user, "syslog", true, func(i int) string {
			return head(i) + fmt.Sprintf("Failed password for %s from 203.0.113.%d port 4%d ssh2", user, i, i)
		})
	}
	if poured := conditional(e) - before; poured < 2*40*100 {
		t.Errorf("%d events went into buckets with a condition", poured)
	}
}

// conditional is how many events went into the buckets of ssh-time-based-bf.
func conditional(e *pipeline.Engine) (n uint64) {
	for _, s := range e.Buckets() {
		if strings.HasPrefix(s.Name, "crowdsecurity/ssh-time-based-bf") {
			n += s.Poured
		}
	}
	return n
}

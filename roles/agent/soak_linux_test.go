package agent

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/decisions"
	"cs/pipeline"
	"cs/roles/engine"
)

// TestSoak folds an hour of event time into seconds: logs that are rotated, syslog over
// UDP, TCP and a unix socket, HTTP, a container, the journal and Kafka bring failed logins of many addresses, with an
// attacker each minute, while alerts are refused now and then, connections are cut, journalctl is killed and the agent is
// reloaded. All attackers are reported once, memory and goroutines don't grow. CS_SOAK is how long it takes, such as 3m.
func TestSoak(t *testing.T) {
	length := 4 * time.Second
	if testing.Short() {
		length = time.Second
	}
	if s := os.Getenv("CS_SOAK"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	port := func() int {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).Port
	}
	goroutines := runtime.NumGoroutine()
	journal, container, topic := newJournal(t), newContainer(t), newTopic(t)
	syslogPort, httpPort := port(), port()
	log, sock := filepath.Join(dir, "auth.log"), filepath.Join(dir, "s")
	acquis := filepath.Join(dir, "acquis.yaml")
	text := fmt.Sprintf(`filenames: ['%s']
use_time_machine: true
labels: {type: syslog}
---
source: syslog
listen_port: %d
protocol: udp,tcp
listen_socket_stream: '%s'
use_time_machine: true
labels: {type: syslog}
---
source: http
listen_addr: 127.0.0.1:%d
auth_type: headers
headers: {x-key: secret}
transform: trim(evt.Line.Raw, "\"")
use_time_machine: true
labels: {type: syslog}
---
source: docker
docker_host: unix://%s
container_name: [box]
use_time_machine: true
labels: {type: syslog}
---
source: journalctl
journalctl_filter: [_COMM=sshd]
use_time_machine: true
labels: {type: syslog}
---
source: kafka
brokers: ['%s']
topic: logs
partition: 0
batch: {max_wait: 50ms}
use_time_machine: true
labels: {type: syslog}
`, log, syslogPort, sock, httpPort, container.path, strings.Join(topic.brokers, "', '"))
	if err := os.WriteFile(acquis, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	appendTo(t, log, "")
	inputs, faults := engine.Acquisitions(acquis, func(string) (string, bool) { return "", false })
	if len(faults) > 0 || len(inputs) != 6 {
		t.Fatal(inputs, faults)
	}
	var mu sync.Mutex
	refusals := 0
	reported := map[string]int{}
	lapi := &fakeLAPI{answer: func(call int, alerts []decisions.Alert) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if call%3 == 0 {
			refusals++
			return false, errUnreachable
		}
		for _, a := range alerts {
			if strings.HasPrefix(a.Source.Value, "198.51.100.") && strings.Contains(a.Scenario, "bf") {
				reported[a.Source.Value]++
			}
		}
		return true, nil
	}}
	cfg := Config{FromStart: true, DataDir: filepath.Join(dir, "data"), LAPI: lapi, Content: starter, Inputs: inputs, Engine: pipeline.Options{MaxBuckets: 20_000}}
	r := start(t, cfg)

	udp, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", syslogPort))
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", syslogPort))
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	unix, err := net.Dial("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	post := func(lines []string) error {
		var body bytes.Buffer
		for _, l := range lines {
			fmt.Fprintf(&body, "%q\n", l)
		}
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/", httpPort), &body)
		if err != nil {
			return err
		}
		req.Header.Set("x-key", "secret")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", resp.Status)
		}
		return nil
	}
	write := func(conn net.Conn, lines []string, head, tail string) error {
		for _, l := range lines {
			if _, err := fmt.Fprint(conn, head, l, tail); err != nil {
				return err
			}
		}
		return nil
	}

	const minutes = 60
	event := time.Date(2026, 3, 14, 10, 0, 0, 0, time.UTC)
	begin := time.Now()
	sent, rss := 0, [2]int{}
	for minute := range minutes {
		var all [8][]string // one for each way in
		for second := range 60 {
			at := event.Add(time.Duration(60*minute+second) * time.Second).Format(time.Stamp)
			line := func(addr string) string {
				return fmt.Sprintf("%s box sshd[7]: Failed password for root from %s port 22 ssh2", at, addr)
			}
			for way := range all {
				n := (minute*60+second)*len(all) + way
				all[way] = append(all[way], line(fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255)))
			}
			if second < 9 {
				way := minute % len(all)
				all[way] = append(all[way], line(fmt.Sprintf("198.51.100.%d", minute)))
			}
		}
		appendTo(t, log, strings.Join(all[0], "\n")+"\n")
		for way, err := range []error{write(udp, all[1], "<38>", ""), write(tcp, all[2], "<38>", "\n"), write(unix, all[3], "<38>", "\n"), post(all[4]), container.write(all[5]), journal.write(all[6]), topic.write(all[7])} {
			if err != nil {
				t.Fatalf("way %d: %v", way+1, err)
			}
		}
		for _, lines := range all {
			sent += len(lines)
		}
		eventually(t, fmt.Sprintf("%d lines are read", sent), func() bool { return r.agent.lines.Load() >= int64(sent) })
		if minute%7 == 3 {
			if err := os.Rename(log, fmt.Sprintf("%s.%d", log, minute)); err != nil {
				t.Fatal(err)
			}
			appendTo(t, log, "")
		}
		if minute%30 == 12 && !testing.Short() { // coming back takes seconds
			container.cut()
			journal.kill()
		}
		if minute%15 == 8 {
			if err := r.agent.Reload(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}
		if minute == minutes/4 {
			rss[0] = residentKB(t)
		}
		time.Sleep(time.Until(begin.Add(length * time.Duration(minute+1) / minutes)))
	}
	rss[1] = residentKB(t)
	want := map[string]int{}
	for minute := range minutes {
		want[fmt.Sprintf("198.51.100.%d", minute)] = 1
	}
	defer func() {
		for addr := range want {
			if reported[addr] == 0 {
				t.Error("not reported: ", addr)
			}
		}
	}()
	eventually(t, "all attackers are reported", func() bool {
		poke(r.agent.outboxes[0].retry)
		mu.Lock()
		defer mu.Unlock()
		return len(reported) == len(want)
	})
	r.end()
	client.CloseIdleConnections()
	container.close()
	topic.close()
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
	if n := r.agent.lines.Load(); n != int64(sent) {
		t.Errorf("%d lines were read, %d sent", n, sent)
	}
	for addr, n := range reported {
		if want[addr] != n {
			t.Errorf("%s was reported %d times", addr, n)
		}
	}
	if growth := rss[1] - rss[0]; growth > 16<<10 {
		t.Errorf("memory grew from %d to %d KB", rss[0], rss[1])
	}
	t.Logf("%d lines in %v, %d attackers, %d deliveries refused, resident %d and then %d KB",
		sent, time.Since(begin).Round(time.Millisecond), len(reported), refusals, rss[0], rss[1])
}

// residentKB returns the memory of the process, without garbage.
func residentKB(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 10
}

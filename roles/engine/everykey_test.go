//go:build !edge

package engine

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source/sourcetest"
	"cs/roles/config"
)

// everyKey has all keys of each source (spec engine §7); what they do is tested with the source. Keys that
// exclude each other stand in documents of their own.
const everyKey = `
filename: /a.log
filenames: [/b*]
exclude_regexps: ['x$']
force_inotify: true
max_buffer_size: 100
poll_without_inotify: false
discovery_poll_enable: true
discovery_poll_interval: 5s
---
source: journalctl
mode: cat
journalctl_filter: [-u, ssh]
since: yesterday
---
source: syslog
listen_addr: 127.0.0.1
listen_port: 5140
protocol: udp,tls
listen_socket: /x
listen_socket_stream: /y
max_message_len: 100
disable_rfc_parser: true
allow_from: [192.0.2.0/24]
max_connections: 3
tls: {server_cert: a, server_key: b, ca_cert: c, insecure_skip_verify: true}
---
source: docker
container_name: [a]
container_id: [b]
container_name_regexp: [c]
container_id_regexp: [d]
service_name: [a]
service_id: [b]
service_name_regexp: [c]
service_id_regexp: [d]
follow_stdout: true
follow_stderr: false
since: 1h
until: 2026-01-02T03:04:05Z
docker_host: unix:///x
check_interval: 10s
---
source: docker
use_container_labels: true
use_service_labels: true
---
source: kafka
brokers: [a]
topic: b
group_id: c
timeout: "3"
tls: {insecure_skip_verify: true, client_cert: a, client_key: b, ca_cert: c}
batch: {min_bytes: 1, max_bytes: 2, max_wait: 3s, queue_size: 4, commit_interval: 5s}
on_partition_error: fail
---
source: kafka
brokers: [a]
topic: b
partition: 0
timeout: 3
---
source: loki
url: http://h
prefix: /p
query: q
limit: 5
delay_for: 1s
since: 1h
headers: {a: b}
wait_for_ready: 1s
auth: {username: a, password: b}
max_failure_duration: 1s
no_ready_check: true
---
source: victorialogs
mode: cat
url: http://h
prefix: /p
query: q
limit: 5
since: 1h
headers: {a: b}
wait_for_ready: 1s
auth: {username: a, password: b}
max_failure_duration: 1s
---
source: http
listen_addr: 127.0.0.1:1
listen_socket: /x
path: /p
auth_type: basic_auth
basic_auth: {username: a, password: b}
headers: {a: b}
tls: {server_cert: a, server_key: b, ca_cert: c, insecure_skip_verify: false}
custom_status_code: 201
custom_headers: {a: b}
max_body_size: 100
timeout: 1s
---
source: k8s-audit
listen_addr: 127.0.0.1
listen_port: 1
webhook_path: hook
tls: {server_cert: a, server_key: b}
---
source: wineventlog
event_channel: Security
event_level: error
event_ids: [1, 2]
pretty_name: x
---
source: wineventlog
xpath_query: <QueryList/>
---
source: stdin
---
source: logread
`

// TestEveryKey: each is known, and a misspelt one is an error that names it and says what was meant.
func TestEveryKey(t *testing.T) {
	seen := map[string]bool{}
	for doc := range strings.SplitSeq(everyKey, "---\n") {
		doc = "labels: {type: x}\nname: n\nunique_id: u\nlog_level: info\nuse_time_machine: true\ntransform: evt.Line.Raw\n" + doc
		open := func(text string) (kind string, err error) {
			list, errs := config.ParseAcquisition("a.yaml", []byte(text))
			if len(errs) > 0 {
				return "", errs[0]
			}
			_, _, err = Reader{}.Open(list[0])
			return list[0].Source, err
		}
		kind, err := open(doc)
		if err != nil {
			t.Errorf("%s: %v", doc, err)
			continue
		}
		seen[kind] = true
		for line := range strings.SplitSeq(doc, "\n") {
			key, _, ok := strings.Cut(line, ":")
			if !ok {
				continue
			}
			if _, err := open(strings.Replace("\n"+doc, "\n"+key+":", "\n"+key+"x:", 1)); err == nil || !strings.Contains(err.Error(), "a.yaml:") || !strings.Contains(err.Error(), key+"x: unknown key") && key != "source" {
				t.Errorf("%s: %sx is accepted: %v", kind, key, err)
			}
		}
	}
	for kind := range kinds {
		if !seen[kind] {
			t.Errorf("the keys of %s are not tested", kind)
		}
	}
}

// TestTimeMachine: lines bring their own time along, in every mode.
func TestTimeMachine(t *testing.T) {
	path := write(t, t.TempDir(), "a.log", "line\n")
	port := sourcetest.FreePort(t)
	for text, send := range map[string]func(){
		"filename: " + path: func() {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString("line\n")
				f.Close()
			}
			if err != nil {
				t.Error(err)
			}
		},
		fmt.Sprintf("source: syslog\nlisten_port: %d", port): func() {
			c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
			if err == nil {
				_, err = fmt.Fprint(c, "line")
				c.Close()
			}
			if err != nil {
				t.Error(err)
			}
		},
	} {
		for _, how := range []string{"", "use_time_machine: true"} {
			list, errs := config.ParseAcquisition("a.yaml", []byte(text+"\nlabels: {type: x}\n"+how))
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			started := make(chan struct{})
			src, _, err := Reader{Started: func() { close(started) }}.Open(list[0])
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			go func() { <-started; send() }()
			n := 0
			_ = src.Run(ctx, func(_ context.Context, batch []event.Line, done func()) error {
				if want := how != ""; (batch[0].Mode == event.Replay) != want {
					t.Errorf("%s, %s: mode %v", text, how, batch[0].Mode)
				}
				n++
				done()
				cancel()
				return nil
			})
			if n == 0 {
				t.Errorf("%s: nothing came", text)
			}
			cancel()
		}
	}
}

// TestEveryDSN: of each source that can be read once.
func TestEveryDSN(t *testing.T) {
	for kind, dsns := range map[string][]string{
		"file":         {"file:///a?max_buffer_size=5&log_level=debug"},
		"journalctl":   {"journalctl://filters=-u&filters=ssh&since=x&log_level=debug"},
		"docker":       {"docker://web?since=1h&until=2h&follow_stdout=true&follow_stderr=false&docker_host=unix:///x&log_level=info"},
		"loki":         {"loki://u:p@h:3100?ssl=true&query=q&since=1h&limit=5&wait_for_ready=1s&delay_for=1s&max_failure_duration=1s&no_ready_check=true&log_level=warning"},
		"victorialogs": {"victorialogs://u:p@h:9428?ssl=true&query=q&since=1h&limit=5&wait_for_ready=1s&max_failure_duration=1s&log_level=warning"},
		"wineventlog":  {"wineventlog://C:\\x.evtx?event_id=1&event_id=2&event_level=error&log_level=error"},
		"stdin":        {"stdin://", "stdin://-"},
	} {
		for _, dsn := range dsns {
			acq, err := config.ParseDSN(dsn)
			if err != nil {
				t.Error(err)
				continue
			}
			acq.Labels["type"] = "x"
			if _, once, err := (Reader{}).Open(acq); err != nil || !once || acq.Source != kind || strings.Contains(dsn, "log_level") != (acq.LogLevel != nil) {
				t.Errorf("%s: %v, once %v, level %v", dsn, err, once, acq.LogLevel)
			}
		}
	}
	for kind := range kinds {
		acq := config.Acquisition{Source: kind, Cat: true, DSN: kind + "://x", Labels: map[string]string{"type": "x"}}
		if _, _, err := (Reader{}).Open(acq); !kinds[kind].Once && (err == nil || !strings.Contains(err.Error(), kind+" datasource does not support command-line acquisition")) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, kind := range []string{"s3", "cloudwatch", "kinesis"} { // they come later
		acq := config.Acquisition{Source: kind, Labels: map[string]string{"type": "x"}}
		if _, _, err := (Reader{}).Open(acq); err == nil || !strings.Contains(err.Error(), "source "+kind+" is not part of this build") {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := config.ParseDSN("file:///a?log_level=loud"); err == nil || !strings.Contains(err.Error(), `log_level: unknown level "loud"`) {
		t.Errorf("got %v", err)
	}
}

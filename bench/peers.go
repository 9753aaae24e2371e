//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"cs/bench/gen"
	"cs/pipeline/hub"
)

// unpackPeers puts Debian's programs into dir, by the script of the shared
// material, and returns where they are. CS_PEERS may name a directory in which
// they are already.
func unpackPeers(ctx context.Context, shared, dir string) (string, error) {
	if dir := os.Getenv("CS_PEERS"); dir != "" {
		return dir, nil
	}
	script, err := filepath.Abs(filepath.Join(shared, "tools", "debian-peers.sh"))
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "peers")
	if out, err := exec.CommandContext(ctx, script, dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot unpack Debian's programs: %w: %s", err, out)
	}
	return dir, nil
}

func tail(text string) string { return text[max(0, len(text)-500):] }

// compare runs the same few lines through what is replaced and through cs, as
// whole programs, and compares the CPU time of a line. What a program needs to
// start is taken off.
func (b *bench) compare(ctx context.Context) error {
	const n, many = 5000, 200_000
	for _, c := range []struct {
		what, kind string
		lines      []string // the first n of them for what is slow
		items      []string
		filters    []string // of fail2ban
	}{
		{"nginx lines, base-http-scenarios", "nginx", gen.NewWeb(false).Lines(many),
			[]string{"crowdsecurity/syslog-logs", "crowdsecurity/dateparse-enrich", "crowdsecurity/nginx-logs", "crowdsecurity/base-http-scenarios/"},
			[]string{"nginx-botsearch", "nginx-bad-request", "nginx-http-auth"}},
		{"ssh lines in syslog, sshd", "syslog", gen.SSH(many),
			[]string{"crowdsecurity/syslog-logs", "crowdsecurity/dateparse-enrich", "crowdsecurity/sshd"},
			[]string{"sshd"}},
	} {
		dir := filepath.Join(b.dir, "compare-"+c.kind)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		log, empty := filepath.Join(dir, "log"), filepath.Join(dir, "empty")
		if err := errors.Join(
			writeLines(log, c.lines[:n]),
			writeLines(log+".long", c.lines),
			// One line for the start: a file without any would not be read at all.
			writeLines(empty, c.lines[:1]),
		); err != nil {
			return err
		}
		ours := 0.0
		if b.corpus != nil {
			content := filepath.Join(dir, "content")
			if err := install(b.corpus.pick(c.items...), content); err != nil {
				return err
			}
			perLine, err := b.difference(ctx, many, log+".long", empty, func(file string) (string, []string) {
				return b.binary, []string{"agent", "--replay", "--dry-run", "--data-dir", dir, "--content", content, "--log", file, "--type", c.kind}
			})
			if err != nil {
				return err
			}
			ours = perLine
			b.row("cs: "+c.what, fmt.Sprintf("%.2f µs a line", perLine), fmt.Sprintf("CPU of the whole program over %d lines, without its start", many))
			if b.peers == "" {
				continue
			}
			program, left, err := b.debian(ctx, dir, b.corpus.pick(c.items...), empty, c.kind)
			if err != nil {
				return err
			}
			theirs, err := b.difference(ctx, n, log, empty, program)
			if err != nil {
				return err
			}
			b.row("  Debian's crowdsec", fmt.Sprintf("%.2f µs a line", theirs), fmt.Sprintf("%.0f times ours; %d lines, without %d scenarios that it can't read", theirs/ours, n, left))
		}
		if _, err := exec.LookPath("fail2ban-regex"); err != nil {
			b.row("  fail2ban", "not measured", err.Error())
			continue
		}
		sum := 0.0
		for _, filter := range c.filters {
			perLine, err := b.difference(ctx, n, log, empty, func(file string) (string, []string) {
				return "fail2ban-regex", []string{file, filter}
			})
			if err != nil {
				return err
			}
			sum += perLine
		}
		b.row("  fail2ban", fmt.Sprintf("%.2f µs a line", sum), fmt.Sprintf("%.0f times ours; fail2ban-regex with %s", sum/ours, strings.Join(c.filters, ", ")))
	}
	return nil
}

func writeLines(path string, lines []string) error {
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}

// difference returns the CPU microseconds of a line: those of the log without
// those of the start.
func (b *bench) difference(ctx context.Context, n int, log, empty string, program func(file string) (string, []string)) (float64, error) {
	best := time.Duration(1 << 62)
	for range 3 {
		var took [2]time.Duration
		for i, file := range []string{log, empty} {
			name, args := program(file)
			c, err := measured(ctx, name, args...)
			if err != nil {
				return 0, err
			}
			took[i] = c.cpu
		}
		best = min(best, took[0]-took[1])
	}
	return float64(best.Nanoseconds()) / 1000 / float64(n), nil
}

// debian installs content for Debian's crowdsec, agent and LAPI in one process,
// and returns its command line and how many scenarios it can't read: it is
// older than the content.
func (b *bench) debian(ctx context.Context, dir string, content hub.Content, empty, kind string) (program func(file string) (string, []string), left int, err error) {
	dir = filepath.Join(dir, "debian")
	for i := range content.Items {
		if content.Items[i].Data, err = simplified(content.Items[i].Data); err != nil {
			return nil, 0, fmt.Errorf("cannot rewrite %s: %w", content.Items[i].Path, err)
		}
	}
	if err := install(content, dir); err != nil {
		return nil, 0, err
	}
	if err := os.CopyFS(filepath.Join(dir, "patterns"), os.DirFS(filepath.Join(b.peers, "etc", "patterns"))); err != nil {
		return nil, 0, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	addr := l.Addr().String()
	l.Close()
	files := map[string]string{
		"config.yaml": strings.NewReplacer("DIR", dir, "ADDR", addr).Replace(`
common: {daemonize: false, log_media: stdout, log_level: info, log_dir: DIR, working_dir: .}
config_paths: {config_dir: DIR, data_dir: DIR/data, simulation_path: DIR/simulation.yaml, hub_dir: DIR/hub, index_path: DIR/hub/.index.json, notification_dir: DIR/notifications, plugin_dir: DIR/plugins}
crowdsec_service: {parser_routines: 1}
cscli: {output: human}
db_config: {log_level: info, type: sqlite, db_path: DIR/data/crowdsec.db, use_wal: true}
api:
  client: {credentials_path: DIR/credentials.yaml}
  server: {log_level: info, listen_uri: "ADDR", profiles_path: DIR/profiles.yaml, console_path: DIR/console.yaml}
prometheus: {enabled: false}
`),
		"credentials.yaml": "url: http://" + addr + "\n",
		"console.yaml":     "share_manual_decisions: false\n",
		"simulation.yaml":  "simulation: false\n",
		"profiles.yaml":    "name: ban\nfilters: ['Alert.Remediation == true']\ndecisions: [{type: ban, duration: 4h}]\non_success: break\n",
		"hub/.index.json":  `{"parsers": {}, "scenarios": {}, "collections": {}, "postoverflows": {}}`,
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			return nil, 0, err
		}
	}
	config := filepath.Join(dir, "config.yaml")
	if _, err := measured(ctx, filepath.Join(b.peers, "usr/bin/cscli"), "-c", config, "machines", "add", "bench", "--password", "a-password-of-the-bench", "-f", filepath.Join(dir, "credentials.yaml")); err != nil {
		return nil, 0, err
	}
	program = func(file string) (string, []string) {
		return filepath.Join(b.peers, "usr/bin/crowdsec"), []string{"-c", config, "-dsn", "file://" + file, "-type", kind}
	}
	for {
		name, args := program(empty)
		c, err := measured(ctx, name, args...)
		if err == nil {
			return program, left, nil
		}
		refused := refusal.FindStringSubmatch(c.out)
		if refused == nil {
			return nil, 0, err
		}
		if err := os.Remove(filepath.Join(dir, "scenarios", strings.ReplaceAll(refused[1]+refused[2], "/", "_")+".yaml")); err != nil {
			return nil, 0, err
		}
		left++
	}
}

// refusal finds the name or the file of the scenario that Debian's crowdsec
// ends for.
var refusal = regexp.MustCompile(`loading of (\S+) failed|bad yaml in \S+/scenarios/(\S+)\.yaml`)

// simplified takes from the documents of an item what the old program does not
// know and does without: lists in labels, caches of data files.
func simplified(text []byte) ([]byte, error) {
	var out bytes.Buffer
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for first := true; ; first = false {
		var doc yaml.Node
		if err := dec.Decode(&doc); err != nil {
			if out.Len() > 0 {
				return out.Bytes(), nil
			}
			return nil, err
		}
		top := doc.Content[0]
		without(top, "format")
		for i := 0; i < len(top.Content); i += 2 {
			switch value := top.Content[i+1]; top.Content[i].Value {
			case "labels":
				if err := value.Encode(map[string]string{"remediation": "true"}); err != nil {
					return nil, err
				}
			case "data":
				for _, entry := range value.Content {
					without(entry, "cache", "strategy", "size", "ttl")
				}
			}
		}
		if !first {
			out.WriteString("---\n")
		}
		part, err := yaml.Marshal(&doc)
		if err != nil {
			return nil, err
		}
		out.Write(part)
	}
}

// without takes keys from a mapping.
func without(m *yaml.Node, keys ...string) {
	for i := len(m.Content) - 2; i >= 0; i -= 2 {
		if slices.Contains(keys, m.Content[i].Value) {
			m.Content = slices.Delete(m.Content, i, i+2)
		}
	}
}

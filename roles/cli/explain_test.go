package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "auth.log")
	const attack = "Mar 14 10:00:00 box sshd[77]: Failed password for root from 192.0.2.7 port 40000 ssh2"
	if err := os.WriteFile(path, []byte(attack+"\n"+"Mar 14 10:00:00 box cron[78]: \x1b[2J\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty.log")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(wantCode int, stdin string, want []string, args ...string) {
		t.Helper()
		r := run(t, dir, stdin, append([]string{"explain"}, args...)...)
		all := r.stdout + r.stderr
		if r.code != wantCode {
			t.Errorf("%v: exit code %d, want %d: %s", args, r.code, wantCode, all)
		}
		for _, w := range want {
			if !strings.Contains(all, w) {
				t.Errorf("%v: got\n%s\nwithout %q", args, all, w)
			}
		}
		if strings.Contains(all, "\x1b") {
			t.Errorf("%v: a control character reaches the terminal", args)
		}
	}
	attacked := []string{
		"line: " + attack + "\n\t├ s00-raw\n", "\t├ s01-parse\n\t|\t└ 🟢 cs/sshd (+7 ~1)\n",
		"\t├-------- parser success 🟢\n\t├ Scenarios\n\t\t├ 🟢 cs/ssh-bf\n",
	}
	failed := []string{`cron[78]: \x1b[2J`, "\t└-------- parser failure 🔴\n"}
	f(0, "", append(attacked, failed...), "-f", path, "-t", "syslog")
	f(0, "", append(attacked, failed...), "--dsn", "file://"+path, "--type", "syslog", "--crowdsec", "x", "--no-clean")
	f(0, attack, attacked, "--file=-", "-t", "syslog")
	f(0, "", attacked, "--log", attack, "-t", "syslog", "--only-successful-parsers")
	f(0, "", []string{"create evt.Meta.source_ip : 192.0.2.7\n", "create evt.Line.Labels.a : 1\n"}, "-l", attack, "-t", "syslog", "-v", "--labels", "a:1")
	f(0, "", failed, "-f", path, "-t", "syslog", "--failures")
	if r := run(t, dir, "", "explain", "-f", path, "-t", "syslog", "--failures"); strings.Contains(r.stdout, attack) {
		t.Errorf("--failures shows\n%s", r.stdout)
	}
	f(1, "", []string{"the log file is empty: " + empty}, "-f", empty, "-t", "syslog")
	f(1, "", []string{"none.log"}, "-f", filepath.Join(dir, "none.log"), "-t", "syslog")
	f(1, "", []string{"no acquisition (--file or --dsn) provided"}, "-t", "syslog")
	f(1, "", []string{"exclude each other"}, "-t", "syslog", "-f", path, "-l", "x")
	f(1, "", []string{"please provide --type flag"}, "-f", path)
	f(1, "", []string{`"a" is not of the form key:value`}, "-f", path, "-t", "x", "--labels", "a")
	f(1, "", []string{"syslog datasource does not support command-line acquisition"}, "-d", "syslog://x", "-t", "x")

	// Content of one's own, faulty in part.
	content := filepath.Join(dir, "content")
	for name, text := range map[string]string{
		"parsers/s00-raw/p.yaml":   "name: me/all\nfilter: evt.Line.Labels.type == 'x'\nstatics: [{meta: a, value: b}]\n",
		"parsers/s00-raw/bad.yaml": "name: me/bad\nfliter: x\n",
	} {
		name = filepath.Join(content, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f(0, "", []string{"└ 🟢 me/all (+2 ~8)", "content is left out", "bad.yaml:2: fliter: unknown key (did you mean filter?)"}, "-l", "hello", "-t", "x", "--content", content)
}

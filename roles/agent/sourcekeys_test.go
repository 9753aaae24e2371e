package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cs/platform/metric"
	"cs/roles/config"
)

// The keys that all sources have.
func TestSourceKeys(t *testing.T) {
	dir := t.TempDir()
	acquis := filepath.Join(dir, "acquis.yaml")
	log := func(name string) string { return filepath.ToSlash(filepath.Join(dir, name)) }
	text := fmt.Sprintf(`filename: %s
name: the front
unique_id: b7
log_level: debug
max_buffer_size: 300
labels: {type: syslog, place: hall}
---
source: file
mode: tail
filename: %s
unique_id: b8
log_level: warning
labels: {type: syslog}
---
filename: %s
mode: server
use_time_machine: true
transform: evt.Line.Raw[2:]
labels: {type: syslog}
---
filename: /twice
unique_id: b8
labels: {type: syslog}
`, log("a"), log("b"), log("c"))
	if err := os.WriteFile(acquis, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		appendTo(t, log(name), "")
	}
	env, _ := testEnv()
	r := Reading{Acquis: acquis}
	list, faults, err := r.inputs(env, config.Agent{AcquisitionPath: acquis})
	if err != nil || len(list) != 3 || len(faults) != 1 || !strings.Contains(faults[0].Error(), `acquis.yaml:22: unique_id: "b8" is that of `) {
		t.Fatalf("%d inputs, %v, %v", len(list), faults, err)
	}
	lapi := &fakeLAPI{}
	a := start(t, Config{DataDir: filepath.Join(dir, "data"), LAPI: lapi, Content: starter, Inputs: list})
	line := sshFailure(1)
	appendTo(t, log("a"), strings.Repeat("x", 400)+"\n"+line)
	appendTo(t, log("b"), strings.Repeat("x", 2<<20)+"\n")
	// Old lines are an attack by the clock of the log only.
	old := time.Now().Add(-30 * 24 * time.Hour)
	for n := range 7 {
		appendTo(t, log("c"), "> "+strings.Replace(line, line[:len(time.Stamp)], old.Add(time.Duration(n)*time.Second).Format(time.Stamp), 1))
	}
	eventually(t, "an alert arrives", func() bool { return len(lapi.stored()) == 1 })
	eventually(t, "all lines are read", func() bool { return a.agent.lines.Load() == 10 })
	a.end()
	out := a.text()
	for _, want := range []string{
		`level=DEBUG msg="lines were read" source="the front" lines=`, // whatever the level of all is
		`longer than 300 bytes`, `name="the front"`, `longer than 1048576 bytes and are cut" name=b8`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
	if strings.Count(out, "lines were read") > strings.Count(out, `lines were read" source="the front"`) {
		t.Errorf("a level is for others, too:\n%s", out)
	}
	var w metric.Writer
	a.agent.sources.Metrics(t.Context(), &w)
	for _, want := range []string{`source="the front"`, `source="b8"`} {
		if !strings.Contains(string(w.Bytes()), "cs_source_cut_total{"+want) {
			t.Errorf("%s is missing:\n%s", want, w.Bytes())
		}
	}
}

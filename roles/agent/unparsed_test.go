package agent

import (
	"slices"
	"testing"
	"time"

	"cs/pipeline"
)

// TestUnparsed: a source that was understood and no longer is raises one alarm, until a line
// is understood again.
func TestUnparsed(t *testing.T) {
	var u unparsed
	now := time.Unix(1_700_000_000, 0)
	var lines, parsed uint64
	check := func(more, understood uint64, after time.Duration) (int, []string) {
		lines, parsed, now = lines+more, parsed+understood, now.Add(after)
		alarms, names := u.check([]pipeline.Traffic{
			{Source: "log", Module: "file", Type: "x", Lines: lines, Parsed: parsed},
			{Source: "never", Module: "file", Type: "y", Lines: 10 * lines},
			{Source: "", Module: "", Lines: 1e6},
		}, now)
		return len(alarms), names
	}
	for i, step := range []struct {
		lines, parsed uint64
		after         time.Duration
		alarms        int
		silent        bool
	}{
		{100, 90, time.Minute, 0, false},
		{1000, 0, time.Minute, 0, false},  // for how long?
		{1, 0, 10 * time.Minute, 1, true}, // long enough
		{500, 0, time.Hour, 0, true},      // said once
		{10, 1, time.Minute, 0, false},    // understood again
		{100, 0, time.Hour, 0, false},     // few lines
		{100, 0, time.Minute, 1, true},    // enough of them
	} {
		alarms, names := check(step.lines, step.parsed, step.after)
		if alarms != step.alarms || slices.Contains(names, "log") != step.silent || slices.Contains(names, "never") {
			t.Errorf("step %d: %d alarms, %v", i, alarms, names)
		}
	}
	if _, names := u.check(nil, now); len(names) > 0 || len(u.by) > 0 {
		t.Error("what is gone is remembered")
	}
}

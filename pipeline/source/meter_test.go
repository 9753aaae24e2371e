package source

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"cs/pipeline/event"
	"cs/platform/metric"
)

// fixed delivers batches.
type fixed struct{ batches [][]event.Line }

func (*fixed) Name() string { return "fixed" }

func (f *fixed) Run(ctx context.Context, out Sink) error {
	for _, b := range f.batches {
		if err := out(ctx, b, Nowhere); err != nil {
			return err
		}
	}
	return nil
}

func TestMeters(t *testing.T) {
	var ms Meters
	m := ms.New("syslog", "fw")
	gone := ms.New("file", "x")
	ms.Drop(gone)
	src := Metered(&fixed{[][]event.Line{{{Src: "a"}, {Src: "a"}, {Src: "b"}}, {{Src: "b"}, {Src: "a"}}}}, m, nil)
	got := 0
	err := src.Run(t.Context(), func(_ context.Context, batch []event.Line, _ func()) error {
		got += len(batch)
		return nil
	})
	if err != nil || got != 5 {
		t.Fatalf("%d lines, %v", got, err)
	}
	m.Parsed.Add("a\x00rfc3164", 2)
	m.Dropped.Add(7)
	m.SetBehind(3 * time.Second)
	var w metric.Writer
	ms.Metrics(t.Context(), &w)
	text := string(w.Bytes())
	for _, want := range []string{
		`cs_syslogsource_hits_total{source="a",datasource_type="syslog",acquis_type="fw"} 3`,
		`cs_syslogsource_hits_total{source="b",datasource_type="syslog",acquis_type="fw"} 2`,
		`cs_syslogsource_parsed_total{source="a",type="rfc3164",datasource_type="syslog",acquis_type="fw"} 2`,
		`cs_source_dropped_total{source="fixed",datasource_type="syslog",acquis_type="fw"} 7`,
		`cs_source_lag_seconds{source="fixed",datasource_type="syslog",acquis_type="fw"} 3`,
		`cs_source_silent{source="fixed",datasource_type="syslog",acquis_type="fw"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, "cs_filesource") {
		t.Error("the dropped meter is still there")
	}
	full := errors.New("full")
	if err := src.Run(t.Context(), func(context.Context, []event.Line, func()) error { return full }); err != full {
		t.Errorf("got %v", err)
	}
}

// TestCountsAreBounded: names may be chosen by an attacker.
func TestCountsAreBounded(t *testing.T) {
	var c Counts
	buf := []byte("00000")
	for i := range 3 * maxCounts {
		copy(buf, fmt.Sprintf("%05d", i))
		c.Add(unsafe.String(unsafe.SliceData(buf), len(buf)), 1)
	}
	n, other := 0, int64(0)
	c.Each(func(name string, hits int64) {
		n++
		if name == otherName {
			other = hits
		}
	})
	if n != maxCounts+1 || other != 2*maxCounts {
		t.Errorf("%d names, %d others", n, other)
	}
	if got := testing.AllocsPerRun(100, func() { c.Add("00001", 1); c.Add("00002", 1) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func TestSilence(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var s silence
	f := func(after time.Duration, want bool) {
		t.Helper()
		err := s.check("x", now.Add(after))
		if (err != nil) != want {
			t.Errorf("after %v: %v", after, err)
		}
	}
	f(240*time.Hour, false) // it never spoke
	for range 30 {
		now = now.Add(time.Minute)
		s.heard(now)
	}
	f(240*time.Hour, false) // it has not spoken for long enough
	for range 60 {
		now = now.Add(time.Minute)
		s.heard(now)
	}
	f(14*time.Minute, false)
	f(16*time.Minute, true)
	f(17*time.Minute, false) // said once
	if !s.alarmed.Load() {
		t.Error("no alarm")
	}
	now = now.Add(8 * time.Hour) // a night
	s.heard(now)
	if s.alarmed.Load() {
		t.Error("the alarm stays")
	}
	f(30*time.Hour, false)
	f(33*time.Hour, true)
	for range 100 { // nights become shorter
		for range 48 {
			now = now.Add(30 * time.Minute)
			s.heard(now)
		}
	}
	f(119*time.Minute, false)
	f(121*time.Minute, true)
}

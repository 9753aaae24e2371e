package bouncer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"cs/remediate"
)

// TestReports: counts are differences, also over a reset of the counters and
// after reports that did not arrive.
func TestReports(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var counters []remediate.Counter
	m := meter{started: now, last: now, primed: true, count: func(context.Context) ([]remediate.Counter, error) { return counters, nil }}
	f := func(want string, err error, list ...remediate.Counter) {
		t.Helper()
		now, counters = now.Add(time.Minute), list
		if err := m.read(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := m.component("v", map[string]remediate.Census{"CAPI": {IPv4: 3}}, now)
		var items []string
		for _, i := range c.Metrics[0].Items {
			items = append(items, fmt.Sprintf("%s%s=%v%s", i.Name, i.Labels["origin"], i.Value, i.Unit[:1]))
		}
		if got := fmt.Sprint(c.Metrics[0].Meta.Length, "s ", strings.Join(items, " ")); got != want {
			t.Fatalf("reported %q; want %q", got, want)
		}
		if err == nil {
			m.told(maps.Clone(m.total), now)
		}
	}
	f("60s active_decisionsCAPI=3i processed=90b processed=9p droppedCAPI=10b droppedCAPI=2p", nil, remediate.Counter{Origin: "CAPI", Packets: 2, Bytes: 10}, remediate.Counter{Origin: "", Packets: 9, Bytes: 90})
	f("60s active_decisionsCAPI=3i droppedCAPI=5b droppedCAPI=1p", errors.New("lost"), remediate.Counter{Origin: "CAPI", Packets: 3, Bytes: 15}, remediate.Counter{Origin: "", Packets: 9, Bytes: 90})
	f("120s active_decisionsCAPI=3i droppedCAPI=9b droppedCAPI=2p", nil, remediate.Counter{Origin: "CAPI", Packets: 1, Bytes: 4}) // made anew
	f("60s active_decisionsCAPI=3i", nil, remediate.Counter{Origin: "CAPI", Packets: 1, Bytes: 4})

	// What an earlier process has left in the kernel is not ours to report.
	m = meter{started: now, last: now, count: m.count}
	f("60s active_decisionsCAPI=3i", nil, remediate.Counter{Origin: "CAPI", Packets: 100, Bytes: 400})
	f("60s active_decisionsCAPI=3i droppedCAPI=4b droppedCAPI=1p", nil, remediate.Counter{Origin: "CAPI", Packets: 101, Bytes: 404})
}

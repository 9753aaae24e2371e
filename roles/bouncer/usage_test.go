package bouncer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cs/remediate"
	"cs/roles/api"
)

// TestReports: counts are differences, also over a reset of the counters and
// after reports that did not arrive.
func TestReports(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var counters []remediate.Counter
	var lost error
	var got string
	count := func(context.Context) ([]remediate.Counter, error) { return counters, nil }
	m := meter{started: now, last: now, count: count, Usage: Usage{
		Report: func(_ context.Context, c api.ComponentMetrics) error {
			var list []string
			for _, i := range c.Metrics[0].Items {
				list = append(list, fmt.Sprintf("%s%s=%v%s", i.Name, i.Labels["origin"], i.Value, i.Unit[:1]))
			}
			got = fmt.Sprint(c.Metrics[0].Meta.Length, "s ", strings.Join(list, " "))
			return lost
		},
	}}
	f := func(want string, err error, list ...remediate.Counter) {
		t.Helper()
		now, counters, lost = now.Add(time.Minute), list, err
		rerr := m.report(t.Context(), map[string]remediate.Census{"CAPI": {IPv4: 3}}, now)
		if got != want || !errors.Is(rerr, err) {
			t.Fatalf("reported %q, %v; want %q", got, rerr, want)
		}
	}
	f("60s active_decisionsCAPI=3i droppedCAPI=10b droppedCAPI=2p processed=90b processed=9p", nil, remediate.Counter{Name: "CAPI", Packets: 2, Bytes: 10}, remediate.Counter{Name: "processed-ipv4", Packets: 9, Bytes: 90})
	f("60s active_decisionsCAPI=3i droppedCAPI=5b droppedCAPI=1p", errors.New("lost"), remediate.Counter{Name: "CAPI", Packets: 3, Bytes: 15}, remediate.Counter{Name: "processed-ipv4", Packets: 9, Bytes: 90})
	f("120s active_decisionsCAPI=3i droppedCAPI=9b droppedCAPI=2p", nil, remediate.Counter{Name: "CAPI", Packets: 1, Bytes: 4}) // made anew
	f("60s active_decisionsCAPI=3i", nil, remediate.Counter{Name: "CAPI", Packets: 1, Bytes: 4})
}

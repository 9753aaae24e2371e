package enrich

import (
	"math/rand"
	"strings"
	"testing"
	"time"
)

// A Dates that has seen other dates gives what the layouts give.
func TestRecentEqualsSlow(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	forms := []string{"02/Jan/2006:15:04:05 -0700", "Jan _2 15:04:05", "2006-01-02 15:04:05", "2006/01/02 15:04:05", "2006-01-02T15:04:05",
		time.RFC3339, "2006-01-02T15:04:05.000000000Z07:00", "2006-01-02T15:04:05.000Z07:00", "02-Jan-2006 15:04:05 europe/paris"}
	zones := []*time.Location{time.UTC, time.FixedZone("", 7200), time.FixedZone("", -12600)}
	var ds Dates
	remembered := 0
	at := time.Date(2026, 2, 28, 23, 58, 50, 0, time.UTC)
	form, zone := forms[0], zones[0]
	for i := range 200_000 {
		at = at.Add(time.Duration(rng.Intn(2500)-900) * time.Millisecond)
		if rng.Intn(20) == 0 {
			at = at.Add(time.Duration(rng.Intn(1000)) * time.Hour)
		}
		if rng.Intn(10) == 0 {
			form, zone = forms[rng.Intn(len(forms))], zones[rng.Intn(len(zones))]
		}
		text := at.In(zone).Format(form)
		switch rng.Intn(40) {
		case 0:
			text = strings.Replace(text, ":0", ":6", 1)
		case 1:
			b := []byte(text)
			b[rng.Intn(len(b))] = "0123456789:/ x"[rng.Intn(14)]
			text = string(b)
		}
		now := at.AddDate(rng.Intn(2), 0, 0)
		got, ok := ds.Parse(text, "", now)
		want, wantOK := slow(text, "", now.UTC().Year())
		if ok != wantOK || ok && (!got.Time.Equal(want.Time) || got.Offset != want.Offset) {
			t.Fatalf("step %d, %q: %v %v, want %v %v", i, text, got, ok, want, wantOK)
		}
		if !ok {
			continue
		}
		if a, b := string(ds.Append(nil, got)), string(want.AppendText(nil)); a != b {
			t.Fatalf("step %d, %q becomes %s, want %s", i, text, a, b)
		}
		if ds.recent.nmade > 0 && ds.recent.of != got {
			remembered++
		}
	}
	if remembered < 10_000 {
		t.Errorf("only %d of the dates were remembered", remembered)
	}
}

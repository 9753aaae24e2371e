package bolt

import (
	"path/filepath"
	"strings"
	"testing"

	"cs/decisions"
	"cs/storage"
)

// TestLongAlertsAreNotInMemoryTogether: a page of a walk is short where alerts have
// much to tell.
func TestLongAlertsAreNotInMemoryTogether(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "cs.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	alerts := make([]decisions.Alert, alertPage)
	for i := range alerts {
		alerts[i].Events = []decisions.Event{{Meta: []decisions.KeyValue{{Key: "k", Value: strings.Repeat("v", alertPageBytes/8)}}}}
	}
	if _, err := s.AddAlerts(t.Context(), alerts); err != nil {
		t.Fatal(err)
	}
	w := alertWalk{filter: storage.AlertFilter{}, names: make(names)}
	if err := s.read(t.Context(), w.read); err != nil || len(w.page) != 8 {
		t.Fatalf("a page has %d alerts: %v", len(w.page), err)
	}
	n := 0
	if err := s.EachAlert(t.Context(), storage.AlertFilter{}, func(*decisions.Alert) bool { n++; return true }); err != nil || n != alertPage {
		t.Fatal(n, err)
	}
}

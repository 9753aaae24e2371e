package agent

import (
	"testing"

	"cs/pipeline/hub"
)

// TestHubItems: a report tells collections as well, of which the engine needs nothing.
func TestHubItems(t *testing.T) {
	got := hubItems(hub.Content{
		Items:       []hub.Item{{Kind: hub.Scenario, Name: "a/s", Hash: "00", Version: "0.1"}},
		Collections: []hub.Item{{Kind: hub.Collection, Name: "a/c", Hash: "00", Version: "?"}},
	})
	if c, s := got["collections"], got["scenarios"]; len(c) != 1 || c[0].Name != "a/c" || c[0].Status != "tainted" || len(s) != 1 || s[0].Status != "official" {
		t.Errorf("got %+v", got)
	}
}

package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestSkew(t *testing.T) {
	var text bytes.Buffer
	now := time.Unix(1_800_000_000, 0)
	s := &skew{log: slog.New(slog.NewTextHandler(&text, nil)), now: func() time.Time { return now }}
	f := func(ahead time.Duration, want string) {
		t.Helper()
		text.Reset()
		s.heard(now.Add(-ahead))
		if got := text.String(); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%v: got %q, want %q", ahead, got, want)
		}
	}
	f(0, "")
	f(20*time.Second, "")
	f(time.Hour, "ahead_of_the_lapi=1h0m0s")
	f(time.Hour, "") // once
	f(29*time.Second, "")
	f(31*time.Second, "")
	f(time.Second, "agree again")
	f(-time.Minute, "ahead_of_the_lapi=-1m0s")
}

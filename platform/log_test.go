package platform

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"regexp"
	"testing"
)

// TestLogHandler: a logger goes on in another place and form, with what was
// added to it, and levels have CrowdSec's names.
func TestLogHandler(t *testing.T) {
	var level slog.LevelVar
	var first, second bytes.Buffer
	h := NewLogHandler(&first, &level)
	log := slog.New(h).With("role", "agent").WithGroup("g")
	log.Warn("one", "k", 1)
	log.Debug("nothing")
	h.To(&second, true)
	level.Set(slog.LevelDebug)
	log.Debug("two", "level", "mine")
	log.Error("three")
	if h.Is(&first) || !h.Is(&second) {
		t.Error("it doesn't know where it writes to")
	}
	expect := func(got, want string) {
		t.Helper()
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	expect(first.String(), `^time=\S+ level=warning msg=one role=agent g.k=1\n$`)
	expect(second.String(), `^\{"time":"[^"]+","level":"debug","msg":"two","role":"agent","g":\{"level":"mine"\}\}\n`+
		`\{"time":"[^"]+","level":"error","msg":"three","role":"agent"\}\n$`)

	h.To(&LogFile{Path: filepath.Join(t.TempDir(), "a.log"), Else: &first}, false)
	log.Info("four")
	if first.Len() == 0 || bytes.Contains(first.Bytes(), []byte("four")) || bytes.Contains(second.Bytes(), []byte("four")) {
		t.Errorf("the line went to %q and %q", first.String(), second.String())
	}
}

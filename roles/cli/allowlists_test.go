package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cs/storage/bolt"
)

// story runs command lines one after another on one data directory, without a
// LAPI, and returns all that they show.
func story(t *testing.T, dir string, lines string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(lines) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		command, stdin, _ := strings.Cut(line, " < ")
		r := run(t, dir, strings.ReplaceAll(stdin, ";", "\n"), strings.Fields(command)...)
		b.WriteString("$ " + line + "\n" + r.stdout)
		if r.stderr != "" {
			b.WriteString("! " + strings.ReplaceAll(strings.TrimSuffix(r.stderr, "\n"), "\n", "\n! ") + "\n")
		}
		if r.code != 0 {
			b.WriteString("(exit code 1)\n")
		}
	}
	return strings.ReplaceAll(b.String(), dir, "DIR")
}

// TestAllowlists is the life of an allowlist, with all outputs.
func TestAllowlists(t *testing.T) {
	golden(t, "story_allowlists", story(t, t.TempDir(), `
		allowlists create office
		allowlists create office -d desc
		allowlists create office -d desc
		decisions add -i 192.0.2.7 -R test
		decisions add -r 198.51.100.0/24 -R test
		allowlists add office 192.0.2.0/24 2001:db8::1 nonsense -e 1d -d com
		allowlists add office 192.0.2.0/24
		allowlists add nowhere 1.1.1.1
		allowlists add office
		decisions list -o raw
		decisions add -i 192.0.2.9
		decisions add -i 192.0.2.9 -B
		decisions import -i - --format values < 192.0.2.10;203.0.113.5
		allowlists import office -i - < value,expiration,comment;198.51.100.7,,"a, b";10.0.0.0/8,90m,
		allowlists import office -i - < value,expiration;1.1.1.1,soon
		allowlists import office -i - < expiration,value;1d,
		allowlists import office -i - < value
		allowlist list
		allowlists list -o json
		allowlists list -o raw
		allowlists inspect office
		allowlists inspect office -o json
		allowlists inspect office -o raw
		allowlists inspect nowhere
		allowlists check 192.0.2.1 9.9.9.9 198.51.100.0/24
		allowlists check nonsense
		allowlists remove office 192.0.2.0/24 1.2.3.4
		allowlists remove office 1.2.3.4
		allowlists remove nowhere 1.2.3.4
		allowlists check 192.0.2.1
		allowlists delete office
		allowlists delete office
		allowlists list
		allowlists list -o json
	`))
}

// TestRecordedAllowlist compares the pages about a list with those of upstream.
func TestRecordedAllowlist(t *testing.T) {
	shown := recorded(t, "06-cscli-lists-console.txt")
	dir := t.TempDir()
	story(t, dir, "allowlists create l1 -d desc\n allowlists add l1 1.1.1.1 192.0.2.0/24 -e 1d -d com")
	times := strings.NewReplacer("2026-11-22T11:36:28.197Z", "T", "2026-11-22T11:36:28.230Z", "T", "2026-11-22T11:36:28.229Z", "T", "2026-11-22T11:36:28Z", "t",
		"2026-11-23T11:36:28.229Z", "E", "2026-11-22T11:38:44.500Z", "T", "2026-11-22T11:38:44Z", "t", "2026-11-23T11:38:44.500Z", "E")
	for _, command := range []string{"allowlists list -o human", "allowlists list -o json", "allowlists list -o raw"} {
		got := run(t, dir, "", strings.Fields(command)...).stdout
		if diff := cmp.Diff(times.Replace(shown[command]), times.Replace(got)); diff != "" {
			t.Errorf("%s (-recorded +ours):\n%s", command, diff)
		}
	}
}

// TestPrune deletes accounts, after asking or not.
func TestPrune(t *testing.T) {
	dir := fixed(t).serve(t)
	golden(t, "story_prune", story(t, dir, `
		machines prune < n
		machines prune -d 30d --not-validated-only --force
		machines prune -d 1m < n
		machines prune -d 10m < yes
		bouncers prune -d 1s < n
		bouncers prune < y
		bouncers prune --force -d 4m
		bouncers prune -d 100d
		alerts flush --max-items x
	`))
}

// TestWithoutAnyLAPI lets the commands about decisions and alerts work on the
// store itself.
func TestWithoutAnyLAPI(t *testing.T) {
	dir := t.TempDir()
	golden(t, "story_store", story(t, dir, `
		decisions list
		lapi status
		alerts flush
		bouncers add fw -k abc
		decisions add -i 192.0.2.7 -d 1h -R test
		decisions add --scope country -v FR -t captcha -R why
		decisions list -o raw
		alerts list -o raw
		alerts delete --id 1
		decisions delete -v FR
		decisions list
		alerts flush --max-items 0
		alerts list
		machines prune --force -d 0s
		bouncers prune --force -d 0s
		bouncers prune --force -d 0s
	`))
}

// TestRepair saves what can be read of a damaged store.
func TestRepair(t *testing.T) {
	dir := t.TempDir()
	story(t, dir, "bouncers add fw -k abc\n decisions add -i 192.0.2.7 -d 1h -R test")
	golden(t, "story_repair", story(t, dir, "lapi repair\n bouncers list -o raw\n decisions list -o raw"))
	path := filepath.Join(dir, "cs.db")
	if err := os.WriteFile(path, []byte("this is no store"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(t, dir, "", "bouncers", "list"); r.code != 1 || !strings.Contains(r.stderr, "run 'cs lapi repair'") {
		t.Errorf("%+v", r)
	}
	if r := run(t, dir, "", "lapi", "repair"); r.code != 1 || !strings.Contains(r.stderr, "nothing in it can be read") {
		t.Errorf("%+v", r)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if r := run(t, dir, "", "lapi", "repair"); r.code != 1 || !strings.Contains(r.stderr, "stop the program first") {
		t.Errorf("%+v", r)
	}
}

func FuzzParseAllowed(f *testing.F) {
	f.Add([]byte("value,expiration,comment\n1.1.1.1,1d,x\n"))
	f.Add([]byte("\xef\xbb\xbfvalue\n\"\n"))
	f.Add([]byte("comment,value\n,\n"))
	s := &session{now: func() time.Time { return testNow }}
	f.Fuzz(func(t *testing.T, text []byte) {
		items, err := s.parseAllowed(text)
		if (err == nil) != (len(items) > 0) {
			t.Fatalf("%d items, %v", len(items), err)
		}
		for _, i := range items {
			if i.Value == "" {
				t.Fatal("an item without a value")
			}
		}
	})
}

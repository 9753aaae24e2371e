package agent

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cs/platform"
)

func mustOpen(t testing.TB, dir string, limit int64) *spool {
	t.Helper()
	s, err := openSpool(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// abandon does what the end of a process does.
func (s *spool) abandon() {
	s.w.Close()
	s.lock.Close()
}

func payloads(t testing.TB, s *spool) (list []string) {
	t.Helper()
	frames, err := s.peek(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	for _, fr := range frames {
		list = append(list, string(fr.payload))
	}
	return list
}

func mustAppend(t testing.TB, s *spool, text ...string) {
	t.Helper()
	var frames []frame
	for _, p := range text {
		frames = append(frames, frame{kind: kindAlert, payload: []byte(p)})
	}
	if err := s.append(append(frames, frame{kind: kindMoves, payload: []byte("moves")})...); err != nil {
		t.Fatal(err)
	}
}

func TestSpoolDropsOldest(t *testing.T) {
	dir := t.TempDir()
	const limit = 16 << 10
	s := mustOpen(t, dir, limit)
	var all []string
	for i := range 200 {
		text := fmt.Sprint(i, strings.Repeat(" padding", 50))
		all = append(all, text)
		mustAppend(t, s, text)
	}
	left := payloads(t, s)
	if len(left) == 0 || !slices.Equal(left, all[len(all)-len(left):]) {
		t.Fatalf("%d are left, but not the newest", len(left))
	}
	if n := s.takeDropped(); n != len(all)-len(left) {
		t.Fatalf("%d dropped, %d counted", len(all)-len(left), n)
	}
	if n := s.pending(); n != len(left) {
		t.Fatalf("%d are left, %d counted", len(left), n)
	}
	size := int64(0)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += fi.Size()
	}
	if size > limit || size < limit/2 {
		t.Fatalf("the spool has %d bytes, the limit is %d", size, limit)
	}
	if _, err := openSpool(dir, limit); !errors.Is(err, platform.ErrLocked) {
		t.Fatalf("two have it open: %v", err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if got := payloads(t, mustOpen(t, dir, limit)); !slices.Equal(got, left) {
		t.Fatal("after opening it again the spool holds something else")
	}
}

// TestSpoolModel compares the spool with a slice over random operations, with the process
// ending, well or not, in between.
func TestSpoolModel(t *testing.T) {
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		dir := t.TempDir()
		s := mustOpen(t, dir, 1<<20)
		s.limit = parts * 500 // small segments, but room for all
		var want []string
		next := 0
		for range 120 {
			switch rnd.IntN(6) {
			case 0, 1:
				var text []string
				for range 1 + rnd.IntN(3) {
					next++
					text = append(text, strconv.Itoa(next)+strings.Repeat("x", rnd.IntN(200)))
				}
				s.limit = 1 << 20
				mustAppend(t, s, text...)
				s.limit = parts * 500
				want = append(want, text...)
				if rnd.IntN(3) == 0 {
					if err := s.roll(); err != nil {
						t.Fatal(err)
					}
				}
			case 2, 3:
				frames, err := s.peek(1 + rnd.IntN(5))
				if err != nil {
					t.Fatal(err)
				}
				if len(frames) == 0 {
					continue
				}
				if err := s.settle(frames[len(frames)-1].end); err != nil {
					t.Fatal(err)
				}
				want = want[len(frames):]
			case 4:
				if err := s.trim(); err != nil {
					t.Fatal(err)
				}
			case 5:
				if rnd.IntN(2) == 0 {
					if err := s.close(); err != nil {
						t.Fatal(err)
					}
				} else {
					s.abandon()
				}
				s = mustOpen(t, dir, 1<<20)
			}
			if got := payloads(t, s); !slices.Equal(got, want) {
				t.Fatalf("seed %d: got %q, want %q", seed, got, want)
			}
			if got := s.pending(); got != len(want) {
				t.Fatalf("seed %d: %d counted, %d there", seed, got, len(want))
			}
		}
	}
}

// TestSpoolDamage: what a power cut, or a kill in the middle of a write, leaves behind costs
// no more than itself, and nothing of it stays: alerts without the positions that belong
// to them would come again when their lines are read again.
func TestSpoolDamage(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, 1<<20)
	mustAppend(t, s, "one")
	mustAppend(t, s, "two")
	size := s.last().size
	mustAppend(t, s, "three", "four")
	whole, err := os.ReadFile(s.path(1))
	if err != nil {
		t.Fatal(err)
	}
	s.close()
	for cut := int(size); cut < len(whole); cut++ {
		if err := os.WriteFile(s.path(1), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir, 1<<20)
		want := []string{"one", "two"}
		if got := payloads(t, s); !slices.Equal(got, want) || s.pending() != len(want) {
			t.Fatalf("cut at %d: got %q, %d waiting", cut, got, s.pending())
		}
		mustAppend(t, s, "five")
		if got := payloads(t, s); !slices.Equal(got, append(want, "five")) {
			t.Fatalf("cut at %d, then appended: got %q", cut, got)
		}
		s.close()
	}
}

// TestHalfAFrameIsCut: what a full disk left of a frame doesn't end the segment.
func TestHalfAFrameIsCut(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, 1<<20)
	cutHalf := func() {
		t.Helper()
		if _, err := s.w.WriteString("\x20\x00\x00\x00half"); err != nil {
			t.Fatal(err)
		}
		if err := s.cut(); err != nil {
			t.Fatal(err)
		}
	}
	mustAppend(t, s, "one")
	cutHalf()
	mustAppend(t, s, "two")
	if err := s.roll(); err != nil {
		t.Fatal(err)
	}
	cutHalf()
	mustAppend(t, s, "three")
	s.abandon()
	s = mustOpen(t, dir, 1<<20)
	defer s.close()
	if got := payloads(t, s); !slices.Equal(got, []string{"one", "two", "three"}) || s.damaged != 0 {
		t.Fatalf("got %q, %d bytes damaged", got, s.damaged)
	}
}

func FuzzSpool(f *testing.F) {
	dir := f.TempDir()
	s := mustOpen(f, dir, 1<<20)
	mustAppend(f, s, "one", "two")
	good, err := os.ReadFile(s.path(1))
	if err != nil {
		f.Fatal(err)
	}
	s.close()
	f.Add(good, []byte("twenty bytes of done"))
	f.Add(good[:len(good)-3], []byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 100), []byte{1})
	f.Fuzz(func(t *testing.T, segment, done []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "1.seg"), segment, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, doneName), done, 0o600); err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, dir, 1<<20)
		before := payloads(t, s)
		mustAppend(t, s, "more")
		if got := payloads(t, s); !slices.Equal(got, append(before, "more")) {
			t.Fatalf("got %q, want %q and more", got, before)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir, 1<<20)
		if s.damaged != 0 {
			t.Fatalf("%d bytes are damaged after a repair", s.damaged)
		}
		if got := payloads(t, s); !slices.Equal(got, append(before, "more")) {
			t.Fatalf("opened again: got %q, want %q and more", got, before)
		}
		s.close()
	})
}

// TestKilled kills a process that spools and wants all that it acknowledged.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("CS_TEST_SPOOL"); dir != "" {
		s := mustOpen(t, dir, 16<<20)
		for i := s.pending(); ; i++ {
			mustAppend(t, s, strconv.Itoa(i))
			fmt.Printf("acknowledged %d\n", i)
		}
	}
	dir := t.TempDir()
	last := -1
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "CS_TEST_SPOOL="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		begun := last
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if n, ok := strings.CutPrefix(lines.Text(), "acknowledged "); ok {
				if last, err = strconv.Atoi(n); err != nil {
					t.Fatal(err)
				}
				if last == begun+100 { // it goes on until the signal arrives
					cmd.Process.Kill()
				}
			}
		}
		cmd.Wait()
	}
	s := mustOpen(t, dir, 16<<20)
	defer s.close()
	got := payloads(t, s)
	for i := range last + 1 {
		if i >= len(got) || got[i] != strconv.Itoa(i) {
			t.Fatalf("alert %d was acknowledged and is lost", i)
		}
	}
	t.Logf("%d acknowledged, %d there", last+1, len(got))
}

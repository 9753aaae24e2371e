package source

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"cs/platform"
)

func testPositions(t *testing.T, path string, barrier func() error) *Positions {
	t.Helper()
	p, err := OpenPositions(path, barrier, func() time.Time { return time.Unix(1_700_000_000, 0) })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pos(key string, offset int64) Position {
	return Position{Key: key, File: platform.FileID{Volume: 1, Index: 2}, Offset: offset}
}

func offsets(list []Position) (all []int64) {
	for _, p := range list {
		all = append(all, p.Offset)
	}
	return all
}

func TestPositionsSurvive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	full := errors.New("disk full")
	var stuck error
	p := testPositions(t, path, func() error { return stuck })
	old, cur := p.Track(pos("a", 1)), p.Track(pos("a", 2))
	p.Track(pos("b", 7))
	old.Set(pos("", 10))

	stuck = full
	if err := p.Save(); !errors.Is(err, full) {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Fatal("positions are saved although their alerts are not")
	}
	stuck = nil
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	cur.Set(pos("", 20))

	q := testPositions(t, path, nil)
	if got := offsets(q.Saved("a")); !reflect.DeepEqual(got, []int64{10, 2}) {
		t.Fatalf("got %v", got)
	}
	if got, ok := q.SavedFile("b", platform.FileID{Volume: 1, Index: 2}); !ok || got.Offset != 7 {
		t.Fatalf("got %v, %v", got, ok)
	}
	// Nobody follows b any more, for now; a is gone.
	q.Track(pos("c", 1))
	q.Forget("a")
	if err := q.Save(); err != nil {
		t.Fatal(err)
	}
	r := testPositions(t, path, nil)
	if got := len(r.Saved("a")) + 10*len(r.Saved("b")) + 100*len(r.Saved("c")); got != 110 {
		t.Fatalf("got %d", got)
	}
}

// TestMoves: moves that were kept elsewhere take the place of a Save.
func TestMoves(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	p := testPositions(t, path, nil)
	a, b := p.Track(pos("a", 1)), p.Track(pos("b", 1))
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	a.Set(pos("", 2))
	first := p.Moves()
	b.Set(pos("", 2))
	a.Set(pos("", 3))
	second := p.Moves()
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	a.Set(pos("", 4))
	third := p.Moves()
	if len(first.Positions) != 1 || len(second.Positions) != 2 || len(third.Positions) != 1 {
		t.Fatalf("got %v, %v, %v", first, second, third)
	}

	q := testPositions(t, path, nil)
	for _, m := range []Moves{first, second, third} {
		q.Restore(m)
	}
	if got := append(offsets(q.Saved("a")), offsets(q.Saved("b"))...); !reflect.DeepEqual(got, []int64{4, 2}) {
		t.Fatalf("got %v", got)
	}
}

func TestPositionsAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	p := testPositions(t, path, nil)
	for i := range maxPositions + 10 {
		p.Track(pos("x", int64(i)))
	}
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	if got := len(testPositions(t, path, nil).Saved("x")); got != maxPositions {
		t.Fatalf("%d positions are saved", got)
	}
}

func TestStalePositions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	p := testPositions(t, path, nil)
	p.Track(pos("quiet", 1))
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	later, err := OpenPositions(path, nil, func() time.Time { return time.Unix(1_700_000_000, 0).Add(2 * staleAfter) })
	if err != nil {
		t.Fatal(err)
	}
	later.Track(pos("new", 1))
	if err := later.Save(); err != nil {
		t.Fatal(err)
	}
	if got := testPositions(t, path, nil).Saved("quiet"); len(got) != 0 {
		t.Fatalf("got %v", got)
	}
}

func TestDamagedPositions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	if err := os.WriteFile(path, []byte(`{"version": 1, "positions": [{"key": "a", "offset": -1}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := OpenPositions(path, nil, time.Now)
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "offset -1") {
		t.Fatalf("got %v", err)
	}
	p.Track(pos("a", 1)) // and can be used
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
}

func FuzzPositions(f *testing.F) {
	f.Add([]byte(`{"version":1,"seq":3,"positions":[{"key":"file:x:/log","file":{"volume":1,"index":2},"offset":10,"head_len":5,"head_hash":7,"time":1}]}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"positions":[{"offset":-5}]}`))
	f.Add([]byte("\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, list, err := decodePositions(data); err == nil {
			for _, p := range list {
				if p.Offset < 0 || p.HeadLen < 0 || p.HeadLen > MaxHead {
					t.Fatalf("accepted %+v", p)
				}
			}
		}
		if m, err := DecodeMoves(data); err == nil {
			for _, p := range m.Positions {
				if p.check() != nil {
					t.Fatalf("accepted %+v", p)
				}
			}
		}
	})
}

// TestMovesDuringSave: what moves while the positions are on their way to disk is among the
// moves, whether they get there or not.
func TestMovesDuringSave(t *testing.T) {
	for _, arrives := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "positions")
		var kept []Moves
		var a, b *Mark
		var p *Positions
		inBarrier := func() {}
		p = testPositions(t, path, func() error {
			inBarrier()
			if !arrives {
				return errors.New("killed")
			}
			return nil
		})
		a, b = p.Track(pos("a", 1)), p.Track(pos("b", 1))
		// The alerts of lines before 5 are raised, and not yet put anywhere.
		a.Set(pos("", 5))
		inBarrier = func() {
			kept = append(kept, p.Moves()) // now they are
			b.Set(pos("", 6))
			kept = append(kept, p.Moves())
		}
		if err := p.Save(); (err == nil) != arrives {
			t.Fatal(err)
		}
		b.Set(pos("", 7))
		kept = append(kept, p.Moves())

		q := testPositions(t, path, nil)
		for _, m := range kept {
			q.Restore(m)
		}
		if got := append(offsets(q.Saved("a")), offsets(q.Saved("b"))...); !reflect.DeepEqual(got, []int64{5, 7}) {
			t.Errorf("arrives %v: got %v", arrives, got)
		}
	}
}

// TestMovesOfAnotherFile: a file that was removed has left its inode to the next one.
func TestMovesOfAnotherFile(t *testing.T) {
	p := testPositions(t, filepath.Join(t.TempDir(), "positions"), nil)
	p.Restore(Moves{Positions: []Position{pos("a", 100), pos("a", 1)}})
	if got := offsets(p.Saved("a")); !reflect.DeepEqual(got, []int64{100, 1}) {
		t.Fatalf("got %v", got)
	}
	p.Restore(Moves{Positions: []Position{pos("a", 2)}})
	if got := offsets(p.Saved("a")); !reflect.DeepEqual(got, []int64{100, 2}) {
		t.Fatalf("got %v", got)
	}
	p.Restore(Moves{Positions: []Position{pos("a", 101), pos("a", 3)}})
	if got := offsets(p.Saved("a")); !reflect.DeepEqual(got, []int64{101, 3}) {
		t.Fatalf("got %v", got)
	}
}

// TestMovesOfOneBefore: a new position is restored before the one that it was put before,
// although that one has not moved.
func TestMovesOfOneBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	p := testPositions(t, path, nil)
	a := p.Track(pos("a", 1))
	for range 2 { // and nothing moves in between
		if err := p.Save(); err != nil {
			t.Fatal(err)
		}
		p.dirty = true
	}
	older := pos("a", 7)
	older.File.Index = 3
	p.TrackBefore(older, a)
	q := testPositions(t, path, nil)
	q.Restore(p.Moves())
	if got := offsets(q.Saved("a")); !reflect.DeepEqual(got, []int64{7, 1}) {
		t.Fatalf("got %v", got)
	}
	for _, pos := range q.Saved("a") {
		if pos.Time != 1_700_000_000 {
			t.Errorf("its time is %d", pos.Time)
		}
	}
}

// TestReplace: another process finds either what was left or all that took its place.
func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	p := testPositions(t, path, nil)
	p.Track(pos("a", 1))
	p.Track(pos("b", 2))
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	q := testPositions(t, path, nil)
	marks := q.Replace("a", []Position{pos("", 3), pos("", 4)})
	marks[1].Set(pos("", 5))
	if err := q.Save(); err != nil {
		t.Fatal(err)
	}
	r := testPositions(t, path, nil)
	if got := append(offsets(r.Saved("a")), offsets(r.Saved("b"))...); !reflect.DeepEqual(got, []int64{3, 5, 2}) {
		t.Fatalf("got %v", got)
	}
	if marks := (*Positions)(nil).Replace("a", []Position{pos("", 1)}); len(marks) != 1 || marks[0] != nil {
		t.Errorf("got %v", marks)
	}
}

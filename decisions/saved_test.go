package decisions

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

var savedAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func savedList() []Decision {
	d := func(id int64, scope, value, origin string, left time.Duration) Decision {
		return Decision{
			ID: id, Origin: origin, Scenario: "crowdsecurity/ssh-bf", Scope: scope, Type: "ban",
			Value: value, Created: savedAt.Add(-time.Minute), Until: savedAt.Add(left),
		}
	}
	return []Decision{
		d(1, ScopeIP, "1.2.3.4", "crowdsec", time.Hour),
		d(2, ScopeIP, "1.2.3.4", "CAPI", 24*time.Hour),
		d(3, ScopeRange, "10.0.0.0/8", "cscli", 10*365*24*time.Hour),
		d(5, ScopeRange, "2001:db8::/32", "lists", time.Minute),
		d(4, ScopeIP, "2001:db8::1", "lists", time.Hour),
	}
}

// setOf returns a set of some decisions.
func setOf(list []Decision) *Set {
	s := NewSet(0)
	for _, d := range list {
		s.Upsert(d)
	}
	return s
}

// sorted puts decisions in the order of their IDs.
func sorted(list []Decision) []Decision {
	slices.SortFunc(list, func(a, b Decision) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func TestSavedSetSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "saved")
	want := savedList()
	list := append(savedList(), Decision{ID: 6, Scope: ScopeCountry, Value: "XX", Type: "ban", Until: savedAt.Add(time.Hour)})
	if err := Save(path, setOf(list).AppendSaved(nil, savedAt)); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path, savedAt)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(sorted(want), sorted(got)); diff != "" {
		t.Fatal("the countries should be missing, nothing else:", diff)
	}
	got, err = Load(path, savedAt.Add(time.Minute))
	if err != nil || len(got) != len(want)-1 {
		t.Fatalf("after a minute: %d decisions, %v; want %d", len(got), err, len(want)-1)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read it: %v, %v", info.Mode(), err)
	}
}

func TestSavedSetIsMissing(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "saved"), savedAt); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}

// Every single bit counts, and so does every byte.
func TestSavedSetIsDamaged(t *testing.T) {
	whole := setOf(savedList()).AppendSaved(nil, savedAt)
	for i := range whole {
		for bit := range 8 {
			b := append([]byte(nil), whole...)
			b[i] ^= 1 << bit
			if _, err := parseSaved(b, savedAt); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
		if _, err := parseSaved(whole[:i], savedAt); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := parseSaved(append(whole, 0), savedAt); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("one byte too many: %v", err)
	}
}

func FuzzParseSaved(f *testing.F) {
	f.Add(setOf(savedList()).AppendSaved(nil, savedAt))
	f.Add(setOf(nil).AppendSaved(nil, savedAt))
	f.Add([]byte(savedMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		// As it is, and with a checksum that fits, to get past it.
		if len(b) > 4 {
			_, _ = parseSaved(fixSum(b), savedAt)
		}
		list, err := parseSaved(b, savedAt)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		set := setOf(list) // of several with one ID the last counts
		again, err := parseSaved(set.AppendSaved(nil, savedAt), savedAt)
		if err != nil || len(again) != set.Len() {
			t.Fatalf("%d decisions became %d, %v", set.Len(), len(again), err)
		}
	})
}

func fixSum(b []byte) []byte {
	return appendSum(append([]byte(nil), b[:len(b)-4]...), 0)
}

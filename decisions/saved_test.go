package decisions

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

var savedAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func savedList() []Decision {
	d := func(id int64, scope, value, origin string, left time.Duration) Decision {
		return Decision{
			ID: id, Origin: origin, Scenario: "crowdsecurity/ssh-bf", Scope: scope, Type: "ban",
			Value: value, Until: savedAt.Add(left),
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

// saved returns some decisions as a SavedWriter writes them.
func saved(list []Decision) []byte {
	var b bytes.Buffer
	w := NewSavedWriter(&b)
	numbers := map[SavedKind]int{}
	for _, d := range list {
		k := SavedKind{d.Origin, d.Scenario, d.Type}
		if _, ok := numbers[k]; !ok {
			numbers[k] = len(numbers) % 3 // they are used again
		}
		p, _ := d.Prefix()
		w.Add(numbers[k], &k, p, d.ID, d.Until)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// parseSaved reads it again.
func parseSaved(b []byte, now time.Time) (list []Decision, err error) {
	err = readSaved(bytes.NewReader(b), now, func(part []Decision) error {
		list = append(list, part...)
		return nil
	})
	return list, err
}

// sorted puts decisions in the order of their IDs.
func sorted(list []Decision) []Decision {
	slices.SortFunc(list, func(a, b Decision) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func TestSavedSetSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "saved")
	want := savedList()
	if err := os.WriteFile(path, saved(want), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(now time.Time) (got []Decision) {
		if err := Load(path, now, func(part []Decision) error {
			got = append(got, part...)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if diff := gocmp.Diff(sorted(want), sorted(load(savedAt))); diff != "" {
		t.Fatal(diff)
	}
	if got := load(savedAt.Add(time.Minute)); len(got) != len(want)-1 {
		t.Fatalf("after a minute: %d decisions; want %d", len(got), len(want)-1)
	}
}

// A large one is read in parts, over the ends of blocks.
func TestLargeSavedSet(t *testing.T) {
	var list []Decision
	for i := range 3*savedPart + 5 {
		list = append(list, Decision{
			ID: int64(i)<<40 + 1, Origin: "CAPI", Scenario: strings.Repeat("x", i%7), Scope: ScopeIP, Type: "ban",
			Value: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String(), Until: savedAt.Add(time.Hour),
		})
	}
	got, err := parseSaved(saved(list), savedAt)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(list, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestSavedSetIsMissing(t *testing.T) {
	if err := Load(filepath.Join(t.TempDir(), "saved"), savedAt, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}

// Every single bit counts, and so does every byte.
func TestSavedSetIsDamaged(t *testing.T) {
	whole := saved(savedList())
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
	f.Add(saved(savedList()))
	f.Add(saved(nil))
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
		again, err := parseSaved(saved(list), savedAt)
		if err != nil || len(again) != len(list) {
			t.Fatalf("%d decisions became %d, %v", len(list), len(again), err)
		}
	})
}

func fixSum(b []byte) []byte {
	body := slices.Clone(b[:len(b)-4])
	return binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
}

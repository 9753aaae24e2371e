package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"testing"
	"testing/iotest"
	"time"
)

func namesOf(specs []Spec) (names []string) {
	for i := range specs {
		names = append(names, fmt.Sprint("spec ", i))
	}
	return names
}

// asIs takes records as they are.
func asIs([]byte) (func([]byte) []byte, error) {
	return func(rec []byte) []byte { return rec }, nil
}

func saved(t testing.TB, tab *Table, names []string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tab.Save(&b, []byte("preface"), names); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// restart saves a table and loads it into a new one.
func restart(t testing.TB, tab *Table, specs []Spec, now time.Time) *Table {
	t.Helper()
	to := New(Config{Specs: specs})
	err := to.Load(bytes.NewReader(saved(t, tab, namesOf(specs))), namesOf(specs), now, func(preface []byte) (func([]byte) []byte, error) {
		if string(preface) != "preface" {
			t.Fatalf("preface %q", preface)
		}
		return asIs(nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	check(t, to)
	return to
}

// full returns a table with buckets of all kinds, in both modes.
func full(seed int64, pours int) (*Table, time.Time) {
	tab, r := New(Config{Specs: testSpecs}), rand.New(rand.NewSource(seed))
	var out Overflow
	now := start
	for range pours {
		now += r.Int63n(int64(20 * time.Millisecond))
		p := Pour{
			Spec: r.Intn(len(testSpecs)), Key: tab.Key(fmt.Sprint(r.Intn(60))), Time: now, Replay: r.Intn(10) == 0,
			Record: make([]byte, r.Intn(300)), HasDistinct: r.Intn(3) == 0, Distinct: r.Uint64() % 300,
		}
		if tab.Pour(&p, &out) == Overflowed {
			tab.Silenced(out.Spec, p.Key, out.At, p.Replay)
		}
	}
	return tab, time.Unix(0, now)
}

// Specs may move, change and go: a bucket stays with its name.
func TestLoadIntoOtherSpecs(t *testing.T) {
	a := Spec{Capacity: 3, Leakspeed: time.Minute, Share: 0}
	b := Spec{Capacity: 4, Leakspeed: time.Minute, Share: 1}
	tab := New(Config{Specs: []Spec{a, b, b}})
	var out Overflow
	for spec := range 3 {
		for range 2 {
			tab.Pour(&Pour{Spec: spec, Key: tab.Key("x"), Time: start, Record: []byte{byte(spec)}}, &out)
		}
	}
	state := saved(t, tab, []string{"a", "b", "b"})
	load := func(names []string, specs ...Spec) *Table {
		to := New(Config{Specs: specs})
		if err := to.Load(bytes.NewReader(state), names, time.Unix(0, start), asIs); err != nil {
			t.Fatal(err)
		}
		check(t, to)
		return to
	}
	a.Share, b.Share = 7, 5
	to := load([]string{"new", "b", "a changed"}, Spec{Capacity: 1, Leakspeed: time.Minute}, b, a)
	if st := to.Stats(); st.Buckets != 1 {
		t.Fatalf("%d buckets, want that of b", st.Buckets)
	}
	// specs 1 and 2 share a bucket: 4 events
	if o := to.Pour(&Pour{Spec: 1, Key: to.Key("x"), Time: start, Record: []byte{9}}, &out); o != Overflowed || out.Total != 5 || out.Len() != 5 {
		t.Fatalf("outcome %v of %d events", o, out.Total)
	}
	to = load([]string{"a"}, a)
	to.Pour(&Pour{Key: to.Key("x"), Time: start}, &out)
	if o := to.Pour(&Pour{Key: to.Key("x"), Time: start}, &out); o != Overflowed || out.Total != 4 {
		t.Fatalf("outcome %v of %d events", o, out.Total)
	}
	if err := to.Load(bytes.NewReader(state), []string{"a"}, time.Unix(0, start), asIs); err != nil {
		t.Fatal(err) // it is empty by now
	}
	if err := to.Load(bytes.NewReader(state), []string{"a"}, time.Unix(0, start), asIs); err == nil {
		t.Fatal("loaded into a table with buckets")
	}
}

// What is damaged is not loaded, and what was read before is whole.
func TestLoadDamaged(t *testing.T) {
	tab, now := full(1, 3000)
	state := saved(t, tab, namesOf(testSpecs))
	load := func(b []byte) (int, error) {
		to := New(Config{Specs: testSpecs})
		err := to.Load(bytes.NewReader(b), namesOf(testSpecs), now, asIs)
		check(t, to)
		return to.n, err
	}
	all, err := load(state)
	if err != nil || all < 100 {
		t.Fatalf("%d buckets, %v", all, err)
	}
	r := rand.New(rand.NewSource(1))
	for range 100 {
		n := r.Intn(len(state))
		if got, err := load(state[:n]); !errors.Is(err, ErrState) || got > all {
			t.Fatalf("cut after %d of %d bytes: %d buckets, %v", n, len(state), got, err)
		}
		bad := bytes.Clone(state)
		bad[n] ^= 1 << r.Intn(8)
		if got, err := load(bad); !errors.Is(err, ErrState) || got > all {
			t.Fatalf("byte %d of %d changed: %d buckets, %v", n, len(state), got, err)
		}
	}
	broken := errors.New("broken")
	to := New(Config{Specs: testSpecs})
	if err := to.Load(iotest.ErrReader(broken), nil, now, asIs); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if err := to.Load(bytes.NewReader(state), nil, now, func([]byte) (func([]byte) []byte, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
}

type brokenWriter struct{ left int }

var errFull = errors.New("full")

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestSaveTellsErrors(t *testing.T) {
	tab, _ := full(1, 3000)
	for left := range 20 {
		if err := tab.Save(&brokenWriter{left * 1000}, nil, namesOf(testSpecs)); !errors.Is(err, errFull) {
			t.Fatal(err)
		}
	}
}

// Whatever a state says, the table stays whole and within its bounds.
func FuzzLoad(f *testing.F) {
	tab, now := full(2, 100)
	state := saved(f, tab, namesOf(testSpecs))
	var data []byte // without frames, whose checksums would keep the fuzzer out
	for r := (frameReader{from: bytes.NewReader(state)}); ; {
		part, err := r.next(len(state))
		if err != nil {
			break
		}
		data = append(data, part...)
	}
	f.Add(data)
	f.Add(data[:2000])
	f.Fuzz(func(t *testing.T, data []byte) {
		var b bytes.Buffer
		w := frameWriter{to: &b}
		w.end(bytes.Clone(data))
		to := New(Config{Specs: testSpecs, MaxBuckets: 100, MaxKept: 100 * chunkSize})
		if err := to.Load(&b, namesOf(testSpecs), now, asIs); err != nil && !errors.Is(err, ErrState) {
			t.Fatal(err)
		}
		check(t, to)
		if to.n > 100 {
			t.Fatalf("%d buckets", to.n)
		}
		var out Overflow
		for i := range 200 {
			p := Pour{Spec: i % len(testSpecs), Key: to.Key(fmt.Sprint(i % 60)), Time: now.UnixNano() + int64(i)}
			to.Pour(&p, &out)
		}
		to.Advance(now.Add(1e6*time.Hour), &out, func(Key, *Overflow) {})
		check(t, to)
	})
}

// A hundred thousand buckets with three events each.
func BenchmarkSave(b *testing.B) {
	rec := make([]byte, 250)
	t, keys := filled(100_000, rec)
	var out Overflow
	for range 2 {
		for _, k := range keys {
			t.Pour(&Pour{Key: k, Time: start, Record: rec}, &out)
		}
	}
	var buf bytes.Buffer
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			buf.Reset()
			if err := t.Save(&buf, nil, namesOf(benchSpecs)); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(buf.Len()))
	})
	b.Run("load", func(b *testing.B) {
		b.SetBytes(int64(buf.Len()))
		for b.Loop() {
			to := New(Config{Specs: benchSpecs, MaxKept: 1 << 30})
			if err := to.Load(bytes.NewReader(buf.Bytes()), namesOf(benchSpecs), time.Unix(0, start), asIs); err != nil || to.n != len(keys) {
				b.Fatal(err, to.n)
			}
		}
	})
}

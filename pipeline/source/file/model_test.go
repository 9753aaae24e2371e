package file

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
)

// follower drives a source by hand: a look when the test says so, and a clock
// that moves when the test says so.
type follower struct {
	t     *testing.T
	cfg   Config
	dir   string
	now   time.Time
	src   *Source
	pos   *source.Positions
	got   []string
	modes []event.Mode
	times []time.Time
	errs  []string
}

func newFollower(t *testing.T, cfg Config) *follower {
	f := &follower{t: t, cfg: cfg, dir: t.TempDir(), now: time.Unix(1_700_000_000, 0)}
	for i, g := range f.cfg.Globs {
		f.cfg.Globs[i] = filepath.Join(f.dir, g)
	}
	f.cfg.Report = func(err error) { f.errs = append(f.errs, err.Error()) }
	f.start()
	return f
}

// start begins as a new process does.
func (f *follower) start() {
	f.t.Helper()
	state := filepath.Join(f.t.TempDir(), "positions")
	if f.pos != nil {
		state = f.cfg.Labels["state"]
	}
	f.cfg.Labels = map[string]string{"type": "test", "state": state}
	clock := func() time.Time { return f.now }
	var err error
	if f.pos, err = source.OpenPositions(state, nil, clock); err != nil {
		f.t.Fatal(err)
	}
	f.cfg.Positions = f.pos
	if f.src, err = New(f.cfg); err != nil {
		f.t.Fatal(err)
	}
	f.src.now = clock
}

// stop ends as a process does, in good order or not.
func (f *follower) stop() {
	f.t.Helper()
	if err := f.pos.Save(); err != nil {
		f.t.Fatal(err)
	}
	f.src.close()
}

// look looks until there is nothing more to read, and lets the globs be evaluated.
func (f *follower) look() {
	f.t.Helper()
	f.src.globbed = time.Time{}
	for range 1000 {
		more, err := f.src.look(context.Background(), f.sink)
		if err != nil {
			f.t.Fatal(err)
		}
		if !more {
			return
		}
	}
	f.t.Fatal("there is always more to read")
}

// settle looks until what is rotated has been quiet for long enough.
func (f *follower) settle() {
	f.t.Helper()
	f.look()
	f.now = f.now.Add(quiet)
	f.look()
}

func (f *follower) sink(_ context.Context, batch []event.Line, done func()) error {
	for _, l := range batch {
		f.got = append(f.got, strings.Clone(l.Raw))
		f.modes, f.times = append(f.modes, l.Mode), append(f.times, l.Time)
	}
	done()
	return nil
}

func (f *follower) path(name string) string { return filepath.Join(f.dir, name) }

func (f *follower) write(name, text string) {
	f.t.Helper()
	w, err := os.OpenFile(f.path(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		f.t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.WriteString(text); err != nil {
		f.t.Fatal(err)
	}
}

func (f *follower) rename(from, to string) {
	f.t.Helper()
	if err := os.Rename(f.path(from), f.path(to)); err != nil {
		f.t.Fatal(err)
	}
}

// want compares what was delivered since the last call.
func (f *follower) want(lines ...string) {
	f.t.Helper()
	if !slices.Equal(f.got, lines) {
		f.t.Fatalf("got %q\nwant %q\nreports %q", f.got, lines, f.errs)
	}
	f.got = nil
}

// writer is a program that writes numbered lines to a log which is rotated in
// all ways at random moments. It keeps its file open as programs do.
type writer struct {
	f    *follower
	rnd  *rand.Rand
	w    *os.File
	next int
	want []string
	half string // an unfinished line
	log  []string

	rotations int // by renaming
}

func (w *writer) open() {
	var err error
	w.w, err = os.OpenFile(w.f.path("app.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		w.f.t.Fatal(err)
	}
}

func (w *writer) put(text string) {
	if _, err := w.w.WriteString(text); err != nil {
		w.f.t.Fatal(err)
	}
}

func (w *writer) line() string {
	w.next++
	return fmt.Sprintf("%d %s", w.next, strings.Repeat("x", w.rnd.IntN(60)))
}

// finish completes an unfinished line.
func (w *writer) finish() {
	if w.half != "" {
		w.put(w.half + "\n")
		w.half = ""
	}
}

func (w *writer) append() {
	for range 1 + w.rnd.IntN(5) {
		w.finish()
		l := w.line()
		w.want = append(w.want, l)
		switch w.rnd.IntN(5) {
		case 0:
			n := w.rnd.IntN(len(l))
			w.put(l[:n])
			w.half = l[n:]
			return
		case 1:
			w.put(l + "\r\n")
		default:
			w.put(l + "\n")
		}
	}
}

// shift renames app.log.N to app.log.N+1, as logrotate does.
func (w *writer) shift() {
	for n := 6; n > 0; n-- {
		for _, ending := range []string{"", ".gz"} { // most are not there
			os.Rename(w.f.path(fmt.Sprintf("app.log.%d%s", n, ending)), w.f.path(fmt.Sprintf("app.log.%d%s", n+1, ending)))
		}
	}
}

// compress does so with what is rotated. Of an empty file nothing would be left to know it by.
func (w *writer) compress() {
	for n := range 7 {
		name := fmt.Sprintf("app.log.%d", n+1)
		if fi, err := os.Stat(w.f.path(name)); err == nil && fi.Size() > 0 {
			w.f.pack(name, ".gz")
		}
	}
}

func (w *writer) rotate() {
	w.rotations++
	w.shift()
	w.f.rename("app.log", "app.log.1")
	if w.rnd.IntN(3) == 0 {
		w.f.look() // between rename and reopening
	}
	if w.rnd.IntN(2) == 0 {
		w.append() // still to the old one
	}
	w.finish() // a program writes whole lines to one file
	if w.rnd.IntN(3) == 0 {
		w.f.look()
	}
	w.w.Close()
	w.open()
}

func (w *writer) copytruncate() {
	w.finish()
	w.shift()
	data, err := os.ReadFile(w.f.path("app.log"))
	if err != nil {
		w.f.t.Fatal(err)
	}
	if err := os.WriteFile(w.f.path("app.log.1"), data, 0o644); err != nil {
		w.f.t.Fatal(err)
	}
	if err := w.w.Truncate(0); err != nil {
		w.f.t.Fatal(err)
	}
}

// recreate deletes the log, which has been opened by then, and perhaps rotates the one that
// takes its place at once.
func (w *writer) recreate() {
	w.append()
	w.finish()
	w.f.look()
	w.append()
	w.finish()
	if err := os.Remove(w.f.path("app.log")); err != nil {
		w.f.t.Fatal(err)
	}
	w.w.Close()
	w.open()
	w.append()
	w.finish()
	if w.rotations > 0 && w.rnd.IntN(2) == 0 {
		w.rotate0()
	}
	w.f.look()
}

// storm rotates several times, by renaming and by copying, before anybody looks.
func (w *writer) storm() {
	w.append()
	w.finish()
	w.f.settle()
	for range 2 + w.rnd.IntN(4) {
		w.append()
		w.finish()
		if w.rnd.IntN(2) == 0 {
			w.copytruncate()
		} else {
			w.shift()
			w.f.rename("app.log", "app.log.1")
			w.w.Close()
			w.open()
		}
	}
	if w.rnd.IntN(2) == 0 {
		w.append()
	}
}

// TestEachLineOnce lets a writer and rotations of all kinds run against the
// source with restarts in between, and wants each line once and in order.
func TestEachLineOnce(t *testing.T) {
	runs := 50
	if testing.Short() {
		runs = 12
	}
	for seed := range runs {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { modelRun(t, uint64(seed)) }) {
			return
		}
	}
}

func modelRun(t *testing.T, seed uint64) {
	f := newFollower(t, Config{Globs: []string{"app.log"}, FromStart: true})
	w := &writer{f: f, rnd: rand.New(rand.NewPCG(seed, 1))}
	if seed%3 == 1 { // rotated files match the pattern as well
		f.cfg.Globs = []string{f.path("app.log*")}
		f.start()
	}
	w.open()
	f.look()
	step := func(name string) { w.log = append(w.log, name) }
	for range 60 {
		switch n := w.rnd.IntN(20); {
		case n < 8:
			step("append")
			w.append()
		case n < 12:
			step("look")
			f.look()
		case n < 14:
			step("rotate")
			w.rotate()
		case n < 15:
			// Nothing may be written between the copying and the truncation, and the
			// file must have been seen with something in it.
			step("copytruncate")
			w.append()
			w.finish()
			f.settle()
			w.append()
			w.copytruncate()
			f.look()
		case n < 16 && w.rnd.IntN(2) == 0:
			step("storm")
			w.storm()
			f.look()
		case n < 16 && runtime.GOOS != "windows":
			step("recreate")
			w.recreate()
		case n < 17:
			step("restart")
			f.stop()
			if w.rnd.IntN(2) == 0 {
				w.append()
			}
			if w.rnd.IntN(3) == 0 {
				w.rotate0()
			}
			if w.rnd.IntN(3) == 0 {
				w.compress()
			}
			f.start()
			f.look()
		case n < 18 && w.rnd.IntN(2) == 0:
			step("compress")
			f.settle()
			w.compress()
			f.look()
		default:
			step("wait")
			f.now = f.now.Add(time.Duration(w.rnd.IntN(80)) * time.Second)
			f.look()
		}
	}
	w.finish()
	f.settle()
	f.settle()
	if !slices.Equal(f.got, w.want) {
		for i := range min(len(f.got), len(w.want)) {
			if f.got[i] != w.want[i] {
				t.Errorf("line %d: got %q, want %q", i, f.got[i], w.want[i])
				break
			}
		}
		t.Fatalf("got %d lines, want %d\nsteps %q\nreports %q", len(f.got), len(w.want), w.log, f.errs)
	}
}

// rotate0 rotates while nobody follows, perhaps twice.
func (w *writer) rotate0() {
	for range 1 + w.rnd.IntN(2) {
		w.append()
		w.finish()
		w.shift()
		w.f.rename("app.log", "app.log.1")
		w.w.Close()
		w.open()
		w.append()
	}
}

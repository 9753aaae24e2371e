package file

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
)

// torturer writes numbered lines to a log and rotates it at random moments, by
// methods of its own choice.
type torturer struct {
	dir, path string
	rnd       *rand.Rand
	w         *os.File
	next      int           // number of the next line
	first     int           // of the lines in the current file
	seen      *atomic.Int64 // the highest number that has been delivered
	buf       []byte
	rotations map[string]int
	serial    int
	kept      int           // numbered ones
	up        *sync.RWMutex // held while nobody follows
	deleted   atomic.Int64  // the highest number in a file that was deleted
}

func (w *torturer) open(flags int) error {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY|flags, 0o644)
	w.w = f
	return err
}

// write appends some lines, in one or two parts.
func (w *torturer) write(lines int) error {
	w.buf = w.buf[:0]
	for range lines {
		w.buf = strconv.AppendInt(w.buf, int64(w.next), 10)
		w.buf = append(w.buf, " 192.0.2.7 - - [14/Mar/2026:10:00:00 +0000] GET /index.html HTTP/1.1"[:20+w.rnd.IntN(48)]...)
		w.buf = append(w.buf, '\n')
		w.next++
	}
	at := len(w.buf)
	if w.rnd.IntN(4) == 0 {
		at = w.rnd.IntN(len(w.buf))
	}
	for _, part := range [][]byte{w.buf[:at], w.buf[at:]} {
		if _, err := w.w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// shift renames log.N to log.N+1 as logrotate does. So many are kept that a reader
// who gets no processor for a while still finds them.
func (w *torturer) shift() {
	w.kept = min(w.kept+1, 100)
	for n := w.kept; n > 0; n-- {
		os.Rename(fmt.Sprintf("%s.%d", w.path, n), fmt.Sprintf("%s.%d", w.path, n+1)) // most are not there
	}
}

// rename is what programs that reopen their log have done to them: they write to the
// old one for a moment.
func (w *torturer) rename(to string) error {
	if err := os.Rename(w.path, to); err != nil {
		return err
	}
	old := w.w
	if w.rnd.IntN(2) == 0 {
		if err := w.write(1 + w.rnd.IntN(50)); err != nil {
			return err
		}
		time.Sleep(time.Duration(w.rnd.IntN(2000)) * time.Microsecond)
	}
	old.Close()
	w.first = w.next
	return w.open(os.O_EXCL)
}

func (w *torturer) rotate(method string) error {
	w.rotations[method]++
	switch method {
	case "rename":
		w.shift()
		return w.rename(w.path + ".1")
	case "date":
		w.serial++
		return w.rename(fmt.Sprintf("%s-20260314.%06d", w.path, w.serial))
	case "recreate":
		// What is deleted before anybody opened it is lost to all.
		if !w.up.TryRLock() {
			w.rotations[method]--
			return nil
		}
		defer w.up.RUnlock()
		if w.seen.Load() < int64(w.first) || w.next == w.first {
			w.rotations[method]--
			return nil
		}
		if err := os.Remove(w.path); err != nil {
			return err
		}
		w.w.Close()
		w.deleted.Store(int64(w.next - 1))
		w.first = w.next
		return w.open(os.O_EXCL)
	case "copytruncate":
		w.shift()
		if err := copyFile(w.path, w.path+".1"); err != nil {
			return err
		}
		w.first = w.next
		return w.w.Truncate(0)
	case "swap": // the log is a link to a file of another name each time
		w.serial++
		target := filepath.Join(w.dir, fmt.Sprintf("real-%06d", w.serial))
		f, err := os.OpenFile(target, os.O_CREATE|os.O_APPEND|os.O_WRONLY|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, w.path+".new"); err != nil {
			return err
		}
		if err := os.Rename(w.path+".new", w.path); err != nil {
			return err
		}
		w.w.Close()
		w.w, w.first = f, w.next
		return nil
	}
	panic(method)
}

func copyFile(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = io.Copy(w, r)
	return err
}

// torture is a set of logs, each with a writer that rotates it by some of the methods.
type torture struct {
	kinds   [][]string
	globs   []string
	logs    []*tortured
	writers []*torturer
	begin   time.Time
	up      sync.RWMutex // held while nobody follows
	end     func()       // stops the writers
}

// tortureLength returns for how long to write, and how many lines a second to all logs.
// CS_TORTURE, such as 60s, and CS_TORTURE_RATE say otherwise.
func tortureLength(t *testing.T) (length time.Duration, rate int) {
	if runtime.GOOS == "windows" {
		t.Skip("what is open can't be renamed or deleted by those who write as here")
	}
	length, rate = 3*time.Second, 20_000
	if testing.Short() {
		length = time.Second
	}
	if s := os.Getenv("CS_TORTURE"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
		rate = 100_000
	}
	if s := os.Getenv("CS_TORTURE_RATE"); s != "" {
		var err error
		if rate, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	return length, rate
}

// tortureGlobs returns the paths of n logs below dir.
func tortureGlobs(dir string, n int) (globs []string) {
	for i := range n {
		globs = append(globs, filepath.Join(dir, fmt.Sprint(i), "log"))
	}
	return globs
}

// newTorture makes the logs. Nobody follows yet: up is held.
func newTorture(t *testing.T, dir string, kinds [][]string) *torture {
	o := &torture{kinds: kinds, globs: tortureGlobs(dir, len(kinds))}
	o.up.Lock()
	for i, methods := range kinds {
		if err := os.Mkdir(filepath.Dir(o.globs[i]), 0o755); err != nil {
			t.Fatal(err)
		}
		o.logs = append(o.logs, &tortured{})
		w := &torturer{
			dir: filepath.Dir(o.globs[i]), path: o.globs[i], rnd: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(i))),
			seen: &o.logs[i].highest, rotations: map[string]int{}, up: &o.up,
		}
		w.seen.Store(-1)
		w.deleted.Store(-1)
		o.writers = append(o.writers, w)
		if methods[0] == "swap" {
			if err := os.Symlink(filepath.Join(w.dir, "real-000000"), w.path); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.open(0); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// start starts the writers.
func (o *torture) start(t *testing.T, rate int) {
	o.begin = time.Now()
	stop := make(chan struct{})
	var writers sync.WaitGroup
	o.end = func() { close(stop); writers.Wait() }
	for i, w := range o.writers {
		methods := o.kinds[i]
		writers.Go(func() {
			defer func() { w.w.Close() }()
			turn := time.Now().Add(time.Duration(20+w.rnd.IntN(300)) * time.Millisecond)
			for ; ; time.Sleep(time.Millisecond) {
				select {
				case <-stop:
					return
				default:
				}
				due := int(time.Since(o.begin).Seconds()*float64(rate)/float64(len(o.kinds))) - w.next
				if due > 0 {
					if err := w.write(min(due, 5000)); err != nil {
						t.Error(err)
						return
					}
				}
				if time.Now().After(turn) {
					turn = time.Now().Add(time.Duration(20+w.rnd.IntN(300)) * time.Millisecond)
					if err := w.rotate(methods[w.rnd.IntN(len(methods))]); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
}

// missing counts the lines that did not arrive. The writers must have ended.
func (o *torture) missing() (n int) {
	for i, l := range o.logs {
		n += o.writers[i].next - l.distinct
	}
	return n
}

// judge tells how the logs fared, after the writers have ended.
func (o *torture) judge(t *testing.T) {
	total := 0
	for i, l := range o.logs {
		missing, doubled, written := 0, 0, o.writers[i].next
		for n := range written {
			switch {
			case n >= len(l.seen) || l.seen[n] == 0:
				if missing++; missing <= 3 {
					t.Errorf("log %d (%v): line %d of %d is missing", i, o.kinds[i], n, written)
				}
			case l.seen[n] > 1:
				if doubled++; n == 0 || l.seen[n-1] < 2 {
					t.Logf("log %d: line %d came %d times", i, n, l.seen[n])
				}
			}
		}
		total += written
		t.Logf("log %d: %d lines, %d missing, %d doubled, %d cut up, rotations %v", i, written, missing, doubled, l.bad, o.writers[i].rotations)
		if slices.Contains(o.kinds[i], "copytruncate") {
			doubled = 0 // at least once is promised
		}
		if missing > 0 || doubled > 0 || l.bad > 0 {
			t.Errorf("log %d (%v): %d lines are missing, %d doubled, %d cut up", i, o.kinds[i], missing, doubled, l.bad)
		}
	}
	t.Logf("%d lines in %v", total, time.Since(o.begin).Round(time.Millisecond))
}

// TestTorture follows logs that are written to at a high rate and rotated in every way
// at random moments, with restarts of the source.
func TestTorture(t *testing.T) {
	length, rate := tortureLength(t)
	o := newTorture(t, t.TempDir(), [][]string{
		{"rename"}, {"date", "rename"}, {"rename", "recreate"}, {"copytruncate"}, {"swap"}, {"copytruncate", "rename", "recreate"},
	})
	o.start(t, rate)
	deliver := func(_ context.Context, batch []event.Line, done func()) error {
		n := int(filepath.Base(filepath.Dir(batch[0].Src))[0] - '0')
		for _, l := range batch {
			o.logs[n].take(t, l.Raw)
		}
		done()
		return nil
	}
	positions, err := source.OpenPositions(filepath.Join(t.TempDir(), "positions"), nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var reports atomic.Int64
	restarts := 0
	cfg := Config{Globs: o.globs, FromStart: true, Labels: map[string]string{"type": "x"}}
	follow := func(length time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), length)
		defer cancel()
		cfg.Positions = positions.Part()
		cfg.Report = func(err error) { reports.Add(1); t.Log(err) }
		started := make(chan struct{})
		cfg.Started = func() { o.up.Unlock(); close(started) }
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		running, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- s.Run(running, deliver) }()
		<-started
		<-ctx.Done()
		o.up.Lock()
		for _, w := range o.writers { // what is in deleted files is there for us only
			for deadline := time.Now().Add(30 * time.Second); w.seen.Load() < w.deleted.Load() && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
		}
		stop()
		<-done
		cfg.Positions.Leave()
		restarts++
	}
	for time.Since(o.begin) < length {
		follow(length / 4)
	}
	o.end()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && o.missing() > 0; {
		follow(300 * time.Millisecond)
	}
	o.judge(t)
	t.Logf("%d restarts, %d reports", restarts, reports.Load())
}

// tortured is what arrived of one log.
type tortured struct {
	seen     []uint8 // how often, by number
	highest  atomic.Int64
	distinct int
	bad      int
}

func (l *tortured) take(t *testing.T, raw string) {
	number, _, _ := strings.Cut(raw, " ")
	n, err := strconv.Atoi(number)
	if err != nil || n > 100_000_000 || bytes.IndexByte([]byte(raw), 0) >= 0 {
		if l.bad++; l.bad < 4 {
			t.Logf("not a line: %q", raw)
		}
		return
	}
	for len(l.seen) <= n {
		l.seen = append(l.seen, make([]uint8, 1+len(l.seen))...)
	}
	if l.seen[n] == 0 {
		l.distinct++
	}
	if l.seen[n] < 255 {
		l.seen[n]++
	}
	if int64(n) > l.highest.Load() {
		l.highest.Store(int64(n))
	}
}

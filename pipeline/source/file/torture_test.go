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
	for n := 40; n > 0; n-- {
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

// TestTorture follows logs that are written to at a high rate and rotated in every way
// at random moments, with restarts of the source. CS_TORTURE is for how long, such as
// 60s, and CS_TORTURE_RATE the lines a second of all logs.
func TestTorture(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("what is open can't be renamed or deleted by those who write as here")
	}
	length, rate := 3*time.Second, 20_000
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
	kinds := [][]string{
		{"rename"}, {"date", "rename"}, {"rename", "recreate"}, {"copytruncate"}, {"swap"}, {"copytruncate", "rename", "recreate"},
	}
	dir := t.TempDir()
	logs := make([]*tortured, len(kinds))
	var globs []string
	for i := range kinds {
		d := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		logs[i] = &tortured{}
		globs = append(globs, filepath.Join(d, "log"))
	}
	deliver := func(_ context.Context, batch []event.Line, done func()) error {
		n := int(filepath.Base(filepath.Dir(batch[0].Src))[0] - '0')
		for _, l := range batch {
			number, _, _ := strings.Cut(l.Raw, " ")
			logs[n].take(t, number, l.Raw)
		}
		done()
		return nil
	}

	var up sync.RWMutex
	up.Lock()
	stop, begin := make(chan struct{}), time.Now()
	var writers sync.WaitGroup
	all := make([]*torturer, len(kinds))
	for i, methods := range kinds {
		w := &torturer{
			dir: filepath.Dir(globs[i]), path: globs[i], rnd: rand.New(rand.NewPCG(uint64(begin.UnixNano()), uint64(i))),
			seen: &logs[i].highest, rotations: map[string]int{}, up: &up,
		}
		w.seen.Store(-1)
		w.deleted.Store(-1)
		all[i] = w
		if methods[0] == "swap" {
			if err := os.Symlink(filepath.Join(w.dir, "real-000000"), w.path); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.open(0); err != nil {
			t.Fatal(err)
		}
		writers.Go(func() {
			defer func() { w.w.Close() }()
			turn := time.Now().Add(time.Duration(20+w.rnd.IntN(300)) * time.Millisecond)
			for ; ; time.Sleep(time.Millisecond) {
				select {
				case <-stop:
					return
				default:
				}
				due := int(time.Since(begin).Seconds()*float64(rate)/float64(len(kinds))) - w.next
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

	positions, err := source.OpenPositions(filepath.Join(t.TempDir(), "positions"), nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var reports atomic.Int64
	restarts := 0
	cfg := Config{Globs: globs, FromStart: true, Labels: map[string]string{"type": "x"}}
	follow := func(length time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), length)
		defer cancel()
		cfg.Positions = positions.Part()
		cfg.Report = func(err error) { reports.Add(1); t.Log(err) }
		started := make(chan struct{})
		cfg.Started = func() { up.Unlock(); close(started) }
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		running, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- s.Run(running, deliver) }()
		<-started
		<-ctx.Done()
		up.Lock()
		for _, w := range all { // what is in deleted files is there for us only
			for deadline := time.Now().Add(10 * time.Second); w.seen.Load() < w.deleted.Load() && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
		}
		stop()
		<-done
		cfg.Positions.Leave()
		restarts++
	}
	for time.Since(begin) < length {
		follow(length / 4)
	}
	close(stop)
	writers.Wait()
	total, written := 0, func(i int) int { return all[i].next }
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		follow(300 * time.Millisecond)
		missing := 0
		for i, l := range logs {
			missing += written(i) - l.distinct
		}
		if missing == 0 {
			break
		}
	}
	for i, l := range logs {
		missing, doubled := 0, 0
		for n := range written(i) {
			switch {
			case n >= len(l.seen) || l.seen[n] == 0:
				if missing++; missing <= 3 {
					t.Errorf("log %d (%v): line %d of %d is missing", i, kinds[i], n, written(i))
				}
			case l.seen[n] > 1:
				doubled++
			}
		}
		total += written(i)
		t.Logf("log %d: %d lines, %d missing, %d doubled, %d cut up, rotations %v", i, written(i), missing, doubled, l.bad, all[i].rotations)
		if slices.Contains(kinds[i], "copytruncate") {
			doubled = 0 // at least once is promised
		}
		if missing > 0 || doubled > 0 || l.bad > 0 {
			t.Errorf("log %d (%v): %d lines are missing, %d doubled, %d cut up", i, kinds[i], missing, doubled, l.bad)
		}
	}
	t.Logf("%d lines in %v, %d restarts, %d reports", total, time.Since(begin).Round(time.Millisecond), restarts, reports.Load())
}

// tortured is what arrived of one log.
type tortured struct {
	seen     []uint8 // how often, by number
	highest  atomic.Int64
	distinct int
	bad      int
}

func (l *tortured) take(t *testing.T, number, raw string) {
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

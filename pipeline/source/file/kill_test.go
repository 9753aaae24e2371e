package file

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
)

// TestTortureKilled is TestTorture with a process that is killed again and again. It keeps
// what it reads as the agent keeps alerts: with the positions that moved, in one
// write. No log is deleted: what nobody has open is lost to all.
func TestTortureKilled(t *testing.T) {
	kinds := [][]string{{"rename"}, {"date", "rename"}, {"copytruncate"}, {"swap"}, {"copytruncate", "rename"}}
	if dir := os.Getenv("CS_TEST_TORTURED"); dir != "" {
		if err := followTo(dir, tortureGlobs(dir, len(kinds))); err != nil {
			t.Fatal(err)
		}
		return
	}
	length, rate := tortureLength(t)
	dir := t.TempDir()
	o := startTorture(t, dir, kinds, rate)
	rnd := rand.New(rand.NewPCG(uint64(o.begin.UnixNano()), 7))
	kills := 0
	life := func(length time.Duration) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestTortureKilled$")
		cmd.Env = append(os.Environ(), "CS_TEST_TORTURED="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(length)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		kills++
	}
	for time.Since(o.begin) < length {
		life(time.Duration(100+rnd.IntN(500)) * time.Millisecond)
	}
	o.end()
	var read int64
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && o.missing() > 0; {
		life(500 * time.Millisecond)
		f, err := os.Open(filepath.Join(dir, "out"))
		if err != nil {
			t.Fatal(err)
		}
		read, err = eachGroup(f, read, func(line []byte) {
			log, text, _ := bytes.Cut(line, []byte{' '})
			o.logs[log[0]-'0'].take(t, string(text))
		}, func([]byte) error { return nil })
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	o.judge(t)
	t.Logf("%d kills", kills)
}

// followTo follows logs and appends their lines to dir/out: those of a batch and then
// the positions that moved, on a line that begins with a brace.
func followTo(dir string, globs []string) error {
	positions, err := source.OpenPositions(filepath.Join(dir, "positions"), nil, time.Now)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(dir, "out"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	size, err := eachGroup(out, 0, func([]byte) {}, func(line []byte) error {
		moves, err := source.DecodeMoves(line)
		if err == nil {
			positions.Restore(moves)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := out.Truncate(size); err != nil {
		return err
	}
	if _, err := out.Seek(size, io.SeekStart); err != nil {
		return err
	}
	if err := positions.Save(); err != nil { // so that what is read at the start stays short
		return err
	}
	go func() {
		for range time.Tick(150 * time.Millisecond) {
			_ = positions.Save() // it is tried again
		}
	}()
	s, err := New(Config{Globs: globs, FromStart: true, Labels: map[string]string{"type": "x"}, Positions: positions})
	if err != nil {
		return err
	}
	var text []byte
	return s.Run(context.Background(), func(_ context.Context, batch []event.Line, done func()) error {
		text = text[:0]
		n := filepath.Base(filepath.Dir(batch[0].Src))
		for _, l := range batch {
			text = append(append(text, n...), ' ')
			text = append(append(text, l.Raw...), '\n')
		}
		done()
		moves, err := json.Marshal(positions.Moves())
		if err != nil {
			return err
		}
		_, err = out.Write(append(append(text, moves...), '\n'))
		return err
	})
}

// eachGroup calls line for the lines that followTo wrote from an offset on and moves for the positions
// behind them, in order, up to the last group that is complete. It returns where that ends.
func eachGroup(f *os.File, from int64, line func([]byte), moves func([]byte) error) (int64, error) {
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return 0, err
	}
	in := bufio.NewReaderSize(f, 1<<20)
	end := from
	var group [][]byte
	for at := from; ; {
		text, err := in.ReadBytes('\n')
		if err == io.EOF {
			return end, nil
		}
		if err != nil {
			return 0, err
		}
		at += int64(len(text))
		text = text[:len(text)-1]
		if len(text) == 0 || text[0] != '{' {
			group = append(group, text)
			continue
		}
		for _, l := range group {
			line(l)
		}
		group = group[:0]
		if err := moves(text); err != nil {
			return 0, err
		}
		end = at
	}
}

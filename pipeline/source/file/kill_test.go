package file

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
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
	kills := 0
	life := func(wait bool, length time.Duration) { // with wait, from the moment on when it follows
		os.Remove(filepath.Join(dir, following)) // that of the life before
		cmd := exec.Command(os.Args[0], "-test.run=^TestTortureKilled$")
		cmd.Env = append(os.Environ(), "CS_TEST_TORTURED="+dir)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); wait && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			_, err := os.Stat(filepath.Join(dir, following))
			wait = err != nil
		}
		time.Sleep(length)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		kills++
	}
	o := newTorture(t, dir, kinds)
	life(true, 0) // what was gone before anybody looked is nobody's loss
	o.start(t, rate)
	rnd := rand.New(rand.NewPCG(uint64(o.begin.UnixNano()), 7))
	for time.Since(o.begin) < length {
		life(false, time.Duration(200+rnd.IntN(800))*time.Millisecond)
	}
	o.end()
	parsed := 0
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && o.missing() > 0; {
		life(true, time.Second)
		all := outputs(dir)
		for _, path := range all[parsed:] {
			err := eachGroup(path, func(line []byte) {
				log, text, _ := bytes.Cut(line, []byte{' '})
				o.logs[log[0]-'0'].take(t, string(text))
			}, func([]byte) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		parsed = len(all)
	}
	o.judge(t)
	t.Logf("%d kills", kills)
}

// following is a file that is made when followTo has begun to follow.
const following = "following"

// outputs returns what followTo has written, oldest first.
func outputs(dir string) []string {
	paths, _ := filepath.Glob(filepath.Join(dir, "out-*"))
	return paths
}

// followTo follows logs and appends their lines to a new file in dir: those of a batch and then
// the positions that moved, on a line that begins with a brace.
func followTo(dir string, globs []string) error {
	var writing sync.Mutex // no position is saved before the lines behind it are written
	positions, err := source.OpenPositions(filepath.Join(dir, "positions"), func() error {
		writing.Lock()
		defer writing.Unlock()
		return nil
	}, time.Now)
	if err != nil {
		return err
	}
	before := outputs(dir)
	if len(before) > 0 { // each process saves what the one before it has left
		err := eachGroup(before[len(before)-1], func([]byte) {}, func(line []byte) error {
			moves, err := source.DecodeMoves(line)
			if err == nil {
				positions.Restore(moves)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := positions.Save(); err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("out-%06d", len(before))), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	go func() {
		for range time.Tick(150 * time.Millisecond) {
			_ = positions.Save() // it is tried again
		}
	}()
	started := func() {
		_ = positions.Save() // it is tried again
		_ = os.WriteFile(filepath.Join(dir, following), nil, 0o600)
	}
	s, err := New(Config{Globs: globs, FromStart: true, Labels: map[string]string{"type": "x"}, Positions: positions, Started: started})
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
		writing.Lock()
		defer writing.Unlock()
		done()
		moves, err := json.Marshal(positions.Moves())
		if err != nil {
			return err
		}
		_, err = out.Write(append(append(text, moves...), '\n'))
		return err
	})
}

// eachGroup calls line for the lines that followTo wrote to a file, and moves for the positions
// behind them, in order, up to the last group that is complete.
func eachGroup(path string, line func([]byte), moves func([]byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	var group [][]byte
	for {
		text, err := in.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
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
			return err
		}
	}
}

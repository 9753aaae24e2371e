package source

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"cs/pipeline/event"
)

// slowLines is the obvious twin of Splitter.
func slowLines(data string, max int, final bool) (lines []string) {
	for data != "" {
		line, rest, found := strings.Cut(data, "\n")
		if !found && !final && len(strings.TrimLeft(line, "\x00")) <= max {
			break
		}
		data = rest
		line = strings.TrimLeft(line, "\x00")
		if len(line) > max {
			line = line[:max]
		} else {
			line = strings.TrimSuffix(line, "\r")
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte("one\ntwo\r\n\nthree"), byte(3), byte(10), false)
	f.Add([]byte("a line that is too long\nnext\n"), byte(7), byte(10), true)
	f.Add([]byte("\x00\x00\x00after a hole\n\x00"), byte(2), byte(20), false)
	f.Fuzz(func(t *testing.T, data []byte, step, max byte, final bool) {
		if max == 0 || step == 0 {
			return
		}
		s := NewSplitter(event.Line{Src: "x"}, int(max), time.Now)
		var got []string
		// As a reader does: what was not taken comes again, with more behind it.
		skip, start := false, 0
		for end := 0; end < len(data) || end == 0; {
			end = min(end+int(step), len(data))
			for {
				batch, n := s.Take(data[start:end], &skip, final && end == len(data))
				for _, l := range batch {
					got = append(got, strings.Clone(l.Raw))
				}
				if n == 0 {
					break
				}
				start += n
			}
			if len(data) == 0 {
				break
			}
		}
		if want := slowLines(string(data), int(max), final); !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestStream(t *testing.T) {
	long := strings.Repeat("x", 3*streamBuffer)
	text := "one\n" + long + "\r\n" + strings.Repeat("line\n", 1000) + "last"
	want := append([]string{"one", long}, append(slices.Repeat([]string{"line"}, 1000), "last")...)
	read := func(name string, s *Splitter, in *strings.Reader) {
		t.Helper()
		var got []string
		err := s.Stream(context.Background(), iotest.DataErrReader(in), func(_ context.Context, batch []event.Line, done func()) error {
			for _, l := range batch {
				got = append(got, strings.Clone(l.Raw))
			}
			done()
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%s: got %d lines, want %d; %v", name, len(got), len(want), err)
		}
	}
	read("whole", NewSplitter(event.Line{}, 0, time.Now), strings.NewReader(text))

	broken := errors.New("broken")
	err := NewSplitter(event.Line{}, 0, time.Now).Stream(context.Background(), iotest.ErrReader(broken), nil)
	if err != broken {
		t.Fatalf("got %v", err)
	}
	err = NewSplitter(event.Line{}, 0, time.Now).Stream(context.Background(), strings.NewReader(text),
		func(context.Context, []event.Line, func()) error { return broken })
	if err != broken {
		t.Fatalf("got %v", err)
	}
}

func TestTakeDoesNotAllocate(t *testing.T) {
	s := NewSplitter(event.Line{Src: "x"}, 0, time.Now)
	data := bytes.Repeat([]byte("a line of a log\n"), 1000)
	skip := false
	if n := testing.AllocsPerRun(100, func() {
		for rest := data; len(rest) > 0; {
			_, n := s.Take(rest, &skip, false)
			rest = rest[n:]
		}
	}); n != 0 {
		t.Fatalf("1000 lines allocate %v times", n)
	}
}

func BenchmarkTake(b *testing.B) {
	s := NewSplitter(event.Line{Src: "x"}, 0, time.Now)
	data := bytes.Repeat([]byte(strings.Repeat("x", 179)+"\n"), 1400)
	skip := false
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		for rest := data; len(rest) > 0; {
			_, n := s.Take(rest, &skip, false)
			rest = rest[n:]
		}
	}
}

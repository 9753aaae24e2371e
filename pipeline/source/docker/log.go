package docker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/url"
	"time"

	events "cs/pipeline/event"
	"cs/pipeline/source"
)

// readBuffer is for each container: docker hands over lines in pieces of 16 KiB.
const readBuffer = 16 << 10

// log is the log of one container.
type log struct {
	run  *run
	of   *target
	b    *source.Batch
	mark *source.Mark
	pos  source.Position
	at   cursor // where reading is, what is still in the batch included
	// What is left out after a resumption: lines up to this time, of that
	// itself so many.
	known, skip int64
	away        int64    // what is older was written while nobody read it
	pieces      [2]piece // of stdout and stderr
}

// piece is a line of which the end is missing.
type piece struct {
	text  []byte
	began int64 // unix ns
}

func newLog(r *run, t *target, labels map[string]string) *log {
	line := events.Line{Src: t.name, Module: r.spec.Kind, Labels: labels, Mode: r.spec.Mode}
	l := &log{run: r, of: t, b: source.NewBatch(line, 0, r.spec.Meter)}
	l.pos.Key = "docker:" + labels["type"] + ":" + t.id
	if r.spec.Once {
		return l
	}
	if saved := r.spec.Positions.Saved(l.pos.Key); len(saved) > 0 {
		l.pos = saved[len(saved)-1]
		r.spec.Positions.Forget(l.pos.Key)
	}
	l.mark = r.spec.Positions.Track(l.pos)
	return l
}

// cursor is a position: the time in unix ns at which the last line ended, the number of
// lines that ended at that time, and from when on to read so that no line lacks
// its beginning.
type cursor struct {
	newest, same, from int64
}

func (c cursor) String() string { return fmt.Sprintf("%d %d %d", c.newest, c.same, c.from) }

// parseCursor reads what String wrote; the zero cursor is that of text that it
// didn't.
func parseCursor(text string) (c cursor) {
	n, err := fmt.Sscanf(text, "%d %d %d", &c.newest, &c.same, &c.from)
	if n != 3 || err != nil || c.newest < 0 || c.same < 0 || c.from < 0 {
		return cursor{}
	}
	return c
}

// sinkError tells trouble with the sink from trouble with the server.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

// read reads the log from its position, or else from since, to its end.
func (l *log) read(ctx context.Context, c *client, since string, follow bool) error {
	l.at = parseCursor(l.pos.Cursor)
	l.known, l.skip, l.away = l.at.newest, l.at.same, 0
	if l.at.from > 0 && !l.run.spec.Once {
		l.away = l.run.now().UnixNano()
	}
	l.pieces = [2]piece{}
	l.b.Reset()
	flag := func(b bool) string {
		if b {
			return "1"
		}
		return "0"
	}
	query := url.Values{
		"timestamps": {"1"}, "follow": {flag(follow)},
		"stdout": {flag(l.run.keys.FollowStdout)}, "stderr": {flag(l.run.keys.FollowStderr)},
	}
	if l.at.from > 0 {
		since = stamp(time.Unix(0, l.at.from))
	}
	if since != "" {
		query.Set("since", since)
	}
	if l.run.until != "" {
		query.Set("until", l.run.until)
	}
	body, err := c.stream(ctx, l.of.path()+"/logs", query)
	if err != nil {
		return err
	}
	defer body.Close()
	in := bufio.NewReaderSize(source.BeforeReads(body, func() error { return l.deliver(ctx) }), readBuffer)
	if l.of.tty {
		err = l.plain(ctx, in)
	} else {
		err = l.frames(ctx, in)
	}
	if err == io.EOF {
		err = nil
	}
	if err == nil {
		err = l.deliver(ctx)
	}
	return err
}

func (l *log) deliver(ctx context.Context) error {
	if l.b.Len() == 0 {
		return nil
	}
	next := l.pos
	l.at.from = l.at.newest
	for _, p := range l.pieces {
		if len(p.text) > 0 && p.began > 0 {
			l.at.from = min(l.at.from, p.began)
		}
	}
	next.Cursor = l.at.String()
	now := l.run.now()
	l.run.spec.Meter.SetBehind(now.Sub(time.Unix(0, l.at.newest)))
	sink := func(ctx context.Context, batch []events.Line, done func()) error {
		if err := l.run.out(ctx, batch, done); err != nil {
			return &sinkError{err}
		}
		return nil
	}
	return l.b.Deliver(ctx, sink, now, func() {
		l.pos = next
		l.mark.Set(next)
	})
}

// end takes a line that ended at a time.
func (l *log) end(ctx context.Context, at int64, text []byte) error {
	if at > 0 && at <= l.known {
		if at < l.known {
			return nil // it was delivered
		}
		if l.skip > 0 {
			l.skip--
			return nil
		}
	}
	switch {
	case at > l.at.newest:
		l.at.newest, l.at.same = at, 1
	case at == l.at.newest:
		l.at.same++
	}
	var written time.Time
	if at > 0 && at < l.away {
		written = time.Unix(0, at)
	}
	l.b.SetWritten(written)
	l.b.Text = append(l.b.Text, bytes.TrimSuffix(text, []byte{'\r'})...)
	l.b.End("", time.Time{})
	if l.b.Full() {
		return l.deliver(ctx)
	}
	return nil
}

// plain reads the log of a container with a terminal: lines.
func (l *log) plain(ctx context.Context, in *bufio.Reader) error {
	p := &l.pieces[0]
	for {
		text, err := in.ReadSlice('\n')
		p.add(bytes.TrimSuffix(text, []byte{'\n'}))
		if err == bufio.ErrBufferFull {
			continue
		}
		if len(p.text) > 0 {
			at, rest := stamped(p.text)
			if endErr := l.end(ctx, at, rest); endErr != nil {
				return endErr
			}
		}
		p.text = p.text[:0]
		if err != nil {
			return err
		}
	}
}

// maxPiece is what is kept of a line: a byte more than the batch keeps, so that it
// sees that the line is too long. The time is in front of it.
const maxPiece = source.MaxLine + 64

func (p *piece) add(text []byte) {
	p.text = append(p.text, text[:max(0, min(len(text), maxPiece-len(p.text)))]...)
}

// stamped splits the time off that docker puts in front of a line.
func stamped(text []byte) (at int64, rest []byte) {
	word, rest, ok := bytes.Cut(text, []byte{' '})
	if !ok {
		word, rest = text, nil
	}
	t, err := time.Parse(time.RFC3339Nano, string(word))
	if err != nil {
		return 0, text
	}
	return t.UnixNano(), rest
}

// frames reads the log of a container without terminal: pieces of its stdout
// and stderr, each with eight bytes in front, the stream and the length. A long
// line comes in several, each with a time of its own.
func (l *log) frames(ctx context.Context, in *bufio.Reader) error {
	for {
		head, err := in.Peek(8)
		if err != nil {
			if err == io.EOF && len(head) > 0 {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		if head[0] > 2 || head[1] != 0 || head[2] != 0 || head[3] != 0 {
			return fmt.Errorf("this is no stream of frames: it begins with % x", head)
		}
		p := &l.pieces[max(head[0], 1)-1]
		left := int64(binary.BigEndian.Uint32(head[4:]))
		_, _ = in.Discard(8) // they are in the buffer
		if err := l.frame(ctx, in, p, left); err != nil {
			return err
		}
	}
}

// frame reads one frame, with a time in front.
func (l *log) frame(ctx context.Context, in *bufio.Reader, p *piece, left int64) error {
	const longest = len("2026-01-02T15:04:05.000000000+00:00 ")
	first, at := true, int64(0)
	for left > 0 {
		want := 1
		if first {
			want = int(min(left, int64(longest)))
		}
		if _, err := in.Peek(want); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		text, _ := in.Peek(int(min(left, int64(in.Buffered()))))
		used := len(text)
		if first {
			first = false
			at, text = stamped(text)
		}
		for len(text) > 0 {
			line, rest, whole := bytes.Cut(text, []byte{'\n'})
			if len(p.text) == 0 {
				p.began = at
			}
			p.add(line)
			if !whole {
				break
			}
			if err := l.end(ctx, at, p.text); err != nil {
				return err
			}
			p.text = p.text[:0]
			if cap(p.text) > 2*readBuffer {
				p.text = nil // one huge line must not pin its size for ever
			}
			text = rest
		}
		_, _ = in.Discard(used)
		left -= int64(used)
	}
	return nil
}

// Package journal is the source that reads systemd's journal through the
// program journalctl, and hands each entry over as the line that a syslog
// daemon would have written. The agent role makes the sources.
package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
)

const (
	program = "journalctl"

	firstPause = time.Second
	maxPause   = 30 * time.Second
	// steady is how long journalctl must have run to be started again at once.
	steady = time.Minute
	// cursorTries is how often a cursor may be refused until the time of the
	// last entry is used instead.
	cursorTries = 3
	// stopTime is what journalctl gets to end by itself.
	stopTime = 300 * time.Millisecond
)

// Config says what to read. Only Filter is required.
type Config struct {
	Filter    []string          // arguments of journalctl: "_COMM=sshd", "-u", "ssh.service"
	Labels    map[string]string // of every line; must not change
	Mode      event.Mode
	Once      bool   // read all there is and end, instead of following from now
	Since     string // of a source that is read once: from when on, in journalctl's words
	MaxLine   int    // bytes from which a line is cut; 0: source.MaxLine
	Positions *source.Positions
	Meter     *source.Meter // may be nil
	// Report is told about trouble while Run tries again. nil: nobody is.
	Report func(error)
	// Started is called when journalctl runs. May be nil.
	Started func()
}

// Source reads the journal. Make it with New.
type Source struct {
	cfg   Config
	name  string
	now   func() time.Time
	local *time.Location
	pause time.Duration // the first one; tests make it short

	mark *source.Mark
	pos  source.Position // Cursor, and in Offset the entry's time in µs
	tell string          // the last trouble reported
	cut  int64           // cut lines already reported
}

// New returns a source that has not started anything.
func New(cfg Config) *Source {
	if cfg.Report == nil {
		cfg.Report = func(error) {}
	}
	if cfg.MaxLine <= 0 {
		cfg.MaxLine = source.MaxLine
	}
	if cfg.Meter == nil {
		cfg.Meter = new(source.Meter)
	}
	return &Source{
		cfg: cfg, name: program + "-" + strings.Join(cfg.Filter, "."),
		now: time.Now, local: time.Local, pause: firstPause,
	}
}

// Name returns "journalctl-" and the filter.
func (s *Source) Name() string { return s.name }

// Available tells whether there is a journal to read: an error that wraps
// errors.ErrUnsupported says why not.
func Available() error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("cannot read the journal on %s: %s is not installed: %w", runtime.GOOS, program, errors.ErrUnsupported)
	}
	return nil
}

// Run follows the journal until ctx ends. When journalctl ends it is started
// again behind the last entry.
func (s *Source) Run(ctx context.Context, out source.Sink) error {
	if err := Available(); err != nil {
		return err
	}
	s.resume()
	refused := 0
	for pause := s.pause; ; {
		began, cursor := s.now(), s.pos.Cursor
		err := s.follow(ctx, refused < cursorTries, out)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, new(*sinkError)):
			return errors.Unwrap(err)
		case s.cfg.Once:
			return err
		}
		if err == nil {
			err = fmt.Errorf("%s ended", program)
		}
		if text := err.Error(); text != s.tell {
			s.cfg.Report(fmt.Errorf("cannot follow the journal, trying again: %w", err))
			s.tell = text
		}
		if s.pos.Cursor != cursor {
			refused = 0
		} else if cursor != "" {
			refused++
		}
		if s.now().Sub(began) >= steady {
			pause = s.pause
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// resume takes over the position of an earlier process.
func (s *Source) resume() {
	if s.cfg.Once || s.mark != nil {
		return
	}
	key := "journal:" + s.cfg.Labels["type"] + ":" + s.name
	if saved := s.cfg.Positions.Saved(key); len(saved) > 0 {
		s.pos = saved[len(saved)-1]
	}
	s.pos.Key = key
	s.mark = s.cfg.Positions.Track(s.pos)
	s.cfg.Positions.Forget(key)
}

// arguments returns those of journalctl for going on behind the last entry.
func (s *Source) arguments(useCursor bool) []string {
	args := []string{"--output=export", "--no-pager"}
	switch {
	case s.cfg.Once && s.cfg.Since != "":
		args = append(args, "--since="+s.cfg.Since)
	case s.cfg.Once:
	case s.pos.Cursor == "":
		args = append(args, "--follow", "--lines=0")
	case useCursor:
		args = append(args, "--follow", "--no-tail", "--after-cursor="+s.pos.Cursor)
	default: // what is known already is left out below
		args = append(args, "--follow", "--no-tail", fmt.Sprintf("--since=@%d", s.pos.Offset/1e6))
	}
	return append(args, s.cfg.Filter...)
}

// follow runs journalctl once.
func (s *Source) follow(ctx context.Context, useCursor bool, out source.Sink) error {
	cmd := exec.CommandContext(ctx, program, s.arguments(useCursor)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopTime
	var complaint tailBuffer
	cmd.Stderr = &complaint
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if s.cfg.Started != nil {
		s.cfg.Started()
	}
	var away int64 // what is older was written while nobody read it
	if s.pos.Cursor != "" && !s.cfg.Once {
		away = s.now().UnixMicro()
	}
	readErr := s.read(ctx, stdout, away, !useCursor, out)
	if readErr != nil {
		_ = cmd.Process.Kill() // it may have ended
	}
	// Wait closes the pipe, so it comes after the last read.
	err = cmd.Wait()
	if readErr != nil {
		return readErr
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(complaint.text))
	}
	return nil
}

// read delivers the entries of a stream in the export format. Those from before away (unix µs)
// are lines to catch up with.
func (s *Source) read(ctx context.Context, stream io.Reader, away int64, skipKnown bool, out source.Sink) error {
	r := newExportReader(stream, s.cfg.MaxLine)
	b := source.NewBatch(event.Line{Src: s.name, Module: program, Labels: s.cfg.Labels, Mode: s.cfg.Mode}, s.cfg.MaxLine, s.cfg.Meter)
	next := s.pos
	done := func() {
		s.pos = next
		s.mark.Set(next)
	}
	sink := func(ctx context.Context, batch []event.Line, done func()) error {
		if err := out(ctx, batch, done); err != nil {
			return &sinkError{err}
		}
		return nil
	}
	for {
		e, err := r.next()
		if err == nil && !(skipKnown && e.micros <= s.pos.Offset) {
			var written time.Time
			if e.micros < away {
				written = time.UnixMicro(e.micros)
			}
			b.SetWritten(written)
			add(b, e, s.local)
			s.cfg.Meter.Cut.Add(int64(e.cut))
			next.Cursor, next.Offset = string(e.cursor), e.micros
		}
		if b.Full() || b.Len() > 0 && (err != nil || r.in.Buffered() == 0) {
			now := s.now()
			s.cfg.Meter.SetBehind(now.Sub(time.UnixMicro(next.Offset)))
			if err := b.Deliver(ctx, sink, now, done); err != nil {
				return err
			}
			s.tell = ""
		}
		if err == io.EOF {
			if cut := s.cfg.Meter.Cut.Load(); cut > s.cut {
				s.cfg.Report(fmt.Errorf("%d lines of the journal were longer than %d bytes and are cut", cut-s.cut, s.cfg.MaxLine))
				s.cut = cut
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// add writes an entry as syslog daemons do, "Jan  2 15:04:05 host name[pid]: message". Each
// line of a message gets a head of its own, so that nobody's message can look
// like somebody else's line.
func add(b *source.Batch, e *entry, local *time.Location) {
	for text := range bytes.SplitSeq(e.message, []byte{'\n'}) {
		text = bytes.TrimSuffix(text, []byte{'\r'})
		if len(text) == 0 {
			continue
		}
		b.Text = time.UnixMicro(e.micros).In(local).AppendFormat(b.Text, time.Stamp)
		b.Text = append(b.Text, ' ')
		b.Text = appendWord(b.Text, e.host, "localhost")
		b.Text = append(b.Text, ' ')
		name := e.ident
		if len(name) == 0 {
			name = e.comm
		}
		b.Text = appendWord(b.Text, name, "unknown")
		pid := e.pid
		if len(pid) == 0 {
			pid = e.syslogPID
		}
		if len(pid) > 0 {
			b.Text = append(b.Text, '[')
			b.Text = appendWord(b.Text, pid, "")
			b.Text = append(b.Text, ']')
		}
		b.Text = append(b.Text, ": "...)
		b.Text = append(b.Text, text...)
		b.End("", time.Time{})
	}
}

// appendWord appends what must not break the head of a line.
func appendWord(dst, word []byte, absent string) []byte {
	if len(word) == 0 {
		return append(dst, absent...)
	}
	for _, c := range word {
		if c <= ' ' || c == '[' || c == ']' || c == 0x7f {
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

// sinkError tells trouble with the sink from trouble with journalctl.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

// tailBuffer keeps the last bytes written to it.
type tailBuffer struct{ text []byte }

func (t *tailBuffer) Write(p []byte) (int, error) {
	const most = 1 << 10
	t.text = append(t.text, p...)
	if n := len(t.text) - most; n > 0 {
		t.text = append(t.text[:0], t.text[n:]...)
	}
	return len(p), nil
}

// Package logread is the source that follows the log that OpenWrt, and BusyBox,
// keep in memory, through the program logread. There is no position in it:
// what was logged while nobody followed is not read.
package logread

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
)

const (
	program    = "logread"
	firstPause = time.Second
	maxPause   = 30 * time.Second
	// steady is how long logread must have run to be started again at once.
	steady   = time.Minute
	stopTime = 300 * time.Millisecond
	readSize = 16 << 10
)

// Kind makes sources of acquisitions, which have no keys of their own.
var Kind = source.Kind{Tail: true, Open: func(spec *source.Spec) (source.Source, error) {
	if err := spec.Decode(&struct{}{}, nil); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	return &Source{spec: spec, host: host, pause: firstPause, trouble: source.NewThrottle(spec.Report)}, nil
}}

// Source follows the log. Acquisitions make it; see Kind.
type Source struct {
	spec    *source.Spec
	host    string
	pause   time.Duration // the first one; tests make it short
	trouble *source.Throttle
}

// Name returns "logread".
func (*Source) Name() string { return program }

// Run follows the log until ctx ends. When logread ends it is started again.
func (s *Source) Run(ctx context.Context, out source.Sink) error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("cannot read the log on %s: %s is not installed: %w", runtime.GOOS, program, errors.ErrUnsupported)
	}
	for pause := s.pause; ; pause = min(2*pause, maxPause) {
		began := time.Now()
		err := s.follow(ctx, out)
		var refused *sinkError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &refused):
			return refused.err
		case err == nil:
			err = fmt.Errorf("%s ended", program)
		}
		s.trouble.Report(fmt.Errorf("cannot follow the log, trying again: %w", err))
		if time.Since(began) >= steady {
			pause = s.pause
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// sinkError tells trouble with the sink from trouble with logread.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }

// follow runs logread once.
func (s *Source) follow(ctx context.Context, out source.Sink) error {
	cmd := exec.CommandContext(ctx, program, "-f")
	cmd.WaitDelay = stopTime
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.spec.Started()
	err = s.read(ctx, stdout, out)
	if err != nil {
		_ = cmd.Process.Kill() // it may have ended
	}
	// Wait closes the pipe, so it comes after the last read.
	if waitErr := cmd.Wait(); err == nil && waitErr != nil {
		err = fmt.Errorf("%s: %w", program, waitErr)
	}
	return err
}

// read delivers lines until r ends.
func (s *Source) read(ctx context.Context, r io.Reader, out source.Sink) error {
	b := source.NewBatch(s.spec.Line(program), 0, s.spec.Meter)
	deliver := func() error {
		return b.Deliver(ctx, func(ctx context.Context, batch []event.Line, done func()) error {
			if err := out(ctx, batch, done); err != nil {
				return &sinkError{err}
			}
			return nil
		}, time.Now(), source.Nowhere)
	}
	in := bufio.NewReaderSize(source.BeforeReads(r, deliver), readSize)
	for {
		line, err := in.ReadSlice('\n')
		b.Text = appendLine(b.Text, bytes.TrimRight(line, "\r\n"), s.host)
		for err == bufio.ErrBufferFull { // the rest of a long line, of which as much is kept as the batch lets
			line, err = in.ReadSlice('\n')
			if len(b.Text) <= 2*source.MaxLine {
				b.Text = append(b.Text, bytes.TrimRight(line, "\r\n")...)
			}
		}
		b.End("", time.Time{})
		if b.Full() || err != nil {
			if err := deliver(); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// appendLine appends a line as syslog daemons write it, "Nov 30 12:00:00 host
// name[pid]: text", of one as OpenWrt's logread prints it, "Mon Nov 30 12:00:00
// 2026 auth.info name[pid]: text", or BusyBox's, "Nov 30 12:00:00 host
// auth.info name[pid]: text". Others stay as they are.
func appendLine(dst, line []byte, host string) []byte {
	const openwrt, busybox = len("Mon Nov 30 12:00:00 2026"), len("Nov 30 12:00:00")
	if len(line) > openwrt && line[openwrt] == ' ' {
		if _, err := time.Parse(time.ANSIC, string(line[:openwrt])); err == nil {
			dst = append(append(dst, line[4:4+busybox]...), ' ')
			dst = append(append(dst, host...), ' ')
			return append(dst, withoutPriority(line[openwrt+1:])...)
		}
	}
	if len(line) > busybox && line[busybox] == ' ' {
		if _, err := time.Parse(time.Stamp, string(line[:busybox])); err == nil {
			name, rest, ok := bytes.Cut(line[busybox+1:], []byte{' '})
			if ok {
				dst = append(dst, line[:busybox+1]...)
				dst = append(append(dst, name...), ' ')
				return append(dst, withoutPriority(rest)...)
			}
		}
	}
	return append(dst, line...)
}

// withoutPriority cuts a word like auth.info off the front.
func withoutPriority(s []byte) []byte {
	word, rest, ok := bytes.Cut(s, []byte{' '})
	_, level, dot := bytes.Cut(word, []byte{'.'})
	if !ok || !dot {
		return s
	}
	switch string(level) {
	case "emerg", "alert", "crit", "err", "warn", "warning", "notice", "info", "debug":
		return rest
	}
	return s
}

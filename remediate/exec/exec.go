// Package exec hands bans to a program of the operator's, for packet filters
// that we have no backend for. It is a remediate.Kernel.
//
// The program is called with its own arguments and one more word that says
// what to do; what it needs comes on its standard input, one line each, fields
// separated by a space:
//
//	PROGRAM ARGS… load     block exactly what is listed, nothing else; "add" lines
//	PROGRAM ARGS… apply    make these changes, in their order; "add" and "del" lines
//	PROGRAM ARGS… check    is everything still in place? No input
//	PROGRAM ARGS… remove   lift all bans and forget them. No input
//
//	add 203.0.113.4 14400 crowdsec crowdsecurity/ssh-bf
//	add 2001:db8::/32 3600 lists:tor -
//	del 203.0.113.4 14400 crowdsec -
//
// The fields are the address (with "/length" for ranges), the seconds that are
// left (of "del", those it was told before), the origin, and the scenario or "-". Only
// printable ASCII without spaces is in them; anything else in a name becomes "_". An
// address that was added before is added again when its time or origin changes.
// What covers an address that must never be blocked is not handed over.
//
// A program need not end bans by itself: it gets a "del" when one ends. It
// must not mind to be told twice. It ends with
//
//	0  done; of "check": all in place
//	1  failed; of "check": not in place. It is called with "load" again, soon
//	2  there is no room for so many; fewer will come. Of "check": can't tell, don't ask again
//
// or any other number for a failure. What it prints on standard error is
// logged with a failure. It is killed, with all that it started, when it takes too long or
// when the bouncer stops. Its environment is PATH and the like, without our secrets. Large loads come in one call.
//
// Upstream's custom bouncer calls its program with "add" or "del", address,
// duration, reason and a JSON object once for each decision. A wrapper of three lines turns the lines into such calls:
//
//	#!/bin/sh
//	[ "$1" = check ] && exit 2
//	while read -r verb value left origin reason; do /path/to/program "$verb" "$value" "$left" "$reason" '{}' || exit 1; done
package exec

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"cs/remediate"
)

const (
	defaultTimeout = 30 * time.Second
	// checkEvery is how often the program is asked whether all is in place: a
	// process each second would be much for a small machine.
	checkEvery = time.Minute
	maxStderr  = 2 << 10
	maxField   = 200
)

// Exit codes of the program.
const (
	exitFull    = 2 // of load and apply
	exitUnknown = 2 // of check
)

// Config says which program is called.
type Config struct {
	Program string // path, or a name in PATH
	Args    []string
	// Timeout of one call; 0 takes 30 s.
	Timeout time.Duration
	// Now is the clock; nil takes time.Now.
	Now func() time.Time
}

// Script is a program that blocks. It is not safe for concurrent use, as remediate.Kernel says.
type Script struct {
	program Program
	now     func() time.Time
	open    bool
	blind   bool // the program can't tell whether all is in place
	checked time.Time
}

// New returns a Script that was not called yet.
func New(cfg Config) (*Script, error) {
	if cfg.Program == "" {
		return nil, errors.New("cannot call a program without its path")
	}
	s := &Script{program: Program{Path: cfg.Program, Args: cfg.Args, Timeout: cfg.Timeout}, now: cfg.Now}
	if s.now == nil {
		s.now = time.Now
	}
	return s, nil
}

// Name returns "exec".
func (s *Script) Name() string { return "exec" }

// Changed returns nil: nobody tells of changes.
func (s *Script) Changed() <-chan struct{} { return nil }

// Open finds the program. live is what it says of what an earlier process left.
func (s *Script) Open(ctx context.Context) (live bool, err error) {
	if _, err := exec.LookPath(s.program.Path); err != nil {
		return false, fmt.Errorf("cannot call the program that blocks: %w", err)
	}
	live, known, err := s.ask(ctx)
	if err != nil {
		return false, err
	}
	s.open, s.blind = true, !known
	return live && known, nil
}

// ask calls the program with check. known is false when it can't tell.
func (s *Script) ask(ctx context.Context) (inPlace, known bool, err error) {
	s.checked = s.now()
	err = s.program.Run(ctx, nil, "check")
	switch code, exited := exitCode(err); {
	case err == nil:
		return true, true, nil
	case exited && code == 1:
		return false, true, nil
	case exited && code == exitUnknown:
		return false, false, nil
	}
	return false, false, err
}

// Load hands all entries to the program.
func (s *Script) Load(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	if !s.open {
		return os.ErrClosed
	}
	err := s.program.Run(ctx, func(w io.Writer) error {
		var line []byte
		for e := range entries {
			if s.left(e) <= 0 {
				continue
			}
			line = s.line(line[:0], "add", e, "")
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		return nil
	}, "load")
	s.checked = s.now()
	return full(err)
}

// Apply hands the changes to the program.
func (s *Script) Apply(ctx context.Context, changes []remediate.Change) error {
	if !s.open {
		return os.ErrClosed
	}
	var b bytes.Buffer
	for _, c := range changes {
		verb := "add"
		if c.Op == remediate.Remove || s.left(c.Entry) <= 0 {
			verb = "del"
		}
		b.Write(s.line(b.AvailableBuffer(), verb, c.Entry, c.Scenario))
	}
	return full(s.program.Run(ctx, func(w io.Writer) error {
		_, err := w.Write(b.Bytes())
		return err
	}, "apply"))
}

// full tells of exit code 2 as remediate.ErrFull.
func full(err error) error {
	if code, exited := exitCode(err); exited && code == exitFull {
		return fmt.Errorf("%w: %w", remediate.ErrFull, err)
	}
	return err
}

// left returns how long an entry has to go, in whole seconds, rounded up.
func (s *Script) left(e remediate.Entry) int64 {
	return int64((e.Until.Sub(s.now()) + time.Second - 1) / time.Second)
}

func (s *Script) line(b []byte, verb string, e remediate.Entry, scenario string) []byte {
	b = append(append(b, verb...), ' ')
	b = append(append(b, value(e.Prefix)...), ' ')
	b = append(strconv.AppendInt(b, max(s.left(e), 0), 10), ' ')
	b = append(field(b, e.Origin), ' ')
	return append(field(b, scenario), '\n')
}

// value returns an address without the length of a single one.
func value(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// field appends a name that came over the network as one word.
func field(b []byte, s string) []byte {
	if s == "" {
		return append(b, '-')
	}
	for _, c := range []byte(s[:min(len(s), maxField)]) {
		if c <= ' ' || c >= 0x7f {
			c = '_'
		}
		b = append(b, c)
	}
	return b
}

// Check asks the program, once a minute.
func (s *Script) Check(ctx context.Context) (bool, error) {
	if !s.open {
		return false, os.ErrClosed
	}
	if s.blind || s.now().Sub(s.checked) < checkEvery {
		return true, nil
	}
	inPlace, known, err := s.ask(ctx)
	s.blind = err == nil && !known
	return inPlace || s.blind, err
}

// Vouch asks the program now.
func (s *Script) Vouch(ctx context.Context) (inPlace, known bool, err error) {
	if !s.open {
		return false, false, os.ErrClosed
	}
	return s.ask(ctx)
}

// Close calls the program a last time if all has to be lifted.
func (s *Script) Close(ctx context.Context, remove bool) error {
	if !s.open {
		return nil
	}
	s.open = false
	if !remove {
		return nil
	}
	return s.program.Run(ctx, nil, "remove")
}

// Program is a program of the operator's.
type Program struct {
	Path    string
	Args    []string
	Timeout time.Duration // of one run; 0 takes 30 s
}

// Run runs the program with more arguments and waits for it. input, if not nil, writes
// what the program reads; a program that stops reading is fine as long as it ends with 0.
func (p *Program) Run(ctx context.Context, input func(io.Writer) error, more ...string) error {
	timeout := p.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Path, slices.Concat(p.Args, more)...)
	cmd.Env = environment()
	cmd.WaitDelay = time.Second // for pipes that something it started holds open
	killAll(cmd)
	errs := &limited{max: maxStderr}
	cmd.Stderr = errs
	var stdin io.WriteCloser
	if input != nil {
		var err error
		if stdin, err = cmd.StdinPipe(); err != nil {
			return p.failed(more, err, errs)
		}
	}
	if err := cmd.Start(); err != nil {
		return p.failed(more, err, errs)
	}
	var fed error
	if input != nil {
		// Killing the program ends the write, too: nobody reads any more.
		w := bufio.NewWriterSize(stdin, 64<<10)
		if fed = input(w); fed == nil {
			fed = w.Flush()
		}
		if err := stdin.Close(); fed == nil {
			fed = err
		}
	}
	err := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return p.failed(more, context.Cause(ctx), errs)
	case err == nil && fed != nil && !closed(fed):
		err = fed
	}
	if err != nil {
		return p.failed(more, err, errs)
	}
	return nil
}

func (p *Program) failed(more []string, err error, errs *limited) error {
	text := strings.Join(strings.Fields(string(errs.b)), " ")
	if text != "" {
		text = " (" + text + ")"
	}
	return fmt.Errorf("cannot run %s %s: %w%s", p.Path, strings.Join(more, " "), err, text)
}

// exitCode returns the number that a program ended with by itself.
func exitCode(err error) (code int, exited bool) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Exited() {
		return 0, false
	}
	return exit.ExitCode(), true
}

// environment returns what programs need of ours, without what may be secret.
func environment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "PATHEXT", "COMSPEC"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// limited keeps the first bytes of what is written to it.
type limited struct {
	b   []byte
	max int
}

func (l *limited) Write(b []byte) (int, error) {
	l.b = append(l.b, b[:min(len(b), l.max-len(l.b))]...)
	return len(b), nil
}

package bouncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"cs/platform"
	"cs/roles/config"
)

// Commands is "cs bouncer-firewall": the role, and what can be asked of one
// that runs.
type Commands struct {
	Serve   Command        `cmd:"" default:"withargs" hidden:"" help:"Block in the firewall what the LAPI decided."`
	Status  StatusCommand  `cmd:"" help:"What the running bouncer enforces, and what it doesn't."`
	Verify  VerifyCommand  `cmd:"" help:"Ask the kernel whether it blocks what it should; exit 1 on any difference, or if it can't be asked."`
	Explain ExplainCommand `cmd:"" help:"Which decisions and elements are about an address."`
	Try     TryCommand     `cmd:"" help:"Block for a while only, then take it all back."`
}

// StatusCommand is "cs bouncer-firewall status".
type StatusCommand struct{}

// VerifyCommand is "cs bouncer-firewall verify".
type VerifyCommand struct {
	Sample int `help:"How many entries to ask for, at random if there are more." default:"1000" placeholder:"N"`
}

// ExplainCommand is "cs bouncer-firewall explain".
type ExplainCommand struct {
	Address string `arg:"" help:"Address."`
}

// TryCommand is "cs bouncer-firewall try".
type TryCommand struct {
	Command `embed:""`

	For string `help:"For how long." default:"5m" placeholder:"TIME"`
}

// ask asks the bouncer that the flags mean.
func ask(ctx context.Context, env *platform.Env, flags *config.Flags, q question) (answer, error) {
	dir := flags.DataDir
	if dir == "" && isUpstreamFile(flags.Config) {
		dir = platform.DataDir()
	}
	if dir == "" {
		file, err := flags.Load(env)
		if err != nil {
			return answer{}, err
		}
		dir = file.DataDir()
	}
	return askRunning(ctx, dir, q)
}

// show writes v as JSON, or what human writes.
func show(w io.Writer, output string, v any, human func(w io.Writer)) error {
	switch output {
	case "json":
		text, err := json.MarshalIndent(v, "", "  ")
		if err == nil {
			_, err = w.Write(append(text, '\n'))
		}
		return err
	case "", "human":
		human(w)
		return nil
	}
	return fmt.Errorf("output format '%s' not supported: must be one of human, json", output)
}

// Run prints the status.
func (c *StatusCommand) Run(ctx context.Context, env *platform.Env, flags *config.Flags, output string) error {
	a, err := ask(ctx, env, flags, question{Ask: "status"})
	if err != nil {
		return err
	}
	return show(env.Stdout, output, a.Status, func(w io.Writer) { a.Status.print(w, time.Now()) })
}

func line(w io.Writer, what, format string, args ...any) {
	fmt.Fprintf(w, "%-14s %s\n", what, fmt.Sprintf(format, args...))
}

// print writes the status for people.
func (s *Status) print(w io.Writer, now time.Time) {
	health := "healthy"
	if !s.Healthy {
		health = "not healthy"
	}
	line(w, "backend", "%s, %s, for %v", s.Backend, health, now.Sub(s.Started).Round(time.Second))
	if s.Trouble != "" {
		line(w, "trouble", "%s", s.Trouble)
	}
	line(w, "enforced", "%d of %d prefixes (ratio %.4g), from %d decisions", s.Enforced, s.Desired, s.EnforcedRatio, s.Decisions)
	for _, reason := range slices.Sorted(maps.Keys(s.Unenforced)) {
		line(w, "unenforced", "%d: %s", s.Unenforced[reason], reason)
	}
	pull := "never"
	if !s.LastPull.IsZero() {
		pull = now.Sub(s.LastPull).Round(time.Second).String() + " ago"
	}
	line(w, "last pull", "%s (%d of %d failed, %d resyncs)", pull, s.Failures, s.Pulls, s.Resyncs)
	if s.PullTrouble != "" {
		line(w, "LAPI", "%s", s.PullTrouble)
	}
	if s.Suspect > 0 {
		line(w, "suspect lists", "%d", s.Suspect)
	}
	if s.Lag > 0 {
		seconds := func(f float64) time.Duration { return time.Duration(f * float64(time.Second)).Round(time.Microsecond) }
		line(w, "lag", "%v, at most %v", seconds(s.Lag), seconds(s.LongestLag))
	}
	line(w, "repairs", "%d, after %d errors", s.Repairs, s.Errors)
	for _, p := range s.Processed {
		line(w, "looked at", "%d packets of %s, %d bytes", p.Packets, p.Type, p.Bytes)
	}
	for _, g := range s.Guards {
		line(w, "never blocked", "%s (%s)", shortPrefix(g.Prefix), g.Why)
	}
	if len(s.Ports) > 0 {
		line(w, "never blocked", "what goes to ports %s", strings.Join(s.Ports, ", "))
	}
	if len(s.Origins) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%-24s %9s %9s %12s %14s\n", "ORIGIN", "IPV4", "IPV6", "PACKETS", "BYTES")
	for _, o := range s.Origins {
		fmt.Fprintf(w, "%-24s %9d %9d %12d %14d\n", o.Origin, o.IPv4, o.IPv6, o.Packets, o.Bytes)
	}
}

// Run prints the verdict. Any difference is an error.
func (c *VerifyCommand) Run(ctx context.Context, env *platform.Env, flags *config.Flags, output string) error {
	a, err := ask(ctx, env, flags, question{Ask: "verify", Sample: c.Sample})
	if err != nil {
		return err
	}
	v := a.Verdict
	err = show(env.Stdout, output, v, func(w io.Writer) {
		for _, d := range v.Differences {
			fmt.Fprintf(w, "%s (%s) %s: %s\n", shortPrefix(d.Prefix), d.Origin, d.Where, d.What)
		}
		if !v.Structure {
			fmt.Fprintln(w, "the rules are not as they were made")
		}
		if v.Vouched {
			fmt.Fprintln(w, "the program says that all is in place; it can't be asked for single entries")
			return
		}
		fmt.Fprintf(w, "asked for %d entries and %d neighbours: %d differences\n", v.Asked, v.AskedAbsent, len(v.Differences))
	})
	if err == nil && (len(v.Differences) > 0 || !v.Structure) {
		err = errors.New("the kernel does not block what it should")
	}
	return err
}

// Run prints why packets of an address pass or don't.
func (c *ExplainCommand) Run(ctx context.Context, env *platform.Env, flags *config.Flags, output string) error {
	a, err := ask(ctx, env, flags, question{Ask: "explain", Address: c.Address})
	if err != nil {
		return err
	}
	e := a.Explanation
	return show(env.Stdout, output, e, func(w io.Writer) { e.print(w, time.Now()) })
}

// print writes the explanation for people.
func (e *explanation) print(w io.Writer, now time.Time) {
	state := "is not blocked"
	if e.Blocked {
		state = "is blocked"
	}
	fmt.Fprintf(w, "%s %s\n", e.Address, state)
	for _, p := range e.Ignored {
		why := "configured"
		for _, g := range e.Guards {
			if g.Prefix == p {
				why = g.Why
			}
		}
		line(w, "never blocked", "%s (%s)", shortPrefix(p), why)
	}
	if e.Blocked && len(e.Ports) > 0 {
		line(w, "never blocked", "what goes to ports %s", strings.Join(e.Ports, ", "))
	}
	for _, d := range e.Decisions {
		line(w, "decision", "%d: %s %s by %s, %s, %v left", d.ID, d.Type, d.Value, d.Origin, d.Scenario, d.Until.Sub(now).Round(time.Second))
	}
	for _, el := range e.Elements {
		switch {
		case el.Unenforced != "":
			line(w, "not enforced", "%s (%s): %s", shortPrefix(el.Prefix), el.Origin, el.Unenforced)
		case !el.Present:
			line(w, "missing", "%s (%s) is not in %s", shortPrefix(el.Prefix), el.Origin, el.Where)
		default:
			line(w, "element", "%s (%s) in %s, %v left", shortPrefix(el.Prefix), el.Origin, el.Where, time.Duration(el.Left*float64(time.Second)).Round(time.Second))
		}
	}
}

// Run blocks for a while. Each entry ends in the kernel by itself, so that it is
// over even if this process is killed; a terminal that goes away doesn't matter.
func (c *TryCommand) Run(ctx context.Context, env *platform.Env, flags *config.Flags) error {
	length, err := time.ParseDuration(c.For)
	if err != nil || length <= 0 {
		return fmt.Errorf("want a duration like 5m for --for, not %q", c.For)
	}
	r, err := c.resolve(env, flags)
	if err != nil {
		return err
	}
	r.Bouncer.OnStop = Clean
	cfg, err := c.config(env, r)
	if err != nil {
		return err
	}
	end := time.Now().Add(length)
	cfg.SavedPath, cfg.Deadline = "", end
	cfg.Ready = func() {
		fmt.Fprintf(env.Stdout, "blocking until %s; then everything is taken back. Interrupt to take it back now.\n", end.Format(time.TimeOnly))
	}
	cfg.Stopping = func(s Status) {
		fmt.Fprintln(env.Stdout, "everything is taken back. What was blocked:")
		s.print(env.Stdout, time.Now())
	}
	b, err := New(cfg)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGHUP)
	ctx, stop := context.WithDeadline(ctx, end)
	defer stop()
	return b.Run(ctx)
}

// isUpstreamFile tells whether a file is that of upstream's bouncer, by its name.
func isUpstreamFile(path string) bool {
	return strings.HasPrefix(path[strings.LastIndexAny(path, `/\`)+1:], UpstreamName)
}

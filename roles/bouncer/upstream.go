package bouncer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"

	"cs/platform"
	"cs/roles/config"
)

// UpstreamName is the name of upstream's program, under which ours takes its
// flags and its file.
const UpstreamName = "crowdsec-firewall-bouncer"

// upstreamFlags are the flags of upstream's program.
type upstreamFlags struct {
	config                       string
	verbose, version, test, show bool
}

const upstreamUsage = `Usage of ` + UpstreamName + `:
  -c file
    	path to ` + UpstreamName + `.yaml
  -t	test the configuration and exit; nothing else is touched
  -T	show the configuration, the overlay merged in, and exit
  -v	set verbose mode
  -V, -version
    	display version and exit
`

// parseUpstream reads flags as upstream's program does: one dash or two.
func parseUpstream(args []string) (f upstreamFlags, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
		if name == arg || name == "" {
			return f, fmt.Errorf("argument provided but not defined: %s", arg)
		}
		name, value, given := strings.Cut(name, "=")
		switch name {
		case "c":
			if !given && len(args) == 0 {
				return f, errors.New("flag needs an argument: -c")
			}
			if !given {
				value, args = args[0], args[1:]
			}
			f.config = value
		case "v":
			f.verbose = value != "false"
		case "V", "version":
			f.version = value != "false"
		case "t":
			f.test = value != "false"
		case "T":
			f.show = value != "false"
		case "h", "help":
			return f, errHelp
		default:
			return f, fmt.Errorf("flag provided but not defined: -%s", name)
		}
	}
	return f, nil
}

var errHelp = errors.New("help wanted")

// Upstream runs one command line of upstream's program and returns the exit
// code: 2 for a faulty command line, 1 for another error.
func Upstream(ctx context.Context, args []string, env *platform.Env) int {
	f, err := parseUpstream(args)
	if err != nil {
		if !errors.Is(err, errHelp) {
			fmt.Fprintln(env.Stderr, err)
		}
		fmt.Fprint(env.Stderr, upstreamUsage)
		if errors.Is(err, errHelp) {
			return 0
		}
		return 2
	}
	if f.version {
		fmt.Fprintln(env.Stdout, "version:", env.Version)
		return 0
	}
	if err := f.run(ctx, env); err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled)) {
		fmt.Fprintln(env.Stderr, "Error:", err)
		return 1
	}
	return 0
}

func (f *upstreamFlags) run(ctx context.Context, env *platform.Env) error {
	level := new(slog.LevelVar)
	env.Log = slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: level}))
	if f.verbose {
		level.Set(slog.LevelDebug)
	} else {
		env.LogLevel = level
	}
	if f.config == "" {
		return errors.New("configuration file is required: give it with -c")
	}
	if f.show {
		return f.print(env.Stdout)
	}
	load := func() (Config, error) {
		b, err := readUpstream(env, f.config, nil)
		if err != nil {
			return Config{}, err
		}
		if !f.test {
			logTo(env, b.LogFile)
		}
		r := config.Resolved{DataDir: platform.DataDir(), Bouncer: b}
		if dir, ok := env.LookupEnv("CS_DATA_DIR"); ok && dir != "" {
			r.DataDir = dir
		}
		return new(Command).config(env, r)
	}
	if !f.test {
		debug.SetGCPercent(gcPercent)
		return serve(ctx, env.Log, load)
	}
	cfg, err := load()
	if err == nil {
		_, err = New(cfg)
	}
	if err == nil {
		env.Log.Info("config is valid")
	}
	return err
}

// print shows the merged configuration. Variables stay as they are written.
func (f *upstreamFlags) print(w io.Writer) error {
	text, err := config.Merged(f.config)
	if err == nil {
		_, err = w.Write(text)
	}
	return err
}

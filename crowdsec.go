//go:build !bouncer_only

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"cs/pipeline"
	"cs/pipeline/explain"
	"cs/platform"
	"cs/roles/agent"
	"cs/roles/cli"
	"cs/roles/config"
	"cs/roles/engine"
	"cs/roles/lapi"
	"cs/roles/run"
)

// isCrowdsec tells whether we stand in for upstream's daemon, whose command
// line has flags only: by our name, or by a flag that is its alone.
func isCrowdsec(program string, args []string) bool {
	return program == "crowdsec" || slices.Contains(args, "-dsn")
}

// daemon is the command line of upstream's daemon (spec cli §2.1).
type daemon struct {
	cli.Globals
	fatal     bool
	version   bool
	test      bool
	noAgent   bool
	noAPI     bool
	noCAPI    bool
	dsn       string
	logType   string
	labels    map[string]string
	transform string
	dumpDir   string
	profile   string
	winsvc    string
}

// parseDaemon reads the command line. Faults of form, and a request for help,
// are told on the flag set's output.
func parseDaemon(args []string, env *platform.Env) (*daemon, error) {
	d := &daemon{labels: map[string]string{}}
	set := flag.NewFlagSet(env.Program, flag.ContinueOnError)
	set.SetOutput(env.Stderr)
	set.StringVar(&d.Config, "c", "", "configuration `file`")
	set.BoolVar(&d.Trace, "trace", false, "log everything")
	set.BoolVar(&d.Debug, "debug", false, "log what helps to find an error")
	set.BoolVar(&d.Info, "info", false, "log confirmations")
	set.BoolVar(&d.Warning, "warning", false, "log warnings and errors only")
	set.BoolVar(&d.Error, "error", false, "log errors only")
	set.BoolVar(&d.fatal, "fatal", false, "log errors only")
	set.BoolVar(&d.version, "version", false, "show the version")
	set.BoolVar(&d.test, "t", false, "test the configuration and end")
	set.BoolVar(&d.noAgent, "no-cs", false, "read no logs")
	set.BoolVar(&d.noAPI, "no-api", false, "serve no Local API")
	set.BoolVar(&d.noCAPI, "no-capi", false, "no central API: we have none")
	set.Bool("order-event", false, "keep the order of events: we always do")
	set.StringVar(&d.dsn, "dsn", "", "read this `source` once, from start to end: file://PATH")
	set.StringVar(&d.logType, "type", "", "`label` type of the lines of -dsn")
	set.Func("label", "more labels of the lines of -dsn, as `k:v[,k:v]`; may be given again", d.addLabels)
	set.StringVar(&d.transform, "transform", "", "`expression` over the lines of -dsn")
	set.StringVar(&d.profile, "cpu-profile", "", "write what the time is spent on to this `file`, for 'go tool pprof'")
	d.addWinsvc(set)
	set.StringVar(&d.dumpDir, "dump-data", "", "write what happens to the lines to this `directory`, and send no alerts")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 {
		err := fmt.Errorf("argument provided but not defined: %s", set.Arg(0))
		fmt.Fprintln(env.Stderr, err)
		set.Usage()
		return nil, err
	}
	return d, nil
}

// addLabels takes the value of -label.
func (d *daemon) addLabels(list string) error {
	labels, err := config.ParseLabels(list)
	maps.Copy(d.labels, labels)
	return err
}

// check refuses flags that don't go together.
func (d *daemon) check() error {
	switch {
	case d.dsn != "" && d.logType == "":
		return errors.New("-dsn requires a -type argument")
	case d.dsn == "" && d.logType != "":
		return errors.New("-type requires a -dsn argument")
	case d.dsn == "" && d.transform != "":
		return errors.New("-transform requires a -dsn argument")
	case d.dsn == "" && d.dumpDir != "":
		return errors.New("-dump-data requires a -dsn argument")
	case d.noAgent && d.dsn != "":
		return errors.New("-dsn reads logs and -no-cs reads none")
	case d.noAgent && d.noAPI:
		return errors.New("you must run at least the API Server or crowdsec")
	}
	return nil
}

// executeDaemon runs one command line of upstream's daemon and returns the exit
// code: 2 for a faulty command line, 1 for another error.
func executeDaemon(ctx context.Context, args []string, env *platform.Env) int {
	d, err := parseDaemon(args, env)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if d.Config == "" {
		d.Config, _ = env.LookupEnv("CS_CONFIG_FILE")
	}
	d.DataDir, _ = env.LookupEnv("CS_DATA_DIR")
	d.Error = d.Error || d.fatal
	if d.winsvc != "" || d.test || d.version || d.dsn != "" {
		return d.execute(ctx, env)
	}
	return asService(ctx, env, d.execute)
}

// execute does what the command line, which has been read, asks for.
func (d *daemon) execute(ctx context.Context, env *platform.Env) int {
	logTo(env, &d.Globals)
	d.warnOfFeatures(env)
	if d.noCAPI {
		env.Log.Warn("Communication with CrowdSec Central API disabled from args")
	}
	defer context.AfterFunc(ctx, func() { env.Log.Info("SIGTERM received, shutting down") })()
	if err := d.profiled(ctx, env); err != nil && !(errors.Is(err, context.Canceled) && ctx.Err() != nil) {
		tell(env, cli.FormatError(env.Program, "", err), err)
		return 1
	}
	return 0
}

// warnOfFeatures tells which feature flags nobody knows.
func (d *daemon) warnOfFeatures(env *platform.Env) {
	_, warnings := config.Features(filepath.Dir(cmp.Or(d.Config, config.UpstreamPath())), os.Environ(), env.LookupEnv)
	for _, w := range warnings {
		env.Log.Warn("feature flags", "warning", w)
	}
}

// profiled is run, with a profile of it if one is wanted.
func (d *daemon) profiled(ctx context.Context, env *platform.Env) error {
	if d.profile == "" {
		return d.run(ctx, env)
	}
	stop, err := startProfile(d.profile)
	if err != nil {
		return err
	}
	return errors.Join(d.run(ctx, env), stop())
}

func (d *daemon) run(ctx context.Context, env *platform.Env) error {
	if d.winsvc != "" {
		return d.controlService(ctx)
	}
	if d.version {
		return new(cli.Version).Run(ctx, env, &d.Globals)
	}
	if err := d.check(); err != nil {
		return err
	}
	p, err := d.plan(env)
	switch {
	case err != nil:
		return err
	case d.test:
		p.warn(env)
		return p.test(env)
	case d.dumpDir != "":
		return d.dump(ctx, env, p)
	case d.dsn != "":
		if err := d.serve(ctx, env); err != nil {
			return err
		}
		env.Log.Info("Acquisition is finished, shutting down")
		return nil
	}
	return d.serve(ctx, env) // the roles reload by themselves
}

// plan is what the configuration and the command line come to.
type plan struct {
	config.Resolved
	conf    *config.File
	reading agent.Reading
}

func (d *daemon) plan(env *platform.Env) (p plan, err error) {
	if p.Resolved, err = d.Resolve(env, func(f *config.File) { p.conf = f }); err != nil {
		return p, err
	}
	p.Agent.Enabled = p.Agent.Enabled && !d.noAgent
	p.LAPI.Enabled = p.LAPI.Enabled && !d.noAPI
	switch {
	case !p.Agent.Enabled && !p.LAPI.Enabled:
		return p, errors.New("you must run at least the API Server or crowdsec")
	case d.dsn == "":
		return p, nil
	case !p.Agent.Enabled:
		return p, errors.New("-dsn reads logs, and the configuration enables no crowdsec_service")
	}
	acq, err := d.source()
	if err == nil {
		_, _, err = engine.Reader{}.Open(acq) // a fault is better told before anything starts
	}
	p.reading.Inputs = []config.Acquisition{acq}
	return p, err
}

// warn tells what is doubtful.
func (p plan) warn(env *platform.Env) {
	for _, w := range p.conf.Warnings() {
		env.Log.Warn(w)
	}
	if p.Agent.Enabled && len(p.reading.Inputs) == 0 && p.Agent.AcquisitionPath == "" && p.Agent.AcquisitionDir == "" {
		env.Log.Warn("no acquisition_path or acquisition_dir specified")
	}
	if !p.Agent.Enabled {
		env.Log.Warn("crowdsec agent is disabled")
	}
	if !p.LAPI.Enabled {
		env.Log.Warn("crowdsec local API is disabled")
	}
}

// serve runs the roles that the configuration, as it is now, asks for.
func (d *daemon) serve(ctx context.Context, env *platform.Env) error {
	p, err := d.plan(env)
	if err != nil {
		return err
	}
	if d.dsn == "" {
		p.Log.Direct(env)
	}
	p.warn(env)
	if !p.LAPI.Enabled {
		alone := &agent.Command{Reading: p.reading, Replay: d.dsn != ""}
		return alone.Run(ctx, env, &d.Flags)
	}
	// Upstream's daemon is no bouncer: we are one only where it is said.
	all := &run.Command{Reading: p.reading, NoAgent: d.noAgent, NoBouncer: p.conf.Bouncer == nil, Once: d.dsn != ""}
	all.Check = func() error {
		p, err := d.plan(env)
		if err != nil {
			return err
		}
		return p.test(env)
	}
	return all.Run(ctx, env, &d.Flags)
}

// source reads -dsn and what belongs to it.
func (d *daemon) source() (config.Acquisition, error) {
	acq, err := config.ParseDSN(d.dsn)
	if err != nil {
		return acq, err
	}
	maps.Copy(acq.Labels, d.labels)
	acq.Labels["type"] = d.logType
	acq.Transform.Value = d.transform
	return acq, nil
}

// dump reads the source into dump files. Faulty content is an error here: what
// would come out is not what its author wants to see.
func (d *daemon) dump(ctx context.Context, env *platform.Env, p plan) error {
	src, _, err := engine.Reader{Report: func(err error) { env.Log.Warn("trouble with the log", "err", err) }}.Open(p.reading.Inputs[0])
	if err != nil {
		return err
	}
	opt := explain.Options{Engine: engine.Options(p.Resolved), Events: true}
	var errs []error
	opt.Engine.Content, errs = engine.Content("", p.Resolved)
	opt.Engine.Warn = func(message string) { env.Log.Warn("content is doubtful", "warning", message) }
	rec, faulty, err := explain.Run(ctx, opt, src)
	if err := errors.Join(append(append(errs, faulty...), err)...); err != nil {
		return err
	}
	if rec.Failures > 0 {
		env.Log.Warn("expressions of the content failed", "times", rec.Failures, "last", rec.LastFailure)
	}
	return rec.WriteDumps(d.dumpDir)
}

// test loads everything that the roles would load and starts
// nothing. All that is wrong is returned.
func (p plan) test(env *platform.Env) error {
	var errs []error
	if p.LAPI.Enabled {
		conf := lapi.NewConfig(env, p.Resolved)
		errs = append(errs, conf.Check())
	}
	if p.Agent.Enabled {
		opt := engine.Options(p.Resolved)
		var faulty []error
		opt.Content, faulty = engine.Content("", p.Resolved)
		errs = append(errs, faulty...)
		opt.Warn = func(message string) { env.Log.Warn("content is doubtful", "warning", message) }
		_, faulty = pipeline.Load(opt)
		errs = append(errs, faulty...)
		cfg, err := p.reading.Config(env, p.Resolved)
		errs = append(append(errs, err), cfg.Faults...)
		for _, acq := range cfg.Inputs {
			_, _, err := engine.Reader{}.Open(acq)
			errs = append(errs, err)
		}
	}
	errs = slices.DeleteFunc(errs, func(err error) bool {
		missing := errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, agent.ErrNoSource)
		if missing { // it is left out: that must not keep the rest from starting
			env.Log.Error("something is left out", "err", err)
		}
		return missing
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	env.Log.Info("Configuration test done")
	return nil
}

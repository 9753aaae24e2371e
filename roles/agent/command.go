package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cs/decisions"
	"cs/pipeline/hub"
	"cs/pipeline/source/file"
	"cs/platform"
	"cs/platform/metric"
	"cs/roles/api"
	"cs/roles/config"
	"cs/roles/engine"
)

// Reading is what can be said about reading logs, with the flags of "cs agent".
type Reading struct {
	Logs       []string `name:"log" help:"Log to read: a path, a pattern, or - for standard input; may be given again (default: the host's usual logs)." placeholder:"FILE" sep:"none"`
	Types      []string `name:"type" help:"Kind of the log before it: syslog, nginx, apache2 …" placeholder:"TYPE" sep:"none"`
	Acquis     string   `help:"File that lists the logs, in the form of acquis.yaml." placeholder:"FILE" type:"path"`
	Content    string   `help:"Directory with parsers/ and scenarios/ (default: the built-in starter set)." placeholder:"DIR" type:"path"`
	MaxBuckets int      `help:"Most attackers to watch at once (default 262144)." placeholder:"N"`
	FromStart  bool     `help:"Read logs that were never read before from their start, not from their end."`

	// Inputs, if there are any, are read instead of all others.
	Inputs []config.Acquisition `kong:"-"`

	sweepEvery time.Duration // that of follow.go; tests shorten it, and looking may take any share then
}

// Overlay lays the flags over the file.
func (f *Reading) Overlay(file *config.File) {
	if file.Crowdsec == nil {
		file.Crowdsec = new(config.CrowdsecService)
	}
	if f.Acquis != "" {
		file.Crowdsec.AcquisitionPath, file.Crowdsec.AcquisitionDir = f.Acquis, ""
	}
	if f.MaxBuckets > 0 {
		config.Set(&file.Limits.MaxBuckets, fmt.Sprint(f.MaxBuckets))
	}
}

// Config returns the Config that a configuration and the flags stand for; the
// LAPI is missing.
func (f *Reading) Config(env *platform.Env, r config.Resolved) (Config, error) {
	cfg := Config{
		DataDir:    r.DataDir,
		Engine:     engine.Options(r),
		SpoolBytes: r.Agent.SpoolBytes,

		MemoryLimit: r.MemoryLimit,
		FromStart:   f.FromStart,
		Version:     env.Version,
		Log:         env.Log,
		Stdin:       env.Stdin,
	}
	var err error
	if cfg.Inputs, cfg.Faults, err = f.inputs(env, r.Agent); err != nil {
		return Config{}, err
	}
	for _, path := range r.Agent.Additional {
		cfg.Others = append(cfg.Others, Other{Name: path, Connect: func(scenarios func() []string) (LAPI, error) {
			credentials, err := config.ReadCredentials(path, env.LookupEnv)
			if err != nil {
				return nil, err
			}
			return connect(env, r, credentials, false, "", scenarios)
		}})
	}
	cfg.Content = func() (hub.Content, []error) { return engine.Content(f.Content, r) }
	return cfg, nil
}

// ErrNoSource says that there is nothing to read.
var ErrNoSource = errors.New("no datasource enabled")

// inputs returns the logs to read: those of the flags, else of the acquisition
// files, else the usual ones. The faults are about others that were named.
func (f *Reading) inputs(env *platform.Env, r config.Agent) (list []config.Acquisition, faults []error, err error) {
	if len(f.Inputs) > 0 {
		return f.Inputs, nil, nil
	}
	if len(f.Logs) > 0 {
		list, err = f.named()
		return list, nil, err
	}
	if len(f.Types) > 0 {
		return nil, nil, errors.New("--type needs a --log before it")
	}
	if r.AcquisitionPath == "" && r.AcquisitionDir == "" {
		found := discoverHost(os.DirFS("/"))
		if len(found) == 0 {
			return nil, nil, fmt.Errorf("%w: this system has no usual logs, name some with --log FILE --type TYPE", ErrNoSource)
		}
		if !anyThere(found) {
			env.Log.Warn("none of the usual logs is there yet; name others with --log FILE --type TYPE")
		}
		for _, acq := range found {
			env.Log.Info("reading", "source", acq.Source, "what", engine.What(acq), "type", acq.Labels["type"])
		}
		return found, nil, nil
	}
	if _, err := os.Stat(f.Acquis); f.Acquis != "" && err != nil {
		return nil, nil, fmt.Errorf("cannot read the acquisition file: %w", err)
	}
	files, err := config.AcquisitionFiles(r.AcquisitionPath, r.AcquisitionDir)
	if err != nil {
		return nil, nil, err
	}
	for _, path := range files {
		some, wrong := engine.Acquisitions(path, env.LookupEnv)
		list, faults = append(list, some...), append(faults, wrong...)
	}
	for _, acq := range list {
		if acq.Guessed {
			env.Log.Warn("datasource type missing, detected 'source="+acq.Source+"'", "at", acq.Place)
		}
	}
	list, doubled := distinct(list)
	faults = append(faults, doubled...)
	if len(list) == 0 {
		empty := fmt.Errorf("nothing to read in %s", strings.TrimSpace(r.AcquisitionPath+" "+r.AcquisitionDir))
		return nil, nil, fmt.Errorf("%w: %w", ErrNoSource, errors.Join(append(faults, empty)...))
	}
	return list, faults, nil
}

// distinct leaves out what has the unique_id of another one before it.
func distinct(list []config.Acquisition) (kept []config.Acquisition, faults []error) {
	first := make(map[string]config.Acquisition)
	for _, acq := range list {
		if acq.UniqueID != "" {
			if one, ok := first[acq.UniqueID]; ok {
				at, _ := acq.Doc.PlaceOf("unique_id")
				faults = append(faults, at.Errorf("%q is that of %s:%d as well", acq.UniqueID, one.Place.File, one.Place.Line))
				continue
			}
			first[acq.UniqueID] = acq
		}
		kept = append(kept, acq)
	}
	return kept, faults
}

// anyThere tells whether there is something to read now.
func anyThere(list []config.Acquisition) bool {
	for _, acq := range list {
		keys, ok := acq.Keys.(file.Keys)
		if !ok {
			return true
		}
		for _, glob := range keys.Globs() {
			if paths, err := filepath.Glob(glob); err == nil && len(paths) > 0 {
				return true
			}
		}
	}
	return false
}

// named pairs --log and --type. One type is good for all logs.
func (f *Reading) named() (list []config.Acquisition, err error) {
	if len(f.Types) != len(f.Logs) && len(f.Types) != 1 {
		return nil, fmt.Errorf("%d --log and %d --type: each --log FILE needs its --type TYPE", len(f.Logs), len(f.Types))
	}
	for i, log := range f.Logs {
		if log == "" || f.Types[min(i, len(f.Types)-1)] == "" {
			return nil, errors.New("--log and --type must not be empty")
		}
		list = append(list, fileInput(f.Types[min(i, len(f.Types)-1)], []string{log}))
	}
	return list, nil
}

// Command is "cs agent".
type Command struct {
	LAPIURL string `name:"lapi-url" help:"URL of the LAPI, or path of its unix socket (default http://127.0.0.1:8080/)." placeholder:"URL" env:"CS_LAPI_URL"`
	Token   string `help:"Registration token of the LAPI, to join it by itself." placeholder:"TOKEN" env:"CS_TOKEN"`
	Machine string `help:"Name to register under (default: made of the host's name)." placeholder:"NAME"`

	Replay bool `help:"Read the logs once, from start to end and by the times in them, and end; keep nothing on disk."`
	DryRun bool `help:"Print alerts instead of sending them; keep nothing on disk."`

	Reading `embed:""`
}

// errNoCredentials says that nothing tells the LAPI who we are.
var errNoCredentials = errors.New("no credentials for the LAPI: give --token to join it, or run 'cs register'")

// Run reads logs until ctx ends.
func (c *Command) Run(ctx context.Context, env *platform.Env, flags *config.Flags) error {
	resolve := func() (config.Resolved, error) {
		r, err := flags.Resolve(env, c.Overlay)
		if err == nil {
			r.Log.Direct(env)
		}
		return r, err
	}
	r, err := resolve()
	if err != nil {
		return err
	}
	cfg, err := c.Config(env, r)
	if err != nil {
		return err
	}
	for i := range cfg.Inputs {
		cfg.Inputs[i].Cat = cfg.Inputs[i].Cat || c.Replay
	}
	var scenarios func() []string
	cfg.Stateless = c.Replay || c.DryRun
	if c.DryRun {
		cfg.LAPI, cfg.Others = &printer{w: env.Stdout}, nil
	} else if cfg.LAPI, err = c.link(env, r, func() []string { return scenarios() }); err != nil {
		return err
	}
	cfg.Ready = func() {
		env.Log.Info("agent is ready", "data_dir", r.DataDir)
		platform.Ready()
	}
	a, err := New(cfg)
	if err != nil {
		return err
	}
	scenarios = a.Scenarios
	if c.Replay {
		return a.Run(ctx)
	}
	hup, stop := platform.Hangups()
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() {
		c.Follow(ctx, env, a, hup, func() (config.Resolved, error) {
			r, err := resolve()
			if err == nil {
				err = c.reread(env, r, cfg.LAPI)
			}
			return r, err
		})
	})
	if !cfg.Stateless {
		beside.Go(func() { c.serveSocket(ctx, env, r, a) })
	}
	if m := r.Metrics; m.Listen != "" {
		beside.Go(func() {
			err := metric.Serve(ctx, m.Listen, metric.Runtime(time.Now()), MetricsInfo(env.Version), a.Metrics(m.Level))
			if err != nil {
				env.Log.Error("there are no metrics", "err", err)
			}
		})
	}
	err = a.Run(ctx)
	cancel()
	beside.Wait()
	if r.Agent.Unregister {
		c.unregister(env, cfg.LAPI)
	}
	return err
}

// unregisterTime is for how long the LAPI is asked to forget us.
const unregisterTime = 500 * time.Millisecond

// unregister deletes our account at the LAPI. What fails is only told: nobody waits for it.
func (c *Command) unregister(env *platform.Env, l LAPI) {
	switch l := l.(type) {
	case *remote:
		ctx, stop := context.WithTimeout(context.Background(), unregisterTime)
		defer stop()
		if err := l.who.Load().client.Unregister(ctx); err != nil {
			env.Log.Warn("this machine stays registered", "err", err)
		}
	case *fallback:
		for _, one := range l.list {
			c.unregister(env, one)
		}
	}
}

// serveSocket shows the numbers of the agent to the commands of this host.
func (c *Command) serveSocket(ctx context.Context, env *platform.Env, r config.Resolved, a *Agent) {
	path := filepath.Join(r.DataDir, config.AgentSocketName)
	err := metric.ServeSocket(ctx, path, metric.Runtime(time.Now()), MetricsInfo(env.Version), a.Metrics(metricsFull))
	if err != nil {
		env.Log.Warn("commands of this host can't read the agent's numbers", "err", err)
	}
}

// link returns that to the LAPI, or to those of them that are there.
func (c *Command) link(env *platform.Env, r config.Resolved, scenarios func() []string) (LAPI, error) {
	first, err := c.remote(env, r, scenarios)
	if err != nil || len(r.Agent.Fallbacks) == 0 {
		return first, err
	}
	f := &fallback{list: []LAPI{first}, name: []string{r.Agent.CredentialsPath}, log: env.Log}
	for _, path := range r.Agent.Fallbacks {
		credentials, err := config.ReadCredentials(path, env.LookupEnv)
		if err != nil {
			return nil, err
		}
		next, err := connect(env, r, credentials, false, c.Token, scenarios)
		if err != nil {
			return nil, err
		}
		f.list, f.name = append(f.list, next), append(f.name, path)
	}
	return f, nil
}

// reread has a link that link returned use the credentials that are in its files now.
func (c *Command) reread(env *platform.Env, r config.Resolved, l LAPI) error {
	switch l := l.(type) {
	case *remote:
		return l.reread(r.Agent.CredentialsPath, c.LAPIURL, env.LookupEnv)
	case *fallback:
		errs := []error{c.reread(env, r, l.list[0])}
		for i, next := range l.list[1:] {
			if next, ok := next.(*remote); ok {
				errs = append(errs, next.reread(l.name[i+1], "", env.LookupEnv))
			}
		}
		return errors.Join(errs...)
	}
	return nil
}

// Remote returns the link of an agent, which may be part of a larger process, to the
// LAPI that the credentials in its configuration lead to.
func Remote(env *platform.Env, r config.Resolved, scenarios func() []string) (LAPI, error) {
	return new(Command).link(env, r, scenarios)
}

// remote returns the link to the LAPI, with credentials that are made now if
// there are none.
func (c *Command) remote(env *platform.Env, r config.Resolved, scenarios func() []string) (*remote, error) {
	url := c.LAPIURL
	path := r.Agent.CredentialsPath
	_, err := config.ReadCredentials(path, env.LookupEnv)
	if errors.Is(err, os.ErrNotExist) {
		switch {
		case strings.HasPrefix(url, "/") && c.Token == "":
			// Who may open the administration socket needs no account.
			return connect(env, r, config.Credentials{URL: url}, false, c.Token, scenarios)
		case c.Token == "":
			return nil, errNoCredentials
		case url == "":
			url = config.DefaultURL
		}
	}
	credentials, made, err := config.EnsureCredentials(path, url, c.Machine, env.LookupEnv)
	if err != nil {
		return nil, err
	}
	if made {
		env.Log.Info("made credentials for the LAPI", "machine", credentials.Login, "url", credentials.URL, "file", path)
	}
	return connect(env, r, credentials, made, c.Token, scenarios)
}

func connect(env *platform.Env, r config.Resolved, credentials config.Credentials, made bool, token string, scenarios func() []string) (*remote, error) {
	clock := (&skew{log: env.Log, now: time.Now}).heard
	return newRemote(credentials, made, token, func(c config.Credentials) api.ClientConfig {
		conf := c.Client(env.Version, r.Agent.InsecureSkipVerify)
		conf.Scenarios, conf.Clock = scenarios, clock
		return conf
	})
}

// printer is a LAPI that shows alerts to a person.
type printer struct{ w io.Writer }

func (p *printer) SendAlerts(_ context.Context, alerts []decisions.Alert) error {
	for i := range alerts {
		if _, err := fmt.Fprintln(p.w, alerts[i].Message); err != nil {
			return fmt.Errorf("cannot print an alert: %w", err)
		}
	}
	return nil
}

func (p *printer) Heartbeat(context.Context) error { return nil }

func (p *printer) Report(context.Context, api.ComponentMetrics) error { return nil }

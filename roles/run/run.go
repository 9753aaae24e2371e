// Package run is all roles in one process, the usual thing on a router: a LAPI
// with its store, an agent and a firewall bouncer, linked by function calls
// instead of a network. It is the only package that knows more than one role,
// and does nothing itself: each role is the one that runs alone elsewhere,
// made with another link.
package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/platform/metric"
	"cs/platform/supervise"
	"cs/roles/agent"
	"cs/roles/api"
	"cs/roles/bouncer"
	"cs/roles/config"
	"cs/roles/lapi"
)

// Command is "cs run".
type Command struct {
	lapi.Command      `embed:""`
	agent.Reading     `embed:""`
	bouncer.Enforcing `embed:""`

	NoAgent   bool `name:"no-agent" help:"Read no logs."`
	NoBouncer bool `name:"no-bouncer" help:"Leave the firewall alone."`

	// Once ends all roles when the agent has read everything, which its inputs
	// must have an end for. The agent keeps nothing on disk.
	Once bool `kong:"-"`
	// Check says whether a configuration that has changed is good; nil: a look at
	// what the roles would load has to do.
	Check func() error `kong:"-"`
}

// Names under which the roles of this process are known to its LAPI, unless the
// configuration has credentials for it.
const (
	machineName = "localhost"
	bouncerName = "firewall"
)

// Overlay lays the flags over the file.
func (c *Command) Overlay(file *config.File) {
	c.Command.Overlay(file)
	c.Reading.Overlay(file)
	c.Enforcing.Overlay(file)
}

// Run runs the roles until ctx ends. On SIGHUP they take over what has changed,
// or are started anew if they can't, unless the configuration is faulty. One
// that fails is started again while the others go on; a bouncer for which this
// system has no firewall is left out. The agent takes changed content over by
// itself.
func (c *Command) Run(ctx context.Context, env *platform.Env, flags *config.Flags) error {
	if c.Once {
		return c.run(ctx, env, flags, new(process))
	}
	hup, stop := platform.Hangups()
	defer stop()
	check := c.Check
	if check == nil {
		check = func() error { return c.check(env, flags) }
	}
	for {
		p := &process{agent: make(chan os.Signal, 1), bouncer: make(chan os.Signal, 1)}
		again, err := untilAnew(ctx, env.Log, hup, func() (anew bool, err error) {
			if err := check(); err != nil {
				return false, err
			}
			r, err := flags.Resolve(env, c.Overlay)
			if err != nil {
				return false, err
			}
			return p.take(r, lapi.NewConfig(env, r), c.linkOf(env, r))
		}, func(ctx context.Context) error { return c.run(ctx, env, flags, p) })
		if !again {
			return err
		}
	}
}

// check loads what can be without starting anything.
func (c *Command) check(env *platform.Env, flags *config.Flags) error {
	r, err := flags.Resolve(env, c.Overlay)
	if err != nil {
		return err
	}
	if !r.LAPI.Enabled {
		return errNoLAPI
	}
	var errs []error
	conf := lapi.NewConfig(env, r)
	errs = append(errs, conf.Check())
	if r.Agent.Enabled && !c.NoAgent {
		_, err := c.Reading.Config(env, r)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

var errNoLAPI = errors.New("the configuration has no LAPI for the others: run 'cs agent' and 'cs bouncer-firewall' with --lapi-url instead")

var errNoReader = errors.New("--log reads logs, and the configuration has other roles but no crowdsec_service: add 'crowdsec_service: {}' to it")

func (c *Command) run(ctx context.Context, env *platform.Env, flags *config.Flags, p *process) error {
	resolve := func() (config.Resolved, error) { return flags.Resolve(env, c.Overlay) }
	r, err := resolve()
	if err != nil {
		return err
	}
	r.Log.Direct(env)
	switch {
	case !r.LAPI.Enabled:
		return errNoLAPI
	case !r.Agent.Enabled && len(c.Logs) > 0:
		return errNoReader
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var failed error // of a replay, which is not tried again
	server := &server{conf: lapi.NewConfig(env, r), opened: make(chan struct{})}
	to := c.linkOf(env, r)
	p.start(r, to, server)
	var reader atomic.Pointer[agent.Agent] // that runs, for the pages of metrics
	server.conf.Metrics = func(level string) metric.Source {
		return func(ctx context.Context, w *metric.Writer) {
			if a := reader.Load(); a != nil {
				a.Metrics(level)(ctx, w)
			}
		}
	}
	ready := newCountdown(func() {
		env.Log.Info("cs is ready", "data_dir", r.DataDir, "listen", r.LAPI.Listen)
		platform.Ready()
	})
	services := []supervise.Service{{Name: "lapi", Run: server.Run}}
	if r.Bouncer.Enabled && !c.NoBouncer {
		_, err := bouncer.NewConfig(env, r)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			// The others are of use without it: what they decide is enforced elsewhere.
			services = append(services, supervise.Service{Name: "bouncer", Run: func(context.Context) error { return err }})
		case err != nil:
			return err
		default:
			enforcing := ready.add()
			load := func() (bouncer.Config, error) {
				r, err := resolve()
				if err != nil {
					return bouncer.Config{}, err
				}
				cfg, err := bouncer.NewConfig(env, r)
				link := &feed{server: server}
				cfg.Feed, cfg.Usage.Report = link, link.Report
				cfg.Ready = enforcing
				return cfg, err
			}
			services = append(services, supervise.Service{Name: "bouncer", Run: func(ctx context.Context) error {
				err := bouncer.Serve(ctx, env.Log, load, p.bouncer)
				if errors.Is(err, errors.ErrUnsupported) {
					enforcing() // nobody waits for it
				}
				return err
			}})
		}
	}
	if r.Agent.Enabled && !c.NoAgent {
		cfg, err := c.Reading.Config(env, r)
		if err != nil {
			return err
		}
		reading, first := ready.add(), true
		services = append(services, supervise.Service{Name: "agent", Run: func(ctx context.Context) error {
			if !first { // the configuration may be another by now
				if r, err := resolve(); err != nil {
					return err
				} else if cfg, err = c.Reading.Config(env, r); err != nil {
					return err
				}
			}
			first = false
			cfg.Stateless = c.Once
			cfg.Ready = reading
			var a *agent.Agent
			link, err := to.open(env, r, server, func() []string { return a.Scenarios() })
			if cfg.LAPI = link; err == nil {
				a, err = agent.New(cfg)
			}
			if err == nil {
				reader.Store(a)
				err = c.read(ctx, env, a, p.agent, resolve)
			}
			if c.Once {
				failed, err = err, nil
				stop()
			}
			return err
		}})
	}
	if r.Metrics.Listen != "" {
		services = append(services, supervise.Service{Name: "metrics", Run: func(ctx context.Context) error {
			s, err := server.get(ctx)
			if err != nil {
				return err
			}
			return s.ServeMetrics(ctx, env, r.Metrics)
		}})
	}
	server.ready = ready.add()
	err = supervise.Run(ctx, env.Log, services...)
	p.end()
	return errors.Join(err, failed, server.Close())
}

// read runs the agent, and lets it take changed files over.
func (c *Command) read(ctx context.Context, env *platform.Env, a *agent.Agent, hup <-chan os.Signal, resolve func() (config.Resolved, error)) error {
	if c.Once {
		return a.Run(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() {
		c.Follow(ctx, env, a, hup, resolve)
	})
	err := a.Run(ctx)
	stop()
	beside.Wait()
	return err
}

// server is the LAPI that the links below lead to. It stays open while its
// listeners fail and are tried again, a busy port for example.
type server struct {
	conf   lapi.Config
	ready  func()
	opened chan struct{} // closed once open is set

	mu   sync.Mutex
	open *lapi.Server
}

// Run opens the server if it isn't, and serves until ctx ends.
func (s *server) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.open == nil {
		open, err := lapi.Open(ctx, s.conf)
		if err != nil {
			s.mu.Unlock()
			return err
		}
		s.open = open
		close(s.opened)
		s.ready()
	}
	open := s.open
	s.mu.Unlock()
	return open.Run(ctx)
}

// reload takes over what the server can of another configuration.
func (s *server) reload(conf lapi.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		conf.Metrics = s.conf.Metrics
		s.conf = conf
		return nil
	}
	return s.open.Reload(conf)
}

// Close closes what is open. The services have ended.
func (s *server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return nil
	}
	return s.open.Close()
}

// patience is how long a link waits for the server to open before it reports
// that there is none.
const patience = 10 * time.Second

var errNotOpen = fmt.Errorf("the LAPI of this process is not open: %w", api.ErrUnreachable)

// get returns the server, once it is open.
func (s *server) get(ctx context.Context) (*lapi.Server, error) {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-s.opened:
		return s.open, nil
	case <-t.C:
		return nil, errNotOpen
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// agentLink is which LAPI the agent tells what it finds: that of this process under the name
// of a machine, or another.
type agentLink struct {
	machine string
	other   config.Credentials // of which the path is in the configuration; zero: none
}

// linkOf returns the link that credentials ask for which the configuration names, as
// those of upstream's packages do: this machine keeps the name that it has there, and who has
// registered it at another LAPI wants that to hear of attacks.
func (c *Command) linkOf(env *platform.Env, r config.Resolved) agentLink {
	l := agentLink{machine: machineName}
	if !r.Agent.Enabled || c.NoAgent || !r.Agent.CredentialsNamed {
		return l
	}
	found, err := config.ReadCredentials(r.Agent.CredentialsPath, env.LookupEnv)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, config.ErrNoCredentials):
		env.Log.Warn("the agent needs no credentials for the LAPI of its process, and these are of no use to anybody", "err", err)
	case err == nil && !found.LeadTo(&r.LAPI):
		l.other = found
	case err == nil && found.Login != "":
		l.machine = found.Login
	}
	return l
}

// open returns the link.
func (l agentLink) open(env *platform.Env, r config.Resolved, s *server, scenarios func() []string) (agent.LAPI, error) {
	if l.other == (config.Credentials{}) {
		return &machine{server: s, name: l.machine}, nil
	}
	env.Log.Info("alerts go to the LAPI that the credentials lead to, not to that of this process", "url", l.other.URL)
	return agent.Remote(env, r, scenarios)
}

// machine is the agent's link to the LAPI of its process.
type machine struct {
	server *server
	name   string
}

func (m *machine) SendAlerts(ctx context.Context, alerts []decisions.Alert) error {
	s, err := m.server.get(ctx)
	if err != nil {
		return err
	}
	return s.Local(m.name).SendAlerts(ctx, alerts)
}

func (m *machine) Heartbeat(ctx context.Context) error {
	s, err := m.server.get(ctx)
	if err != nil {
		return err
	}
	return s.Local(m.name).Heartbeat(ctx)
}

func (m *machine) Report(ctx context.Context, report api.ComponentMetrics) error {
	s, err := m.server.get(ctx)
	if err != nil {
		return err
	}
	return s.Local(m.name).Report(ctx, report)
}

// feed is the bouncer's link. It is for one goroutine, as lapi.Feed is.
type feed struct {
	server *server
	feed   *lapi.Feed
}

func (f *feed) Next(ctx context.Context) (decisions.Delta, error) {
	if f.feed == nil {
		s, err := f.server.get(ctx)
		if err != nil {
			return decisions.Delta{}, err
		}
		f.feed = s.Feed(bouncerName)
	}
	return f.feed.Next(ctx)
}

// Report is called beside Next.
func (f *feed) Report(ctx context.Context, report api.ComponentMetrics) error {
	s, err := f.server.get(ctx)
	if err != nil {
		return err
	}
	return s.Feed(bouncerName).Report(ctx, report)
}

// Resync makes the next delta the whole set.
func (f *feed) Resync() {
	if f.feed != nil {
		f.feed.Resync()
	}
}

// countdown calls done when every func that add has given out was called.
type countdown struct {
	mu   sync.Mutex
	left int
	done func()
}

func newCountdown(done func()) *countdown { return &countdown{done: done} }

func (c *countdown) add() func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.left--; c.left == 0 {
			c.done()
		}
	})
}

var (
	_ agent.LAPI   = (*machine)(nil)
	_ bouncer.Feed = (*feed)(nil)
)

package bouncer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"cs/platform"
	"cs/roles/api"
	"cs/roles/config"
)

// maxLengths bounds the prefix lengths of a family in the kernel.
const maxLengths = 12

// Command is "cs bouncer-firewall".
type Command struct {
	LAPIURL         string `name:"lapi-url" help:"URL of the LAPI, or path of its unix socket (default http://127.0.0.1:8080/)." placeholder:"URL" env:"CS_LAPI_URL"`
	APIKey          string `name:"api-key" help:"API key of this bouncer." placeholder:"KEY" env:"CS_API_KEY"`
	Token           string `help:"Registration token of the LAPI, to get a key with." placeholder:"TOKEN" env:"CS_TOKEN"`
	Name            string `help:"Name to register under (default: firewall- and the host's)." placeholder:"NAME"`
	UpdateFrequency string `help:"How often an upstream LAPI is asked (default 10s); ours tells at once." placeholder:"TIME"`

	Enforcing `embed:""`
}

// Enforcing is what can be said about blocking, with the flags of "cs
// bouncer-firewall".
type Enforcing struct {
	DryRun bool     `help:"Print what would be blocked; change nothing."`
	Hooks  []string `help:"Where packets are looked at: prerouting, input, forward (default prerouting)." placeholder:"HOOK" sep:","`
	Ignore []string `help:"Addresses and ranges that are never blocked." placeholder:"RANGE" sep:","`
	OnStop string   `help:"What becomes of the bans when this program ends: keep (default) or clean." placeholder:"WHAT"`
}

// Overlay lays the flags over the file.
func (e *Enforcing) Overlay(file *config.File) {
	if file.Bouncer == nil {
		file.Bouncer = new(config.BouncerSection)
	}
	s := file.Bouncer
	if e.DryRun {
		config.Set(&s.Backend, "dry-run")
	}
	config.SetList(&s.Hooks, e.Hooks)
	config.SetList(&s.Ignore, e.Ignore)
	config.Set(&s.OnStop, e.OnStop)
}

// Overlay lays the flags over the file.
func (c *Command) Overlay(file *config.File) {
	c.Enforcing.Overlay(file)
	s := file.Bouncer
	config.Set(&s.APIURL, c.LAPIURL)
	if c.APIKey != "" {
		s.APIKey = c.APIKey
	}
	config.Set(&s.UpdateFrequency, c.UpdateFrequency)
}

// Run enforces until ctx ends.
func (c *Command) Run(ctx context.Context, env *platform.Env, flags *config.Flags) error {
	debug.SetGCPercent(gcPercent)
	return serve(ctx, env.Log, func() (Config, error) {
		r, err := c.resolve(env, flags)
		if err != nil {
			return Config{}, err
		}
		logTo(env, r.Bouncer.LogFile)
		return c.config(env, r)
	})
}

// logTo has the log go to a file, if there is to be one.
func logTo(env *platform.Env, f config.LogFile) {
	if f.Path == "" {
		return
	}
	file := &platform.LogFile{Path: f.Path, MaxSize: f.MaxSize, MaxFiles: f.MaxFiles, MaxAge: f.MaxAge, Compress: f.Compress, Else: env.Stderr}
	levels := env.Log.Handler()
	if old, ok := levels.(fileHandler); ok { // configured anew
		levels = old.levels
	}
	env.Log = slog.New(fileHandler{slog.NewTextHandler(file, &slog.HandlerOptions{Level: slog.LevelDebug}), levels})
}

// fileHandler writes what another handler would.
type fileHandler struct {
	slog.Handler
	levels slog.Handler
}

// Enabled is the other handler's.
func (h fileHandler) Enabled(ctx context.Context, l slog.Level) bool { return h.levels.Enabled(ctx, l) }

// WithAttrs implements slog.Handler.
func (h fileHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return fileHandler{h.Handler.WithAttrs(a), h.levels}
}

// WithGroup implements slog.Handler.
func (h fileHandler) WithGroup(name string) slog.Handler {
	return fileHandler{h.Handler.WithGroup(name), h.levels}
}

// gcPercent spends processor time, of which a bouncer that rests needs little,
// for memory.
const gcPercent = 40

// config makes the configuration of a process of its own. What can't work is
// told now; what may work later is tried again while it runs.
func (c *Command) config(env *platform.Env, r config.Resolved) (Config, error) {
	cfg, err := NewConfig(env, r)
	if err != nil {
		return cfg, err
	}
	feed := newRemote(env, r)
	feed.Token, feed.Name = c.Token, c.Name
	if err := feed.checkKey(); err != nil {
		return cfg, err
	}
	if _, err := api.NewClient(feed.Client); err != nil {
		return cfg, err
	}
	cfg.Feed = feed
	cfg.Usage.Report = feed.Report
	cfg.Ready = platform.Ready
	cfg.State = func(text string) { _ = platform.Notify("STATUS=" + text) } // nobody to tell is fine
	return cfg, nil
}

// resolve reads what the flags name: our own configuration, or the file of
// upstream's firewall bouncer, known by its name.
func (c *Command) resolve(env *platform.Env, flags *config.Flags) (config.Resolved, error) {
	if !isUpstreamFile(flags.Config) {
		return flags.Resolve(env, c.Overlay)
	}
	b, err := readUpstream(env, flags.Config, c.Overlay)
	r := config.Resolved{DataDir: flags.DataDir, Bouncer: b}
	if r.DataDir == "" {
		r.DataDir = platform.DataDir()
	}
	return r, err
}

// readUpstream reads upstream's file and lays flags over it. The log gets the
// level that it asks for, unless a flag has decided on it.
func readUpstream(env *platform.Env, path string, overlay func(*config.File)) (config.Bouncer, error) {
	b, warnings, errs := config.ReadFirewallBouncer(path, env.LookupEnv, overlay)
	for _, w := range warnings {
		env.Log.Warn("configuration", "warning", w)
	}
	if b.Level != nil && env.LogLevel != nil {
		env.LogLevel.Set(*b.Level)
	}
	return b, errors.Join(errs...)
}

// NewConfig makes a Bouncer's configuration from the resolved one. The feed is
// missing.
func NewConfig(env *platform.Env, r config.Resolved) (Config, error) {
	b := r.Bouncer
	b.IPv6.Off = b.IPv6.Off || lacksIPv6(b.Backend)
	kernels, err := newKernels(env, &b)
	if err != nil {
		return Config{}, err
	}
	cfg := Config{
		Kernel: kernels[0], Fallbacks: kernels[1:],
		Places:       places(&b),
		SavedPath:    filepath.Join(r.DataDir, savedName),
		Types:        b.Types,
		NoIPv4:       b.IPv4.Off,
		NoIPv6:       b.IPv6.Off,
		OnStop:       b.OnStop,
		Interval:     b.UpdateFrequency,
		Resync:       b.Resync,
		TrustResync:  b.TrustResync,
		GiveUp:       b.GiveUp,
		MaxDecisions: b.MaxDecisions,
		MaxEntries:   maxEntries(b.MaxEntries, platform.SystemMemory),
		MaxLengths:   maxLengths,
		Ignore:       b.Ignore,
		IgnorePorts:  ports(&b),
		ControlPath:  filepath.Join(r.DataDir, config.BouncerSocketName),
		Metrics:      b.Metrics.Listen,
		Log:          env.Log,
		Usage:        Usage{Version: env.Version},

		EndConnections: b.EndConnections,
	}
	if b.LockoutGuard {
		session, _ := env.LookupEnv("SSH_CONNECTION")
		lapi, logins := newPeer(b.APIURL), new(sessions)
		cfg.Guards = func() []Guard { return guards(session, lapi.known(), logins.peers(time.Now())) }
	}
	if b.Backend == "dry-run" {
		cfg.SavedPath, cfg.ControlPath = "", "" // a bouncer that blocks may run beside
	}
	return cfg, nil
}

const (
	// smallMachine is one on which the kernel would rather kill programs than refuse
	// an entry: there entries get a share of the memory that is left.
	smallMachine = 512 << 20
	entryShare   = 4
	entryBytes   = 110
	minEntries   = 5000
)

// maxEntries makes a limit of entries of the configured one; 0 is none.
func maxEntries(configured int, memory func() (total, available int64)) int {
	if configured != config.AutoEntries {
		return configured
	}
	total, available := memory()
	if total == 0 || total >= smallMachine {
		return 0
	}
	return int(max(available/entryShare/entryBytes, minEntries))
}

// places names what the configured packet filter has of us, as a whole or by family.
func places(b *config.Bouncer) (list []string) {
	if b.Layout == "map" && (b.Backend == "auto" || b.Backend == "nft") && !b.IPv4.SetOnly && !b.IPv6.SetOnly {
		return []string{fmt.Sprint(b.Backend, b.Layout, b.Table)} // one table for both
	}
	for i, f := range []*config.BouncerFamily{&b.IPv4, &b.IPv6} {
		if !f.Off {
			list = append(list, fmt.Sprint(b.Backend, b.Layout, i, f.Table, f.Set, f.SetOnly))
		}
	}
	return list
}

// newRemote makes the feed over the wire that the configuration asks for.
func newRemote(env *platform.Env, r config.Resolved) *remote {
	b := r.Bouncer
	f := &remote{
		Client: api.ClientConfig{
			URL: b.APIURL, APIKey: b.APIKey,
			CACert: b.CACertPath, CertFile: b.CertPath, KeyFile: b.KeyPath, InsecureSkipVerify: b.InsecureSkipVerify,
			UserAgent: userAgent(env.Version),
		},
		Stream: api.StreamConfig{
			Interval: b.UpdateFrequency, Scopes: b.Scopes, Origins: b.Origins,
			ScenariosContaining: b.ScenariosContaining, ScenariosNotContaining: b.ScenariosNotContaining,
		},
		KeyPath: filepath.Join(r.DataDir, keyName),
	}
	if f.Client.URL == "" {
		f.Client.URL = config.DefaultURL
	}
	return f
}

// userAgent names us as LAPIs know firewall bouncers: they take the type of a
// bouncer from it.
func userAgent(version string) string {
	_, version, _ = strings.Cut(api.UserAgent(version), "/")
	return "crowdsec-firewall-bouncer/" + version
}

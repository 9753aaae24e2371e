package bouncer

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"strings"

	"cs/platform"
	"cs/remediate"
	"cs/remediate/nft"
	"cs/roles/api"
	"cs/roles/config"
)

// Firewall is what can be said about enforcing, with the flags of "cs bouncer-firewall".
type Firewall struct {
	DryRun     bool     `help:"Print what would be blocked; change nothing."`
	Hooks      []string `help:"Where packets are looked at: prerouting (default), input, forward." sep:"," placeholder:"HOOK"`
	Action     string   `help:"What happens to packets: drop (default) or reject." placeholder:"ACTION"`
	Ignore     []string `help:"Address or range that is never blocked; may be given again." sep:"," placeholder:"RANGE"`
	Types      []string `help:"Types of decisions to enforce (default: ban)." sep:"," placeholder:"TYPE"`
	Table      string   `help:"Name of the nftables table (default: crowdsec)." placeholder:"NAME"`
	Plain      bool     `help:"Make a table that others may edit, instead of one that only this process can change."`
	OnStop     string   `help:"What happens to the bans at the end: keep (default) or clean." placeholder:"WHAT"`
	MaxEntries int      `help:"Most prefixes to block, the most important ones (default: no limit)." placeholder:"N"`
	MaxLengths int      `help:"Most lengths of ranges for each family; each costs a lookup for every packet (default: 12)." placeholder:"N"`
}

// Overlay lays the flags over the file.
func (f *Firewall) Overlay(file *config.File) {
	if file.Bouncer == nil {
		file.Bouncer = new(config.BouncerSection)
	}
	b := file.Bouncer
	if f.DryRun {
		config.Set(&b.Backend, "dry-run")
	}
	config.SetList(&b.Hooks, f.Hooks)
	config.Set(&b.DenyAction, f.Action)
	config.SetList(&b.Ignore, f.Ignore)
	if len(f.Types) > 0 {
		b.Types = f.Types
	}
	if f.Table != "" {
		b.Table = f.Table
	}
	config.Set(&b.OnStop, f.OnStop)
	if f.MaxEntries > 0 {
		config.Set(&file.Limits.MaxEntries, strconv.Itoa(f.MaxEntries))
	}
}

// defaultMaxLengths bounds what every clean packet costs.
const defaultMaxLengths = 12

// Config returns the Config that a configuration and the flags stand for; the
// feed is missing.
func (f *Firewall) Config(env *platform.Env, r config.Resolved) (Config, error) {
	cfg := Config{
		SavedPath:    filepath.Join(r.DataDir, SavedName),
		Types:        r.Bouncer.Types,
		OnStop:       r.Bouncer.OnStop,
		Interval:     r.Bouncer.UpdateFrequency,
		MaxDecisions: r.Bouncer.MaxDecisions,
		MaxEntries:   r.Bouncer.MaxEntries,
		MaxLengths:   f.MaxLengths,
		Log:          env.Log,
	}
	if cfg.MaxLengths == 0 {
		cfg.MaxLengths = defaultMaxLengths
	}
	if r.Bouncer.Backend == "dry-run" {
		cfg.SavedPath = "" // a bouncer that blocks may run beside
		cfg.Kernel = remediate.NewDryRun(env.Stdout, nil)
		return cfg, nil
	}
	var ignore []string
	for _, p := range r.Bouncer.Ignore {
		ignore = append(ignore, p.String())
	}
	table, err := nft.New(nft.Config{Name: r.Bouncer.Table, Hooks: r.Bouncer.Hooks, Action: r.Bouncer.DenyAction, Ignore: ignore, NoOwner: f.Plain})
	if err != nil {
		return Config{}, err
	}
	cfg.Kernel = table
	return cfg, nil
}

// Command is "cs bouncer-firewall".
type Command struct {
	LAPIURL string `name:"lapi-url" help:"URL of the LAPI, or path of its unix socket (default http://127.0.0.1:8080/)." placeholder:"URL" env:"CS_LAPI_URL"`
	APIKey  string `name:"api-key" help:"API key of this bouncer." placeholder:"KEY" env:"CS_API_KEY"`
	Token   string `help:"Registration token of the LAPI, to get a key by itself." placeholder:"TOKEN" env:"CS_TOKEN"`
	Name    string `help:"Name to register under (default: made of the host's name)." placeholder:"NAME"`

	CACert             string `name:"ca-cert" help:"File of the only certificate authorities to trust." placeholder:"FILE" type:"path"`
	Cert               string `help:"File of the client certificate." placeholder:"FILE" type:"path"`
	Key                string `help:"File of its key." placeholder:"FILE" type:"path"`
	InsecureSkipVerify bool   `help:"Accept any certificate of the LAPI."`

	UpdateFrequency string   `help:"How often the LAPI is asked (default 10s)." placeholder:"DURATION"`
	Origins         []string `help:"Only decisions of these origins." sep:"," placeholder:"ORIGIN"`

	Firewall `embed:""`
}

// Overlay lays the flags over the file.
func (c *Command) Overlay(file *config.File) {
	c.Firewall.Overlay(file)
	b := file.Bouncer
	config.Set(&b.APIURL, c.LAPIURL)
	config.Set(&b.CertPath, c.Cert)
	config.Set(&b.KeyPath, c.Key)
	config.Set(&b.UpdateFrequency, c.UpdateFrequency)
	if c.APIKey != "" {
		b.APIKey = c.APIKey
	}
	if c.CACert != "" {
		b.CACertPath = c.CACert
	}
	if len(c.Origins) > 0 {
		b.Origins = c.Origins
	}
	b.InsecureSkipVerify = b.InsecureSkipVerify || c.InsecureSkipVerify
}

// defaultURL is a LAPI on this host.
const defaultURL = "http://127.0.0.1:8080/"

// Run enforces until ctx ends.
func (c *Command) Run(ctx context.Context, env *platform.Env, flags *config.Flags) error {
	file, err := flags.Load(env)
	if err != nil {
		return err
	}
	c.Overlay(file)
	r, errs := file.Resolve(env.LookupEnv)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	cfg, err := c.Config(env, r)
	if err != nil {
		return err
	}
	b := &r.Bouncer
	if b.APIURL == "" {
		b.APIURL = defaultURL
	}
	feed := &Remote{
		Client: api.ClientConfig{
			URL: b.APIURL, APIKey: b.APIKey,
			CACert: b.CACertPath, CertFile: b.CertPath, KeyFile: b.KeyPath, InsecureSkipVerify: b.InsecureSkipVerify,
			UserAgent: userAgent(env.Version),
		},
		Stream: api.StreamConfig{
			Interval: b.UpdateFrequency, Scopes: b.Scopes, Origins: b.Origins,
			ScenariosContaining: b.ScenariosContaining, ScenariosNotContaining: b.ScenariosNotContaining,
		},
		Token:   c.Token,
		Name:    c.Name,
		KeyPath: filepath.Join(r.DataDir, KeyName),
	}
	// What can't work is told now; what may work later is tried again.
	if err := feed.CheckKey(); err != nil {
		return err
	}
	if _, err := api.NewClient(feed.Client); err != nil {
		return err
	}
	cfg.Feed = feed
	cfg.Ready = func() {
		env.Log.Info("bouncer is ready", "lapi", b.APIURL, "backend", cfg.Kernel.Name(), "data_dir", r.DataDir)
		_ = platform.Notify("READY=1") // nobody to tell is fine
	}
	bouncer, err := New(cfg)
	if err != nil {
		return err
	}
	return bouncer.Run(ctx)
}

// userAgent names us as LAPIs know firewall bouncers: they take the type of a
// bouncer from it.
func userAgent(version string) string {
	_, version, _ = strings.Cut(api.UserAgent(version), "/")
	return "crowdsec-firewall-bouncer/" + version
}

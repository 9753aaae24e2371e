package bouncer

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"cs/platform"
	"cs/remediate"
	"cs/remediate/nft"
	"cs/roles/api"
)

// Duration is a flag in Go's syntax with leading days: "10s", "1d12h".
type Duration time.Duration

// UnmarshalText reads what api.ParseDuration does.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := api.ParseDuration(string(b))
	if err == nil && v <= 0 {
		err = errors.New("it has to be longer than 0")
	}
	*d = Duration(v)
	return err
}

// Firewall is what can be said about enforcing, with the flags of "cs bouncer-firewall".
type Firewall struct {
	DryRun     bool     `help:"Print what would be blocked; change nothing."`
	Hooks      []string `help:"Where packets are looked at: prerouting, input, forward." default:"prerouting" sep:","`
	Action     string   `help:"What happens to packets: drop or reject." enum:"drop,reject" default:"drop"`
	Ignore     []string `help:"Address or range that is never blocked; may be given again." sep:","`
	Types      []string `help:"Types of decisions to enforce." default:"ban" sep:","`
	Table      string   `help:"Name of the nftables table, of family inet." default:"crowdsec"`
	Plain      bool     `help:"Make a table that others may edit, instead of one that only this process can change."`
	OnStop     string   `help:"What happens to the bans at the end: keep or clean." enum:"keep,clean" default:"keep"`
	MaxEntries int      `help:"Most prefixes to block, the most important ones; 0: no limit." default:"0"`
	MaxLengths int      `help:"Most lengths of ranges for each family; each costs a lookup for every packet." default:"12"`
}

// Config returns the part of a Config that the flags decide; the feed is missing.
// Zero values mean the defaults.
func (f *Firewall) Config(env *platform.Env, dataDir string) (Config, error) {
	cfg := Config{
		SavedPath:  filepath.Join(dataDir, SavedName),
		Types:      f.Types,
		OnStop:     f.OnStop,
		MaxEntries: f.MaxEntries,
		MaxLengths: f.MaxLengths,
		Log:        env.Log,
	}
	if cfg.MaxLengths == 0 {
		cfg.MaxLengths = 12
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(env.Stderr, nil))
	}
	if f.DryRun {
		cfg.SavedPath = "" // a bouncer that blocks may run beside
		cfg.Kernel = remediate.NewDryRun(env.Stdout, nil)
		return cfg, nil
	}
	table, err := nft.New(nft.Config{Name: f.Table, Hooks: f.Hooks, Action: f.Action, Ignore: f.Ignore, NoOwner: f.Plain})
	if err != nil {
		return Config{}, err
	}
	cfg.Kernel = table
	return cfg, nil
}

// Command is "cs bouncer-firewall".
type Command struct {
	LAPIURL string `name:"lapi-url" help:"URL of the LAPI, or path of its unix socket." env:"CS_LAPI_URL" default:"http://127.0.0.1:8080/"`
	APIKey  string `name:"api-key" help:"API key of this bouncer." env:"CS_API_KEY"`
	Token   string `help:"Registration token of the LAPI, to get a key by itself." env:"CS_TOKEN"`
	Name    string `help:"Name to register under (default: made of the host's name)."`

	CACert             string `name:"ca-cert" help:"File of the only certificate authorities to trust." type:"path"`
	Cert               string `help:"File of the client certificate." type:"path"`
	Key                string `help:"File of its key." type:"path"`
	InsecureSkipVerify bool   `help:"Accept any certificate of the LAPI."`

	DataDir         string   `help:"Directory for state (default: /var/lib/cs, or where this system keeps such things)." env:"CS_DATA_DIR" type:"path"`
	UpdateFrequency Duration `help:"How often the LAPI is asked." default:"10s"`
	Origins         []string `help:"Only decisions of these origins." sep:","`

	Firewall `embed:""`
}

// Run enforces until ctx ends.
func (c *Command) Run(ctx context.Context, env *platform.Env) error {
	dataDir := c.DataDir
	if dataDir == "" {
		dataDir = platform.DataDir()
	}
	cfg, err := c.Firewall.Config(env, dataDir)
	if err != nil {
		return err
	}
	interval := time.Duration(c.UpdateFrequency)
	if interval <= 0 {
		interval = DefaultInterval
	}
	feed := &Remote{
		Client: api.ClientConfig{
			URL: c.LAPIURL, APIKey: c.APIKey,
			CACert: c.CACert, CertFile: c.Cert, KeyFile: c.Key, InsecureSkipVerify: c.InsecureSkipVerify,
			UserAgent: userAgent(env.Version),
		},
		Stream:  api.StreamConfig{Interval: interval, Origins: c.Origins},
		Token:   c.Token,
		Name:    c.Name,
		KeyPath: filepath.Join(dataDir, KeyName),
	}
	// What can't work is told now; what may work later is tried again.
	if err := feed.CheckKey(); err != nil {
		return err
	}
	if _, err := api.NewClient(feed.Client); err != nil {
		return err
	}
	cfg.Feed, cfg.Interval = feed, interval
	cfg.Ready = func() { _ = platform.Notify("READY=1") } // nobody to tell is fine
	b, err := New(cfg)
	if err != nil {
		return err
	}
	cfg.Log.Info("bouncer starts", "lapi", c.LAPIURL, "backend", cfg.Kernel.Name(), "data_dir", dataDir)
	return b.Run(ctx)
}

// userAgent names us as LAPIs know firewall bouncers: they take the type of a
// bouncer from it.
func userAgent(version string) string {
	_, version, _ = strings.Cut(api.UserAgent(version), "/")
	return "crowdsec-firewall-bouncer/" + version
}

package lapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"cs/platform"
	"cs/roles/config"
	"cs/storage"
	"cs/storage/bolt"
)

// StoreFile is the name of the store in the data directory.
const StoreFile = "cs.db"

// Command is "cs lapi".
type Command struct {
	Listen string `help:"Address to serve on (default 127.0.0.1:8080)." placeholder:"HOST:PORT" env:"CS_LISTEN"`
	Token  string `help:"Registration token, 32 characters or more: machines that know it are let in, bouncers fetch their key with it." placeholder:"TOKEN" env:"CS_TOKEN"`
}

// Overlay lays the flags over the file.
func (c *Command) Overlay(file *config.File) {
	if file.API.Server == nil {
		file.API.Server = new(config.APIServer)
	}
	s := file.API.Server
	config.Set(&s.ListenURI, c.Listen)
	if c.Token != "" {
		s.AutoRegistration = &config.AutoRegistration{Enabled: true, Bouncers: true}
		config.Set(&s.AutoRegistration.Token, c.Token)
		config.SetList(&s.AutoRegistration.AllowedRanges, []string{"0.0.0.0/0", "::/0"})
	}
}

// Run serves until ctx ends.
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
	conf, err := FromConfig(r, env.Log)
	if err != nil {
		return err
	}
	conf.Listening = func() {
		env.Log.Info("lapi is ready", "data_dir", r.DataDir)
		_ = platform.Notify("READY=1") // nobody to tell is fine
	}
	s, err := Open(ctx, conf)
	if err != nil {
		return err
	}
	return errors.Join(s.Run(ctx), s.Close())
}

// FromConfig returns the Config that a configuration stands for.
func FromConfig(r config.Resolved, log *slog.Logger) (Config, error) {
	return Config{
		OpenStore:             OpenBolt(r.DataDir),
		Listen:                r.LAPI.Listen,
		Socket:                r.LAPI.Socket,
		Token:                 r.LAPI.Token,
		TokenRanges:           r.LAPI.TokenRanges,
		BouncerRegistration:   r.LAPI.BouncerRegistration,
		LocalRegistrationOnly: r.LAPI.LocalRegistrationOnly,
		TrustedIPs:            r.LAPI.TrustedIPs,
		TrustedProxies:        r.LAPI.TrustedProxies,
		Secret:                r.LAPI.Secret,
		MaxAlerts:             r.LAPI.MaxAlerts,
		MaxAlertAge:           r.LAPI.MaxAlertAge,
		MaxDecisions:          r.LAPI.MaxDecisions,
		Log:                   log,
	}, nil
}

// OpenBolt returns how to open the store of a data directory, which is made if
// it isn't there.
func OpenBolt(dir string) func(context.Context) (storage.Store, error) {
	return func(ctx context.Context) (storage.Store, error) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make the data directory: %w", err)
		}
		return bolt.Open(ctx, filepath.Join(dir, StoreFile))
	}
}

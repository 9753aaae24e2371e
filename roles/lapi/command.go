package lapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"sync"
	"time"

	"cs/platform"
	"cs/roles/config"
	"cs/roles/lapi/auth"
	"cs/roles/lapi/notify"
	"cs/roles/lapi/profile"
	"cs/storage"
	"cs/storage/bolt"
)

// Command is "cs lapi".
type Command struct {
	Listen string `help:"Address to serve on (default 127.0.0.1:8080)." placeholder:"HOST:PORT" env:"CS_LISTEN"`
	Token  string `help:"Registration token, 32 characters or more: machines that know it are let in at once, and bouncers fetch their key with it." placeholder:"TOKEN" env:"CS_TOKEN"`
}

// Overlay lays the flags over the file. A token on the command line is good
// for every address and for bouncers too, unless the file says otherwise.
func (c *Command) Overlay(file *config.File) {
	if file.API.Server == nil {
		file.API.Server = new(config.APIServer)
	}
	s := file.API.Server
	config.Set(&s.ListenURI, c.Listen)
	if c.Token == "" {
		return
	}
	if s.AutoRegistration == nil {
		s.AutoRegistration = &config.AutoRegistration{Bouncers: true}
	}
	a := s.AutoRegistration
	a.Enabled = true
	config.Set(&a.Token, c.Token)
	if len(a.AllowedRanges) == 0 {
		config.SetList(&a.AllowedRanges, []string{"0.0.0.0/0", "::/0"})
	}
}

// Run serves until ctx ends.
func (c *Command) Run(ctx context.Context, env *platform.Env, flags *config.Flags) error {
	debug.SetGCPercent(gcPercent)
	r, err := flags.Resolve(env, c.Overlay)
	if err != nil {
		return err
	}
	r.Log.Direct(env)
	conf := NewConfig(env, r)
	conf.Listening = func() {
		env.Log.Info("lapi is ready", "data_dir", r.DataDir)
		platform.Ready()
	}
	s, err := Open(ctx, conf)
	if err != nil {
		return err
	}
	hup, ignore := platform.Hangups()
	defer ignore()
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() {
		s.follow(ctx, hup, Fixed(r.LAPI), func() (config.LAPI, Config, error) {
			r, err := flags.Resolve(env, c.Overlay)
			return r.LAPI, NewConfig(env, r), err
		})
	})
	if r.Metrics.Listen != "" {
		beside.Go(func() {
			if err := s.ServeMetrics(ctx, env, r.Metrics); err != nil {
				env.Log.Error("there are no metrics", "err", err)
			}
		})
	}
	err = s.Run(ctx)
	stop()
	beside.Wait()
	return errors.Join(err, s.Close())
}

// Fixed is of a configuration what a server keeps from its start to its end;
// the rest Reload takes over.
func Fixed(l config.LAPI) config.LAPI {
	l.Policy, l.ProfilesPath, l.NotificationDir = config.Policy{}, "", ""
	return l
}

// follow takes over what has changed of the configuration at each SIGHUP, until ctx ends.
func (s *Server) follow(ctx context.Context, hup <-chan os.Signal, fixed config.LAPI, resolve func() (config.LAPI, Config, error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		s.log.Info("SIGHUP received, reloading")
		_ = platform.NotifyReloading() // nobody to tell is fine
		l, conf, err := resolve()
		if err == nil {
			err = s.Reload(conf)
		}
		switch {
		case err != nil:
			s.log.Error("the new configuration is faulty, the old one stays in force", "err", err)
		case !reflect.DeepEqual(Fixed(l), fixed):
			s.log.Warn("some of what has changed (addresses to listen on, TLS, limits) holds only after a restart")
		default:
			s.log.Info("Reload is finished")
		}
		_ = platform.Notify("READY=1")
	}
}

// NewConfig makes the server's configuration from the resolved one.
func NewConfig(env *platform.Env, r config.Resolved) Config {
	conf := Config{
		OpenStore: func(ctx context.Context) (storage.Store, error) {
			if err := platform.MakeDir(r.DataDir); err != nil {
				return nil, fmt.Errorf("cannot make the data directory: %w", err)
			}
			path := filepath.Join(r.DataDir, config.StoreName)
			if info, err := os.Stat(path); err == nil && info.Size() == 0 {
				env.Log.Warn("the store is an empty file, as a power cut may leave it: beginning anew", "file", path)
			}
			return bolt.Open(ctx, path)
		},
		Listen:       r.LAPI.Listen,
		AdminSocket:  r.LAPI.AdminSocket,
		Socket:       r.LAPI.Socket,
		Policy:       r.LAPI.Policy,
		Secret:       r.LAPI.Secret,
		MaxDecisions: r.LAPI.MaxDecisions,
		Scratch:      r.DataDir,
		Hub:          r.LAPI.ServedHub,
		Log:          env.Log,
		Version:      env.Version,
	}
	if t := r.LAPI.TLS; t.CertFile != "" {
		conf.TLS = &auth.TLSConfig{
			CertFile: t.CertFile, KeyFile: t.KeyFile, ClientAuth: t.ClientAuth, CAFile: t.CACertPath, CRLFile: t.CRLPath,
			AgentOUs: t.AgentsAllowedOU, BouncerOUs: t.BouncersAllowedOU, CacheFor: t.CacheExpiration,
		}
	}
	if path := r.LAPI.ProfilesPath; path != "" {
		conf.LoadProfiles = func(h profile.History) (*profile.Profiles, error) {
			return profile.Load(path, h, func(err error) { env.Log.Warn("profiles", "warning", err) })
		}
		dir := r.LAPI.NotificationDir
		if dir == "" {
			dir = filepath.Join(r.ConfigDir, "notifications")
		}
		conf.LoadNotifications = func(names []string) (map[string]*notify.Instance, error) {
			return notify.Load(dir, names, env.LookupEnv, func(err error) { env.Log.Warn("notifications", "warning", err) })
		}
	}
	return conf
}

// Offline opens the server of this host for operators' commands while none
// runs: the handler offers what its socket would. It decides nothing, so that
// commands work although profiles or certificates are faulty. The error is
// storage.ErrLocked if a process holds the store. close must be called. A nil
// now means time.Now.
func Offline(ctx context.Context, env *platform.Env, file *config.File, now func() time.Time) (h http.Handler, close func() error, err error) {
	r, errs := file.Resolve(env.LookupEnv)
	if len(errs) > 0 {
		return nil, nil, errors.Join(errs...)
	}
	conf := NewConfig(env, r)
	conf.LoadProfiles, conf.TLS, conf.Now, conf.Log = nil, nil, now, slog.New(slog.DiscardHandler)
	s, err := Open(ctx, conf)
	if err != nil {
		return nil, nil, err
	}
	return s.adminHandler(), s.Close, nil
}

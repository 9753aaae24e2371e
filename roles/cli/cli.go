// Package cli holds the operators' commands under the names that cscli gave
// them, one file a noun. Each exported struct is a kong command; the grammar
// is put together by main, which also prints the error a Run returns (see
// FormatError, UsageError) and decides the exit code.
//
// Commands about accounts and allowlists work on the running LAPI through its
// socket in the data directory. Commands about decisions and alerts are clients
// of a LAPI, here or elsewhere. When none runs here, one is opened on its store
// for as long as the command takes, without listening (see Offline): commands
// know of one way only. Nothing in here decides what is banned or how it is kept.
package cli

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/roles/config"
)

// Globals are the flags of all commands, given before or after the command.
type Globals struct {
	config.Flags

	Output  string `short:"o" placeholder:"FORMAT" help:"Output format: human, json, raw."`
	Color   string `hidden:"" placeholder:"WHEN" help:"Decorate the output: yes, no, auto."`
	Branch  string `hidden:"" placeholder:"NAME" help:"Branch of the hub."`
	Trace   bool   `hidden:"" help:"Log everything."`
	Debug   bool   `help:"Log what helps to find an error."`
	Info    bool   `hidden:"" help:"Log confirmations (default)."`
	Warning bool   `hidden:"" help:"Log warnings and errors only."`
	Error   bool   `hidden:"" help:"Log errors only."`

	// Now is the clock; nil means time.Now.
	Now func() time.Time `kong:"-"`
	// Offline must be set.
	Offline Offline `kong:"-"`
	// Check tells what is wrong with the configuration and all that it names; it
	// must be set.
	Check func(context.Context, *platform.Env, *config.Flags) error `kong:"-"`
	// Notifier reads the notifications of this host; it must be set.
	Notifier func(*platform.Env, *config.File) (Notifier, error) `kong:"-"`
	// Execute runs a command line of this program and returns the exit code. It must be set.
	Execute func(ctx context.Context, args []string, env *platform.Env) int `kong:"-"`
	// LiftBans removes what the bouncer has in the firewall; nil does nothing.
	LiftBans func(ctx context.Context, env *platform.Env, flags *config.Flags) error `kong:"-"`
}

// Notifier is the notifications of this host, as its LAPI would send them.
type Notifier interface {
	List() []config.Notification // by name
	// Test sends an alert to one notification, now and once.
	Test(ctx context.Context, name string, a *decisions.Alert) error
	// Match tells f of each profile whether it matches an alert, and which
	// notifications it names.
	Match(a *decisions.Alert, f func(profile string, matched bool, notify []string, err error))
}

// Offline opens the LAPI of this host on its store, while none runs: the
// handler offers what its socket would. main says which server that is. The
// error is storage.ErrLocked if a process holds the store.
type Offline func(ctx context.Context, env *platform.Env, file *config.File, now func() time.Time) (h http.Handler, close func() error, err error)

// Level is the least severe log level shown, the most verbose flag wins, and
// whether a flag has said so.
func (g *Globals) Level() (level slog.Level, given bool) {
	switch {
	case g.Trace, g.Debug:
		return slog.LevelDebug, true
	case g.Info:
		return slog.LevelInfo, true
	case g.Warning:
		return slog.LevelWarn, true
	case g.Error:
		return slog.LevelError, true
	}
	return slog.LevelInfo, false
}

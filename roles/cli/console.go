//go:build !edge

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"cs/platform"
	"cs/platform/strict"
	"cs/roles/config"
)

// What follows needs CrowdSec's central API, which this program does not talk
// to: hosts that use it keep upstream's. What is a matter of files works.

// errNoCentral ends commands that would need it.
var errNoCentral = errors.New("this program doesn't talk to the central API: it sends nothing to CrowdSec and pulls nothing from it")

// central opens a session and wants the credentials for the central API in the
// configuration, as upstream does.
func central(env *platform.Env, g *Globals) (*session, string, error) {
	s, err := open(env, g)
	if err != nil {
		return nil, "", err
	}
	if !s.file.ServesLAPI() {
		s.warn("crowdsec local API is disabled")
		return nil, "", errNoServer
	}
	path := ""
	if server := s.file.API.Server; server != nil {
		path = server.OnlineClient.CredentialsPath
	}
	if path == "" {
		return nil, "", fmt.Errorf("no configuration for Central API (CAPI) in '%s'", s.file.Path())
	}
	return s, path, nil
}

// registered is central, for commands that need an account.
func registered(env *platform.Env, g *Globals) (*session, string, error) {
	s, path, err := central(env, g)
	if err != nil {
		return nil, "", err
	}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("cannot read the credentials for the central API: %w", err)
	}
	if !strings.Contains(string(text), "login:") {
		return nil, "", errors.New("the Central API (CAPI) must be configured with 'cscli capi register'")
	}
	return s, path, nil
}

// CAPI groups the commands about the central API.
type CAPI struct {
	Register CAPIRegister `cmd:"" help:"Not possible here: get an account with upstream's cscli."`
	Status   CAPIStatus   `cmd:"" help:"Show what the configuration says about the central API."`
}

// CAPIRegister refuses.
type CAPIRegister struct {
	File        string `short:"f" placeholder:"FILE" help:"Where to write the credentials."`
	Schmilblick string `hidden:"" placeholder:"PREFIX" help:"Prefix of the name."`
}

// Run refuses.
func (c *CAPIRegister) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	if _, _, err := central(env, g); err != nil {
		return err
	}
	return errNoCentral
}

// CAPIStatus shows the configuration.
type CAPIStatus struct{}

// Run shows it.
func (c *CAPIStatus) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, path, err := registered(env, g)
	if err != nil {
		return err
	}
	if err := s.text("Loaded credentials from " + plain(path) + "\n"); err != nil {
		return err
	}
	return errNoCentral
}

// PAPI groups the commands about orders from the console.
type PAPI struct {
	Status PAPIStatus `cmd:"" help:"Not possible here."`
	Sync   PAPISync   `cmd:"" help:"Not possible here."`
}

// PAPIStatus refuses.
type PAPIStatus struct{}

// Run refuses.
func (c *PAPIStatus) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	if _, _, err := registered(env, g); err != nil {
		return err
	}
	return errNoCentral
}

// PAPISync refuses.
type PAPISync struct{}

// Run refuses.
func (c *PAPISync) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	return new(PAPIStatus).Run(ctx, env, g)
}

// Console groups the commands about what is shared with CrowdSec's console.
type Console struct {
	Enroll  ConsoleEnroll  `cmd:"" help:"Not possible here: enroll with upstream's cscli."`
	Enable  ConsoleEnable  `cmd:"" help:"Turn options on."`
	Disable ConsoleDisable `cmd:"" help:"Turn options off."`
	Status  ConsoleStatus  `cmd:"" help:"Show the options."`
}

// consoleOption is a line of console.yaml, in the order in which they are shown.
type consoleOption struct{ name, key, description string }

var consoleOptions = []consoleOption{
	{"manual", "share_manual_decisions", "Forward manual decisions to the console"},
	{"custom", "share_custom", "Forward alerts from custom scenarios to the console"},
	{"tainted", "share_tainted", "Forward alerts from tainted scenarios to the console"},
	{"context", "share_context", "Forward context with alerts to the console"},
	{"console_management", "console_management", "Receive decisions from console"},
}

func consoleNames() (names []string) {
	for _, o := range consoleOptions {
		names = append(names, o.name)
	}
	return names
}

// consolePath is console.yaml; "" if the configuration names none.
func (s *session) consolePath() string {
	if server := s.file.API.Server; server != nil {
		return server.ConsolePath
	}
	return ""
}

// readConsole returns the options by their keys.
func (s *session) readConsole() (map[string]bool, error) {
	set := map[string]bool{"share_custom": true, "share_tainted": true} // upstream's defaults
	path := s.consolePath()
	if path == "" {
		return set, nil
	}
	options, err := config.ReadConsole(path, s.env.LookupEnv)
	for key, on := range options {
		set[key] = on
	}
	return set, err
}

// ConsoleEnable turns options on.
type ConsoleEnable struct {
	Options []string `arg:"" optional:"" name:"option" help:"custom, manual, tainted, context, console_management."`
	All     bool     `short:"a" help:"All of them."`
}

// Run turns them on.
func (c *ConsoleEnable) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	return setConsole(env, g, c.Options, c.All, true)
}

// ConsoleDisable turns options off.
type ConsoleDisable struct {
	Options []string `arg:"" optional:"" name:"option" help:"custom, manual, tainted, context, console_management."`
	All     bool     `short:"a" help:"All of them."`
}

// Run turns them off.
func (c *ConsoleDisable) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	return setConsole(env, g, c.Options, c.All, false)
}

func setConsole(env *platform.Env, g *Globals, names []string, all, on bool) error {
	s, _, err := registered(env, g)
	if err != nil {
		return err
	}
	verb := map[bool]string{true: "enabled", false: "disabled"}[on]
	switch {
	case all:
		names = consoleNames()
	case len(names) == 0:
		return &usageError{"you must specify at least one feature to " + strings.TrimSuffix(verb, "d")}
	}
	path := s.consolePath()
	if path == "" {
		return errors.New("api.server.console_path is missing in the configuration")
	}
	set, err := s.readConsole()
	if err != nil {
		return err
	}
	for _, name := range names {
		i := slices.Index(consoleNames(), name)
		if i < 0 {
			return fmt.Errorf("unknown flag %s", name)
		}
		key := consoleOptions[i].key
		if set[key] == on {
			s.info("%s already set to %t", name, on)
		} else {
			s.info("%s set to %t", name, on)
		}
		set[key] = on
	}
	if err := platform.WriteFile(path, strict.Append(nil, set), 0o600); err != nil {
		return err
	}
	if all {
		s.info("All features have been %s successfully", verb)
	} else {
		s.info("%v have been %s", names, verb)
	}
	fmt.Fprint(s.errs, s.reloadHint(false))
	return nil
}

// ConsoleStatus shows the options.
type ConsoleStatus struct{}

// Run shows them.
func (c *ConsoleStatus) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, _, err := registered(env, g)
	if err != nil {
		return err
	}
	set, err := s.readConsole()
	if err != nil {
		return err
	}
	switch s.format {
	case jsonText:
		out := make(map[string]bool)
		for _, o := range consoleOptions {
			out[o.name] = set[o.key]
		}
		return s.json(out, "  ")
	case raw:
		var rows [][]string
		for _, o := range consoleOptions {
			rows = append(rows, []string{o.name, strconv.FormatBool(set[o.key])})
		}
		return s.csv("option,enabled", rows)
	}
	t := s.table("Option Name", "Activated", "Description")
	for _, o := range consoleOptions {
		mark := "❌"
		if set[o.key] {
			mark = "✅"
		}
		t.add(o.name, mark, o.description)
	}
	return s.text(t.boxed())
}

// ConsoleEnroll refuses.
type ConsoleEnroll struct {
	Key       []string `arg:"" optional:"" help:"Enrollment key."`
	Name      string   `short:"n" placeholder:"NAME" help:"Name in the console."`
	Tags      []string `short:"t" placeholder:"TAG" help:"Tags in the console."`
	Enable    []string `short:"e" placeholder:"OPTION" help:"Options to enable."`
	Disable   []string `short:"d" placeholder:"OPTION" help:"Options to disable."`
	Overwrite bool     `help:"Enroll again."`
	Quick     bool     `short:"q" help:"Without a key."`
}

// Run refuses.
func (c *ConsoleEnroll) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	if _, _, err := registered(env, g); err != nil {
		return err
	}
	switch {
	case c.Quick && len(c.Key) > 0:
		return errors.New("the key and --quick exclude each other")
	case !c.Quick && len(c.Key) != 1:
		return &usageError{fmt.Sprintf("accepts 1 arg(s), received %d", len(c.Key))}
	}
	for _, name := range slices.Concat(c.Enable, c.Disable) {
		if name != "all" && !slices.Contains(consoleNames(), name) {
			return fmt.Errorf("option %s doesn't exist", name)
		}
	}
	return errNoCentral
}

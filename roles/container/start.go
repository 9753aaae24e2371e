// Package container stands in for what upstream's container image does before it
// starts the daemon: it prepares the configuration, the accounts and the content as
// variables of the environment ask (spec cli §3.7), with the commands that an
// operator would type, and then is the daemon.
package container

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cs/platform"
	"cs/platform/strict"
	"cs/roles/config"
)

// staleIndex is the age at which the hub's index is got anew.
const staleIndex = 24 * time.Hour

// maxSecret bounds a file with a key in it.
const maxSecret = 4096

// What a host without a configuration gets.
var (
	//go:embed config.yaml
	ownConfig string
	//go:embed profiles.yaml
	ownProfiles []byte
)

// Execute runs a command line of this program, which is called by the name in env, and
// returns the exit code.
type Execute func(ctx context.Context, args []string, env *platform.Env) int

// starter prepares one start.
type starter struct {
	*platform.Env
	vars    environment
	execute Execute
	path    string       // of config.yaml
	file    *config.File // after the changes
	root    string       // above staging and run/secrets; "" but in tests
	volume  func(path string) bool
}

// Run prepares what variables, as of os.Environ, ask for and runs the daemon.
func Run(ctx context.Context, env *platform.Env, variables []string, execute Execute) error {
	vars := newEnvironment(variables)
	s := &starter{Env: env, vars: vars, execute: execute, path: cmp.Or(vars["CONFIG_FILE"], config.UpstreamPath()), volume: isVolume}
	return s.run(ctx)
}

func (s *starter) run(ctx context.Context) error {
	if s.vars.on("DEBUG") && s.LogLevel != nil {
		s.LogLevel.Set(slog.LevelDebug) // tells each command
	}
	if err := s.configure(); err != nil {
		return err
	}
	served := s.file.ServesLAPI()
	if dir := s.file.DataDir(); served && !s.volume(dir) && s.vars["CROWDSEC_BYPASS_DB_VOLUME_CHECK"] == "" {
		_, err := fmt.Fprintf(s.Stderr, "%s is not on a volume: accounts and bans would be lost with the container.\n"+
			"Mount one there, as with: docker run -v crowdsec-data:%s …\n"+
			"If that is as you want it, set CROWDSEC_BYPASS_DB_VOLUME_CHECK=true.\n", dir, dir)
		return err
	}
	s.linkData()
	if served {
		if err := s.bringDatabase(ctx); err != nil {
			return err
		}
	}
	if err := s.account(ctx, served); err != nil {
		return err
	}
	s.withoutCentral()
	s.content(ctx)
	if err := s.bouncers(ctx, served); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	env := *s.Env
	env.Program = "crowdsec"
	if code := s.execute(ctx, s.vars.daemon(s.path), &env); code != 0 {
		return fmt.Errorf("crowdsec ended with exit code %d", code)
	}
	return nil
}

// cscli runs an operator's command, whose standard output goes to out. Errors don't
// tell the arguments: there may be a password among them.
func (s *starter) cscli(ctx context.Context, out io.Writer, args ...string) error {
	env := *s.Env
	env.Program, env.Stdin, env.Stdout = "cscli", strings.NewReader(""), out
	env.LookupEnv = func(name string) (string, bool) {
		if name == "container" { // some images forget to say where we are
			return "yes", true
		}
		return s.LookupEnv(name)
	}
	s.Log.Debug("running", "command", strings.Join(args[:2], " "))
	if s.execute(ctx, append([]string{"-c", s.path}, args...), &env) != 0 {
		return fmt.Errorf("cannot do it: cscli %s failed", strings.Join(args[:2], " "))
	}
	return ctx.Err()
}

// configure makes a configuration where there is none, and changes it.
func (s *starter) configure() error {
	dir := filepath.Dir(s.path)
	if _, err := os.Stat(s.path); errors.Is(err, fs.ErrNotExist) {
		if err := s.populate(dir); err != nil {
			return err
		}
	} else if err != nil {
		return fmt.Errorf("cannot look for the configuration: %w", err)
	}
	text, err := os.ReadFile(s.path)
	if err != nil {
		return fmt.Errorf("cannot read the configuration: %w", err)
	}
	changed, err := strict.Edit(s.path, text, s.vars.changes())
	if err != nil {
		return fmt.Errorf("cannot change the configuration: %w", err)
	}
	if !bytes.Equal(text, changed) {
		s.Log.Info("changing the configuration as the environment asks", "file", s.path)
		if err := platform.WriteFile(s.path, changed, 0o600); err != nil {
			return fmt.Errorf("cannot change the configuration: %w", err)
		}
	}
	s.file, err = config.Load(s.path, s.LookupEnv)
	return err
}

// populate fills a directory without a configuration: with what the image has ready
// for that, unless there are credentials, and with what is still missing then.
func (s *starter) populate(dir string) error {
	s.Log.Info("there is no configuration yet: making one", "file", s.path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make the configuration: %w", err)
	}
	staged := filepath.Join(s.root, "/staging/etc/crowdsec")
	_, err := os.Stat(filepath.Join(dir, config.CredentialsName))
	if _, serr := os.Stat(staged); serr == nil && errors.Is(err, fs.ErrNotExist) {
		if err := copyMissing(dir, staged); err != nil {
			return fmt.Errorf("cannot copy what the image has ready: %w", err)
		}
	}
	for path, text := range map[string][]byte{
		s.path:                              []byte(strings.ReplaceAll(ownConfig, "/etc/crowdsec", dir)),
		filepath.Join(dir, "profiles.yaml"): ownProfiles,
	} {
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if err := platform.WriteFile(path, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// copyMissing copies the files of a tree that are not there yet.
func copyMissing(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dest := filepath.Join(to, name)
		if _, err := os.Lstat(dest); err == nil && !d.IsDir() {
			return nil
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(dest, 0o755)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, dest)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return platform.WriteFile(dest, text, info.Mode().Perm())
	})
}

// linkData makes the data files that the image has ready, GeoIP and the like, appear in
// the data directory.
func (s *starter) linkData() {
	ready := filepath.Join(s.root, "/staging/var/lib/crowdsec/data")
	entries, _ := os.ReadDir(ready) // mostly there are none
	for _, e := range entries {
		name := filepath.Join(s.file.DataDir(), e.Name())
		if _, err := os.Lstat(name); err == nil || e.IsDir() {
			continue
		}
		err := platform.MakeDir(filepath.Dir(name))
		if err == nil {
			err = os.Symlink(filepath.Join(ready, e.Name()), name)
		}
		if err != nil {
			s.Log.Warn("a data file of the image can't be used", "file", e.Name(), "err", err)
		}
	}
}

// bringDatabase takes over what upstream's LAPI has kept on this volume. It must not
// be left out silently: all bouncers would be refused.
func (s *starter) bringDatabase(ctx context.Context) error {
	old := s.file.DB.DBPath
	if _, err := os.Stat(old); old == "" || err != nil {
		return nil
	}
	if _, err := os.Stat(filepath.Join(s.file.DataDir(), config.StoreName)); err == nil {
		return nil
	}
	if filepath.Base(s.path) != "config.yaml" {
		return fmt.Errorf("%s is to be taken over, and that needs a configuration named config.yaml, not %s", old, s.path)
	}
	s.Log.Info("taking over what upstream's LAPI has kept", "database", old)
	var said bytes.Buffer
	if err := s.cscli(ctx, &said, "takeover", "--apply", "--from", filepath.Dir(s.path)); err != nil {
		return errors.Join(err, errors.New(strings.TrimSpace(said.String())))
	}
	return nil
}

// account makes sure that this host can log in at its LAPI, and the machine that the
// environment names, too.
func (s *starter) account(ctx context.Context, served bool) error {
	path := s.file.CredentialsPath()
	old, err := config.ReadCredentials(path, s.LookupEnv)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, config.ErrNoCredentials) {
		return err
	}
	wanted := old
	user, password := s.vars["AGENT_USERNAME"], s.vars["AGENT_PASSWORD"]
	switch cert := s.vars["CLIENT_CERT_FILE"]; {
	case s.vars.on("USE_TLS") && cert != "":
		wanted = config.Credentials{URL: old.URL, CertPath: cert, KeyPath: s.vars["CLIENT_KEY_FILE"]}
	case served:
		if err := s.localMachine(ctx, &wanted); err != nil {
			return err
		}
	case user != "" && password != "":
		wanted = config.Credentials{URL: old.URL, Login: user, Password: password}
	case err != nil:
		return fmt.Errorf("there is no LAPI in this container and no account at another one: set LOCAL_API_URL, AGENT_USERNAME and AGENT_PASSWORD (%w)", err)
	}
	scheme := "http"
	if s.vars.on("USE_TLS") {
		scheme, wanted.CACertPath = "https", cmp.Or(s.vars["CACERT_FILE"], wanted.CACertPath)
	}
	wanted.URL = cmp.Or(s.vars["LOCAL_API_URL"], wanted.URL, scheme+"://0.0.0.0:8080")
	if wanted != old {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("cannot write credentials: %w", err)
		}
		if err := wanted.Write(path); err != nil {
			return err
		}
	}
	if served && user != "" && password != "" {
		s.Log.Info("letting a machine in", "name", user)
		return s.cscli(ctx, io.Discard, "machines", "add", user, "--error", "--password", password, "-f", os.DevNull, "--force")
	}
	return nil
}

// localMachine makes an account for this host at its own LAPI, unless c is one.
func (s *starter) localMachine(ctx context.Context, c *config.Credentials) error {
	known, err := s.names(ctx, "machines", "machineId")
	if err != nil {
		return err
	}
	if c.Login != "" && slices.Contains(known, c.Login) {
		return nil
	}
	*c = config.Credentials{URL: c.URL, Login: cmp.Or(s.vars["CUSTOM_HOSTNAME"], "localhost"), Password: config.NewPassword()}
	return s.cscli(ctx, io.Discard, "machines", "add", c.Login, "--error", "--password", c.Password, "-f", os.DevNull, "--force")
}

// names returns who has an account.
func (s *starter) names(ctx context.Context, noun, key string) (names []string, err error) {
	if _, err := os.Stat(filepath.Join(s.file.DataDir(), config.StoreName)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out bytes.Buffer
	if err := s.cscli(ctx, &out, noun, "list", "-o", "json"); err != nil {
		return nil, err
	}
	var list []map[string]any
	if err := json.Unmarshal(out.Bytes(), &list); err != nil {
		return nil, fmt.Errorf("BUG: container: cannot read the list of %s: %w", noun, err)
	}
	for _, entry := range list {
		name, _ := entry[key].(string)
		names = append(names, name)
	}
	return names, nil
}

// withoutCentral tells what won't happen.
func (s *starter) withoutCentral() {
	if !s.vars.on("DISABLE_ONLINE_API") && s.file.ServesLAPI() {
		s.Log.Info("there is no central API: nothing is sent to CrowdSec, and no community blocklist is pulled (DISABLE_ONLINE_API=true silences this)")
	}
	if s.vars["ENROLL_KEY"] != "" || len(s.vars.consoleOptions()) > 0 {
		s.Log.Warn("ENROLL_* and ENABLE_CONSOLE_* have no effect: this program doesn't talk to the console")
	}
	if s.vars["GID"] != "" {
		s.Log.Warn("GID has no effect: nobody but this program can read its store")
	}
}

// content installs and removes what the environment names, after bringing what there is
// up to date. What fails is told and done without: a hub that can't be reached must
// not keep a LAPI from serving.
func (s *starter) content(ctx context.Context) {
	try := func(args ...string) bool {
		err := s.cscli(ctx, s.Stderr, args...)
		if err != nil {
			s.Log.Error("the content is not as wanted", "err", err)
		}
		return err == nil
	}
	index := cmp.Or(s.file.ConfigPaths.IndexPath, filepath.Join(cmp.Or(s.file.ConfigPaths.HubDir, filepath.Join(filepath.Dir(s.path), "hub")), ".index.json"))
	info, err := os.Stat(index)
	fresh := err == nil
	upgrade := !s.vars.on("NO_HUB_UPGRADE")
	wanted := s.wantedItems()
	if err != nil && len(wanted) > 0 || err == nil && upgrade && s.volume(index) && time.Since(info.ModTime()) > staleIndex {
		if fresh = try("hub", "update"); !fresh && err != nil {
			return // each of the rest would fail with the same words
		}
	}
	if fresh && upgrade && s.volume(s.file.DataDir()) {
		try("hub", "upgrade")
	}
	updated := false
	for _, k := range kinds {
		if names := wanted[k.command]; len(names) > 0 {
			args := append([]string{k.command, "install"}, names...)
			if s.cscli(ctx, s.Stderr, args...) == nil {
				continue
			}
			if !updated {
				updated = true
				try("hub", "update")
			}
			try(append(args, "--ignore")...)
		}
	}
	for _, k := range kinds {
		if names := strings.Fields(s.vars["DISABLE_"+k.variable]); len(names) > 0 {
			try(append([]string{k.command, "remove", "--force"}, names...)...)
		}
	}
}

// wantedItems are the names to install by command. Where nothing is named, nothing
// installed and nothing to be got, the starter set stays in force.
func (s *starter) wantedItems() map[string][]string {
	wanted := map[string][]string{}
	for _, k := range kinds {
		if names := strings.Fields(s.vars[k.variable]); len(names) > 0 {
			wanted[k.command] = names
		}
	}
	if s.vars.on("DISABLE_AGENT") {
		return wanted
	}
	installed := s.installed()
	if !installed && !s.vars.on("NO_HUB_UPGRADE") { // what upstream's image has from the start
		wanted["parsers"] = append(wanted["parsers"], "crowdsecurity/whitelists")
		wanted["collections"] = append(wanted["collections"], "crowdsecurity/linux")
	}
	if installed || len(wanted) > 0 {
		wanted["parsers"] = append(wanted["parsers"], "crowdsecurity/docker-logs", "crowdsecurity/cri-logs")
	}
	return wanted
}

// installed tells whether there is content that takes the place of the starter set.
func (s *starter) installed() bool {
	for _, pattern := range []string{"collections/*.y*ml", "parsers/*/*.y*ml", "scenarios/*.y*ml"} {
		found, _ := filepath.Glob(filepath.Join(s.file.Paths().ConfigDir, pattern)) // the pattern is good
		if len(found) > 0 {
			return true
		}
	}
	return false
}

// bouncers lets those in that keys are given for. Who is known keeps his key.
func (s *starter) bouncers(ctx context.Context, served bool) error {
	secrets, err := readSecrets(filepath.Join(s.root, "/run/secrets"))
	if err != nil {
		return err
	}
	names, keys := s.vars.bouncers(secrets)
	switch {
	case len(names) == 0:
		return nil
	case !served:
		s.Log.Warn("keys of bouncers have no effect: there is no LAPI in this container", "names", names)
		return nil
	}
	known, err := s.names(ctx, "bouncers", "name")
	if err != nil {
		return err
	}
	for _, name := range names {
		if slices.Contains(known, name) {
			s.Log.Info("the bouncer is known already, with the key that it got then", "name", name)
			continue
		}
		// Not to our output: it would tell the key.
		if err := s.cscli(ctx, io.Discard, "bouncers", "add", name, "-k", keys[name]); err != nil {
			return fmt.Errorf("bouncer %q: %w", name, err)
		}
		s.Log.Info("bouncer added", "name", name)
	}
	return nil
}

// readSecrets returns what the files in a directory hold, by their names.
func readSecrets(dir string) (map[string]string, error) {
	found, _ := filepath.Glob(filepath.Join(dir, "bouncer_key_*"))
	secrets := map[string]string{}
	for _, path := range found {
		text, err := readStart(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read a secret: %w", err)
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			secrets[filepath.Base(path)] = string(text)
		}
	}
	return secrets, nil
}

func readStart(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSecret))
}

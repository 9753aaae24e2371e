package takeover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cs/platform"
	"cs/roles/config"
	"cs/storage/migrate"
)

// host is what there is of upstream on a host.
type host struct {
	config    string // path of config.yaml
	dataDir   string
	ownDir    bool     // a flag named dataDir
	listen    string   // where the LAPI listens; "": nowhere
	store     string   // where our store goes
	database  string   // path of the LAPI's SQLite file; "": none
	firewall  string   // path of the firewall bouncer's configuration; "": none
	faults    []string // of that
	found     migrate.Summary
	units     []unit
	systemd   string   // path of systemctl; "": none
	carries   []string // what carries over
	left      []string // what does not
	obstacles []string // why it can't be done
}

// unit is a service of systemd that we take the place of.
type unit struct {
	name   string
	active bool
	config string // of its program
}

// look finds out what is there, and changes nothing.
func (c *Command) look(ctx context.Context, env *platform.Env, flags *config.Flags) (*host, error) {
	h := &host{config: filepath.Join(c.From, "config.yaml")}
	file, err := config.Load(h.config, env.LookupEnv)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s: name upstream's directory with --from", h.config)
	}
	if err != nil {
		h.obstacles = append(h.obstacles, each(err)...)
		return h, nil
	}
	if h.ownDir = flags.DataDir != ""; h.ownDir {
		file.ConfigPaths.DataDir = flags.DataDir
	}
	resolved, errs := file.Resolve(env.LookupEnv)
	for _, err := range errs {
		h.obstacles = append(h.obstacles, err.Error())
	}
	if resolved.LAPI.Enabled {
		h.listen = resolved.LAPI.Listen
	}
	h.dataDir = file.DataDir()
	h.store = filepath.Join(h.dataDir, config.StoreName)
	h.carries = append(h.carries, h.config+", and the files that it names")
	h.lookAtDatabase(ctx, file, c.Undo)
	h.lookAtFirewall(c.From, env)
	h.lookAtRest(c.From, file)
	h.lookAtServices(ctx)
	return h, nil
}

func (h *host) record() string { return filepath.Join(h.dataDir, recordName) }

func (h *host) lookAtDatabase(ctx context.Context, file *config.File, undo bool) {
	kind := strings.ToLower(file.DB.Type.Value)
	switch {
	case undo || !file.ServesLAPI():
		return
	case kind != "" && kind != "sqlite":
		h.left = append(h.left, fmt.Sprintf("what is in the %s database: only SQLite files are read", kind))
		return
	}
	path := file.DB.DBPath
	if path == "" {
		return
	}
	if _, err := os.Stat(h.store); err == nil {
		h.obstacles = append(h.obstacles, fmt.Sprintf("there is a store already, %s: move it away first", h.store))
		return
	}
	source, err := migrate.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		h.left = append(h.left, fmt.Sprintf("the database: there is no %s", path))
		return
	}
	if err == nil {
		defer source.Close()
		h.found, err = source.Into(ctx, nil, time.Now())
	}
	if err != nil && !errors.Is(err, migrate.ErrChanged) { // it is stopped before it counts
		h.obstacles = append(h.obstacles, err.Error())
		return
	}
	h.database = path
	f := &h.found
	h.carries = append(h.carries,
		fmt.Sprintf("%s: %s and %s, with their passwords and keys", path, plural(f.Machines, "machine"), plural(f.Bouncers, "bouncer")),
		fmt.Sprintf("  %s with %s, %s with %s, of which %d in force", plural(f.Allowlists, "allowlist"), plural(f.AllowItems, "item"),
			plural(f.Alerts, "alert"), plural(f.Decisions, "decision"), f.Live))
	h.left = append(h.left, f.Left...)
	h.left = append(h.left, "reports of usage, and the places of bouncers in the stream: each is sent everything once")
}

func (h *host) lookAtFirewall(from string, env *platform.Env) {
	path := filepath.Join(from, "bouncers", "crowdsec-firewall-bouncer.yaml")
	if _, err := os.Stat(path); err != nil {
		return
	}
	_, warnings, errs := config.ReadFirewallBouncer(path, env.LookupEnv, nil)
	for _, err := range errs {
		h.faults = append(h.faults, err.Error())
	}
	for _, err := range warnings {
		h.left = append(h.left, err.Error())
	}
	h.firewall = path
	if len(errs) == 0 {
		h.carries = append(h.carries, path)
	}
}

// lookAtRest notes what nothing of ours reads.
func (h *host) lookAtRest(from string, file *config.File) {
	for _, f := range []struct{ name, what string }{
		{"online_api_credentials.yaml", "the central API: community blocklist, sharing of signals"},
		{"console.yaml", "the console"},
	} {
		path := filepath.Join(from, f.name)
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			h.left = append(h.left, path+": "+f.what)
		}
	}
	if dir := file.ConfigPaths.PluginDir; dir != "" {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			switch kind := strings.TrimPrefix(e.Name(), "notification-"); kind {
			case "http", "slack", "splunk", "sentinel", "email", "file", "dummy": // built in
			default:
				h.left = append(h.left, fmt.Sprintf("%s: notification programs of others are not run", filepath.Join(dir, e.Name())))
			}
		}
	}
}

// lookAtServices finds the services whose place we take.
func (h *host) lookAtServices(ctx context.Context) {
	defer func() {
		if slices.ContainsFunc(h.units, func(u unit) bool { return u.config == h.firewall }) {
			h.obstacles = append(h.obstacles, h.faults...)
		} else { // nobody runs it
			h.left = append(h.left, h.faults...)
		}
	}()
	path, err := exec.LookPath("systemctl")
	if err != nil {
		return
	}
	h.systemd = path
	for _, u := range []unit{
		{name: "crowdsec.service", config: h.config},
		{name: "crowdsec-firewall-bouncer.service", config: h.firewall},
	} {
		if u.config == "" || exec.CommandContext(ctx, path, "cat", u.name).Run() != nil {
			continue
		}
		u.active = exec.CommandContext(ctx, path, "is-active", "--quiet", u.name).Run() == nil
		h.units = append(h.units, u)
		h.carries = append(h.carries, u.name+": it will start this program")
	}
}

// systemctl does something with units; without any, to reload, with all.
func (h *host) systemctl(ctx context.Context, verb string, units ...string) error {
	if h.systemd == "" || len(units) == 0 && verb != "daemon-reload" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, h.systemd, append([]string{verb}, units...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w: %s", verb, strings.Join(units, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// dropIn has a unit start us.
func (h *host) dropIn(u *unit, links string) string {
	start := filepath.Join(links, "crowdsec") + " -c " + u.config
	test := "ExecStartPre=" + start + " -t\n"
	if strings.Contains(u.name, "firewall") {
		start, test = filepath.Join(links, "cs")+" bouncer-firewall -c "+u.config, ""
	}
	dir := ""
	if h.ownDir {
		dir = "Environment=CS_DATA_DIR=" + h.dataDir + "\n"
	}
	return "# Made by \"cs takeover\"; \"cs takeover --undo\" removes it.\n[Service]\nExecStartPre=\nExecStartPost=\nExecStart=\n" +
		dir + test + "ExecStart=" + start + "\n"
}

// idle makes sure that no LAPI runs: what it keeps would be left behind.
func (h *host) idle(ctx context.Context) error {
	if h.listen == "" {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", h.listen)
	if platform.IsAddrInUse(err) {
		return fmt.Errorf("something still listens on %s (%s): stop it first", h.listen, cmp.Or(platform.PortOwner(h.listen), "owner unknown"))
	}
	if err == nil {
		l.Close()
	}
	return nil
}

// text says what there is.
func (h *host) text() string {
	var b strings.Builder
	part := func(head string, lines []string) {
		if len(lines) == 0 {
			return
		}
		b.WriteString(head + "\n")
		for _, l := range lines {
			b.WriteString("  " + l + "\n")
		}
	}
	part("Carries over:", h.carries)
	part("Does not:", h.left)
	part("In the way:", h.obstacles)
	return b.String()
}

// done says what was done, and what is left to do.
func (h *host) done(links string) string {
	var lines []string
	if h.database != "" {
		f := &h.found
		lines = append(lines, fmt.Sprintf("%s, %s, %s and %s are in %s.", plural(f.Machines, "machine"), plural(f.Bouncers, "bouncer"),
			plural(f.Alerts, "alert"), plural(f.Decisions, "decision"), h.store))
	}
	if len(h.units) > 0 {
		lines = append(lines, "The services start this program now. For operators' commands put "+links+" first in the PATH.")
	} else {
		lines = append(lines, "Start this program in place of crowdsec, as: crowdsec -c "+h.config+" (a link of that name, to this program)")
	}
	return strings.Join(lines, "\n")
}

// each returns the texts of joined errors.
func each(err error) []string {
	var many interface{ Unwrap() []error }
	if !errors.As(err, &many) {
		return []string{err.Error()}
	}
	var texts []string
	for _, e := range many.Unwrap() {
		texts = append(texts, each(e)...)
	}
	return texts
}

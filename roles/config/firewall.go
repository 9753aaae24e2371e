package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cs/platform/strict"
)

// BouncerSection is the firewall bouncer of this process as it was typed. It
// has all the keys of upstream's crowdsec-firewall-bouncer.yaml, so that its
// lines can be moved here; that file itself is read by ReadFirewallBouncer.
type BouncerSection struct {
	Enable             *bool       `yaml:"enable"`
	APIURL             strict.Text `yaml:"api_url"` // not needed when the LAPI runs in the same process
	APIKey             string      `yaml:"api_key"`
	CACertPath         string      `yaml:"ca_cert_path"` // trusted beside the system's
	CertPath           strict.Text `yaml:"cert_path"`    // instead of a key
	KeyPath            strict.Text `yaml:"key_path"`
	InsecureSkipVerify bool        `yaml:"insecure_skip_verify"`
	UpdateFrequency    strict.Text `yaml:"update_frequency"` // between two polls
	// RetryConnect false ends the program when the first pull fails; without
	// the key, and with true, it tries for ever.
	RetryConnect *bool `yaml:"retry_initial_connect"`

	// What the LAPI is asked for, all if empty, and which types of decisions
	// are enforced: "ban" if empty.
	Scopes                 []string `yaml:"scopes"`
	Origins                []string `yaml:"origins"`
	ScenariosContaining    []string `yaml:"scenarios_containing"`
	ScenariosNotContaining []string `yaml:"scenarios_not_containing"`
	Types                  []string `yaml:"supported_decisions_types"`

	Mode          strict.Text   `yaml:"mode"`    // upstream's word for the backend
	Backend       strict.Text   `yaml:"backend"` // "auto", "nft", "ipset", "pf", …, or "dry-run", which prints
	DisableIPv4   bool          `yaml:"disable_ipv4"`
	DisableIPv6   bool          `yaml:"disable_ipv6"`
	DenyAction    strict.Text   `yaml:"deny_action"` // "drop" or "reject"
	DenyLog       bool          `yaml:"deny_log"`    // log dropped packets, at most ten in a second
	DenyLogPrefix strict.Text   `yaml:"deny_log_prefix"`
	Ignore        []strict.Text `yaml:"ignore"`        // addresses and ranges that are never blocked
	IgnorePorts   []strict.Text `yaml:"ignore_ports"`  // to which nobody is blocked: 443, 53/udp, 1000-2000/tcp
	LockoutGuard  *bool         `yaml:"lockout_guard"` // never block this host's own addresses, its gateway and who is logged in
	OnStop        strict.Text   `yaml:"on_stop"`       // "keep" the rules or "clean" them away
	Resync        strict.Text   `yaml:"resync_interval"`
	ResyncTrust   strict.Text   `yaml:"resync_trust"` // "twice" or "always": believe a list that lifts most bans
	// EndConnections ends what a newly banned address has open in the
	// connection tracking.
	EndConnections bool `yaml:"end_connections"`

	// nftables

	Layout        strict.Text   `yaml:"layout"`         // "map", or "sets" under upstream's names
	Table         string        `yaml:"table"`          // of layout map, family inet
	Hooks         []strict.Text `yaml:"hooks"`          // prerouting, input, forward, …
	NftablesHooks []strict.Text `yaml:"nftables_hooks"` // upstream's word for hooks
	Interfaces    []strict.Text `yaml:"interfaces"`     // through which packets come in; all if empty
	Conntrack     strict.Text   `yaml:"conntrack"`      // "all" packets, of "new" connections, in the "original" direction
	Nftables      nftables      `yaml:"nftables"`

	// Names of sets and of tables of pf, and what is for ipset and iptables.

	BlacklistsIPv4       strict.Text `yaml:"blacklists_ipv4"`
	BlacklistsIPv6       strict.Text `yaml:"blacklists_ipv6"`
	IpsetType            strict.Text `yaml:"ipset_type"`
	IpsetSize            strict.Text `yaml:"ipset_size"` // sets grow as they must
	IpsetDisableTimeouts bool        `yaml:"ipset_disable_timeouts"`
	IptablesForce        bool        `yaml:"iptables_force"` // even where nftables does the same
	IptablesChains       []string    `yaml:"iptables_chains"`
	IptablesV4Chains     []string    `yaml:"iptables_v4_chains"`
	IptablesV6Chains     []string    `yaml:"iptables_v6_chains"`
	IptablesRuleComments *bool       `yaml:"iptables_add_rule_comments"`
	PF                   pf          `yaml:"pf"`

	// For the backends of these names.

	Exec    execSection    `yaml:"exec"`
	File    fileSection    `yaml:"file"`
	Windows windowsSection `yaml:"windows"` // wfp and rules

	Prometheus Prometheus `yaml:"prometheus"` // of a bouncer that runs alone

	LogLevel       strict.Text `yaml:"log_level"`
	LogMode        strict.Text `yaml:"log_mode"`
	LogDir         string      `yaml:"log_dir"`
	LogMaxSize     int         `yaml:"log_max_size"`
	LogMaxFiles    int         `yaml:"log_max_files"`
	LogMaxBackups  int         `yaml:"log_max_backups"` // its shipped file says so
	LogMaxAge      int         `yaml:"log_max_age"`
	CompressLogs   *bool       `yaml:"compress_logs"`
	LogCompression *bool       `yaml:"log_compression"` // its shipped file says so
	PIDDir         string      `yaml:"pid_dir"`
	Daemonize      bool        `yaml:"daemonize"`
}

type nftables struct {
	Owner *bool          `yaml:"owner"` // false: others may edit our tables
	IPv4  nftablesFamily `yaml:"ipv4"`
	IPv6  nftablesFamily `yaml:"ipv6"`
}

type nftablesFamily struct {
	Enabled  *bool       `yaml:"enabled"`
	SetOnly  bool        `yaml:"set-only"`
	Table    string      `yaml:"table"`
	Chain    string      `yaml:"chain"`
	Priority strict.Text `yaml:"priority"`
	// SetPerOrigin names the set of an origin ("CAPI", "lists:tor") in set-only
	// mode; "*" is for the others.
	SetPerOrigin map[string]string `yaml:"set_per_origin"`
}

type pf struct {
	AnchorName string      `yaml:"anchor_name"`
	BatchSize  strict.Text `yaml:"batch_size"`
}

// execSection is a program that blocks; package exec says how it is called.
type execSection struct {
	Program string      `yaml:"program"`
	Args    []string    `yaml:"args"`
	Timeout strict.Text `yaml:"timeout"` // of one call
}

// fileSection is a file with the bans; package export says what is in it.
type fileSection struct {
	Path    string      `yaml:"path"`
	Format  strict.Text `yaml:"format"`   // "plain", "nft", "ipset" or "dnsmasq"
	SetIPv4 string      `yaml:"set_ipv4"` // that scripts for nft and ipset fill
	SetIPv6 string      `yaml:"set_ipv6"`
	Command []string    `yaml:"command"` // run after each write
	Every   strict.Text `yaml:"every"`   // least time between two writes
}

type windowsSection struct {
	Lifetime strict.Text `yaml:"lifetime"` // "persistent", "until-reboot" or "with-process"
	Outbound bool        `yaml:"outbound"` // block connections to banned addresses, too
}

// Bouncer is the part of roles/bouncer.
type Bouncer struct {
	Enabled            bool
	APIURL             string // normalised; "": the LAPI of this process
	APIKey             string
	CACertPath         string
	CertPath, KeyPath  string
	InsecureSkipVerify bool
	UpdateFrequency    time.Duration
	GiveUp             bool // end when the first pull fails

	// What the LAPI is asked for; empty: all.
	Scopes, Origins                             []string
	ScenariosContaining, ScenariosNotContaining []string
	Types                                       []string // of decisions to enforce, lower case; empty: "ban"

	Backend        string // a name that roles/bouncer knows; "auto": what this system has
	DenyAction     string // "drop" or "reject"; of iptables also "tarpit" and "log"
	DenyLog        bool
	DenyLogPrefix  string
	Ignore         []netip.Prefix
	IgnorePorts    []Ports
	LockoutGuard   bool
	OnStop         string // "keep" or "clean"
	Resync         time.Duration
	TrustResync    bool // believe a full list that lifts most bans at once
	EndConnections bool
	MaxDecisions   int
	MaxEntries     int // 0: no limit, AutoEntries: what suits the machine

	Layout     string   // "map" or "sets"
	Plain      bool     // others may edit the tables
	Table      string   // of layout map; "": the backend's own
	Hooks      []string // empty: of chains that are named for iptables, or the backend's own
	Interfaces []string // empty: all
	Conntrack  string   // "all", "new" or "original"
	IPv4, IPv6 BouncerFamily

	Ipset   Ipset
	PF      PF
	Exec    Exec
	File    BouncerFile
	Windows Windows
	Metrics Metrics // of a bouncer that runs alone
	Level   *slog.Level
	LogFile LogFile
}

// AutoEntries is a Bouncer's MaxEntries that depends on the machine's memory.
const AutoEntries = -1

// BouncerFamily is what differs between IPv4 and IPv6.
type BouncerFamily struct {
	Off          bool
	Set          string // name of the set or pf table, or what such names begin with
	Table, Chain string // of nftables
	Priority     *int   // of nftables; nil: the hook's own
	SetOnly      bool
	SetPerOrigin map[string]string
	Chains       []string // of iptables, that get a jump to ours
}

// Ports is a range of ports.
type Ports struct {
	First, Last uint16
	Proto       string // "tcp", "udp", or empty for both
}

// maxPorts bounds the ranges that are ignored: each is a rule.
const maxPorts = 32

// ports reads "443", "53/udp", "1000-2000/tcp".
func (r *resolver) ports(key string, list []strict.Text) (out []Ports) {
	for i, v := range list {
		text, proto, with := strings.Cut(v.Value, "/")
		first, last, isRange := strings.Cut(text, "-")
		if !isRange {
			last = first
		}
		a, err1 := strconv.ParseUint(first, 10, 16)
		b, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil || a == 0 || b < a || with && proto != "tcp" && proto != "udp" {
			r.fail(fmt.Sprintf("%s[%d]", key, i), v.Place, "want a port or a range of them, like 443, 53/udp or 1000-2000/tcp, not %q", v.Value)
			continue
		}
		out = append(out, Ports{uint16(a), uint16(b), proto})
	}
	if len(out) > maxPorts {
		r.fail(key, list[maxPorts].Place, "these are %d, there is room for %d", len(out), maxPorts)
	}
	return out
}

// Ipset is for iptables with ipset.
type Ipset struct {
	NoTimeouts bool
	Force      bool // even where nftables does the same
	Comments   bool
}

// PF is for BSD's packet filter.
type PF struct {
	Anchor string
}

// Exec is a program that blocks.
type Exec struct {
	Program string
	Args    []string
	Timeout time.Duration
}

// BouncerFile is a file with the bans, for other programs.
type BouncerFile struct {
	Path, Format string
	Set4, Set6   string
	Command      []string
	Every        time.Duration
}

// Windows is for its filtering engine and its firewall.
type Windows struct {
	Lifetime string // "persistent", "until-reboot" or "with-process"
	Outbound bool
	Rules    bool // rules of the Windows Firewall instead of filters
}

// ReadFirewallBouncer reads the file of upstream's firewall bouncer, with its
// ".local" overlay. It means what it means there, but:
//
//	mode: iptables                    ->  nftables where the kernel has it, unless iptables_force is set; iptables_chains
//	                                      says at which hooks, as nftables_hooks does in mode nftables
//	layout                            ->  "sets": tables, chains and sets have upstream's names
//	nftables_hooks left out           ->  prerouting, which sees what goes into containers, too
//	retry_initial_connect left out    ->  we retry
//	compress_logs                     ->  (the build of the bouncer alone has no compressor: files of the log that were rotated stay as they are)
//	pid_dir, daemonize                ->  (gone, as upstream's own)
//
// Keys of BouncerSection that upstream doesn't have are known, too. Warnings
// tell of keys that change nothing here, errors of all else.
// overlay, which may be nil, lays flags over the section.
func ReadFirewallBouncer(path string, env func(string) (string, bool), overlay func(*File)) (b Bouncer, warnings, errs []error) {
	f := File{path: path, Bouncer: new(BouncerSection)}
	if errs := each(load(path, env, f.Bouncer)); len(errs) > 0 {
		return b, nil, errs
	}
	if overlay != nil {
		overlay(&f)
	}
	return f.firewallBouncer()
}

// firewallBouncer resolves a file that is the section of the bouncer alone.
func (f *File) firewallBouncer() (b Bouncer, warnings, errs []error) {
	s, r := f.Bouncer, resolver{file: f}
	warn := func(key string, at strict.Place, format string, args ...any) {
		warnings = append(warnings, r.complaint(key, at, format, args...))
	}
	if s.Mode.Value == "" && s.Backend.Value == "" {
		r.missing("mode", "want nftables, iptables, ipset, pf or dry-run")
	}
	if s.APIURL.Value == "" {
		r.missing("api_url", "the address of the LAPI is missing")
	}
	if s.Layout.Value == "" {
		s.Layout.Value = "sets"
	}
	if word := strings.ToLower(s.DenyAction.Value); (word == "tarpit" || word == "log") && !s.IptablesForce {
		warn("deny_action", s.DenyAction.Place, "%s is for iptables only (iptables_force: true); packets are dropped", s.DenyAction.Value)
		s.DenyAction.Value = "drop"
	}
	var logFile LogFile
	switch s.LogMode.Value {
	case "", "stdout":
	case "file":
		logFile = LogFile{
			Path: filepath.Join(cmp.Or(s.LogDir, "/var/log"), "crowdsec-firewall-bouncer.log"), MaxSize: int64(cmp.Or(s.LogMaxSize, 500)) << 20,
			MaxFiles: cmp.Or(s.LogMaxFiles, s.LogMaxBackups, 3), MaxAge: time.Duration(cmp.Or(s.LogMaxAge, 30)) * 24 * time.Hour,
			Compress: *cmp.Or(s.CompressLogs, s.LogCompression, new(true)),
		}
	default:
		r.fail("log_mode", s.LogMode.Place, "want stdout or file, not %q", s.LogMode.Value)
	}
	if at := s.PF.BatchSize; at.Value != "" {
		warn("pf.batch_size", at.Place, "batches have the size that suits the kernel")
	}
	switch s.IpsetType.Value {
	case "", "nethash", "hash:net":
	default:
		warn("ipset_type", s.IpsetType.Place, "sets are of type hash:net, which holds ranges, too")
	}
	if at := s.IpsetSize; at.Value != "" {
		warn("ipset_size", at.Place, "sets grow as they must and are never full")
	}
	b = r.bouncer(s)
	b.Enabled, b.LogFile = true, logFile
	if p := &s.Prometheus; p.Enabled {
		if p.ListenPort == 0 {
			p.ListenPort = 60601
		}
		b.Metrics = p.metrics()
		if _, err := net.ResolveTCPAddr("tcp", b.Metrics.Listen); err != nil {
			r.missing("prometheus", "cannot listen on %s: %w", b.Metrics.Listen, err)
		}
	}
	if v := s.LogLevel; v.Value != "" {
		level, ok := logLevels[strings.ToLower(v.Value)]
		if !ok {
			r.fail("log_level", v.Place, "want one of trace, debug, info, warning, error, fatal, not %q", v.Value)
		}
		b.Level = &level
	}
	return b, warnings, r.errs
}

// bouncerModes are upstream's words for backends, where ours differ.
var bouncerModes = map[string]string{"nftables": "nft"}

// bouncerBackends are the backends of all builds. Which of them this one has,
// roles/bouncer knows.
var bouncerBackends = []string{"auto", "nft", "iptables", "ipset", "pf", "wfp", "rules", "exec", "file", "dry-run"}

// hooks are those of nftables.
var hooks = []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}

func (r *resolver) bouncer(s *BouncerSection) Bouncer {
	if s.Backend.Value == "" && s.Mode.Value != "" {
		s.Backend = s.Mode
		if ours, ok := bouncerModes[strings.ToLower(s.Mode.Value)]; ok {
			s.Backend.Value = ours
		}
	}
	actions := []string{"drop", "reject"}
	if s.IptablesForce {
		actions = append(actions, "tarpit", "log")
	}
	out := Bouncer{
		APIKey:             s.APIKey,
		CACertPath:         s.CACertPath,
		CertPath:           s.CertPath.Value,
		KeyPath:            s.KeyPath.Value,
		InsecureSkipVerify: s.InsecureSkipVerify,
		UpdateFrequency:    r.duration("bouncer.update_frequency", s.UpdateFrequency),
		GiveUp:             s.RetryConnect != nil && !*s.RetryConnect,

		Scopes:                 s.Scopes,
		Origins:                s.Origins,
		ScenariosContaining:    s.ScenariosContaining,
		ScenariosNotContaining: s.ScenariosNotContaining,

		Backend:        r.oneOf("bouncer.backend", given("bouncer.backend", s.Backend), bouncerBackends...),
		DenyAction:     r.oneOf("bouncer.deny_action", given("bouncer.deny_action", s.DenyAction), actions...),
		DenyLog:        s.DenyLog,
		DenyLogPrefix:  given("bouncer.deny_log_prefix", s.DenyLogPrefix).Value,
		Ignore:         r.prefixes("bouncer.ignore", s.Ignore),
		IgnorePorts:    r.ports("bouncer.ignore_ports", s.IgnorePorts),
		LockoutGuard:   s.LockoutGuard == nil || *s.LockoutGuard,
		OnStop:         r.oneOf("bouncer.on_stop", given("bouncer.on_stop", s.OnStop), "keep", "clean"),
		Resync:         r.duration("bouncer.resync_interval", s.Resync),
		TrustResync:    r.oneOf("bouncer.resync_trust", given("bouncer.resync_trust", s.ResyncTrust), "twice", "always") == "always",
		EndConnections: s.EndConnections,
		MaxDecisions:   int(r.number("limits.max_decisions", r.file.Limits.MaxDecisions, 1, maxInt32)),
		MaxEntries:     AutoEntries,

		Layout:    r.oneOf("bouncer.layout", given("bouncer.layout", s.Layout), "map", "sets"),
		Plain:     s.Nftables.Owner != nil && !*s.Nftables.Owner,
		Table:     s.Table,
		Conntrack: r.oneOf("bouncer.conntrack", given("bouncer.conntrack", s.Conntrack), "all", "new", "original"),
		IPv4:      r.bouncerFamily(s, "ipv4", s.DisableIPv4, s.Nftables.IPv4, s.BlacklistsIPv4, s.IptablesV4Chains),
		IPv6:      r.bouncerFamily(s, "ipv6", s.DisableIPv6, s.Nftables.IPv6, s.BlacklistsIPv6, s.IptablesV6Chains),

		Ipset: Ipset{
			NoTimeouts: s.IpsetDisableTimeouts, Force: s.IptablesForce, Comments: s.IptablesRuleComments == nil || *s.IptablesRuleComments,
		},
		PF:   PF{Anchor: s.PF.AnchorName},
		Exec: Exec{Program: s.Exec.Program, Args: s.Exec.Args, Timeout: r.duration("bouncer.exec.timeout", s.Exec.Timeout)},
		File: BouncerFile{
			Path: s.File.Path, Format: r.oneOf("bouncer.file.format", given("bouncer.file.format", s.File.Format), "plain", "nft", "ipset", "dnsmasq"),
			Set4: s.File.SetIPv4, Set6: s.File.SetIPv6, Command: s.File.Command, Every: r.duration("bouncer.file.every", s.File.Every),
		},
		Windows: Windows{
			Lifetime: r.oneOf("bouncer.windows.lifetime", given("bouncer.windows.lifetime", s.Windows.Lifetime), "persistent", "until-reboot", "with-process"),
			Outbound: s.Windows.Outbound,
		},
	}
	if v := given("limits.max_entries", r.file.Limits.MaxEntries); v.Value != "auto" {
		out.MaxEntries = int(r.number("limits.max_entries", v, 0, maxInt32))
	}
	if v := s.IpsetSize; v.Value != "" {
		r.number("bouncer.ipset_size", v, 1, math.MaxUint32)
	}
	switch {
	case out.Backend == "exec" && out.Exec.Program == "":
		r.missing("bouncer.exec.program", "want the program that blocks")
	case out.Backend == "file" && out.File.Path == "":
		r.missing("bouncer.file.path", "want the file to write")
	}
	for _, word := range s.Types {
		out.Types = append(out.Types, strings.ToLower(word))
	}
	chains := len(out.IPv4.Chains)+len(out.IPv6.Chains) > 0
	for _, list := range [][]strict.Text{s.Hooks, s.NftablesHooks} {
		if len(out.Hooks) > 0 {
			break // ours, or a flag's
		}
		if out.Backend == "iptables" && chains && len(s.Hooks) == 0 {
			break // the chains say where
		}
		for i, hook := range list {
			out.Hooks = append(out.Hooks, r.oneOf(fmt.Sprintf("bouncer.hooks[%d]", i), hook, hooks...))
		}
	}
	for i, v := range s.Interfaces {
		if n := len(v.Value); n == 0 || n > 15 || strings.ContainsAny(v.Value, "/ *") {
			r.fail(fmt.Sprintf("bouncer.interfaces[%d]", i), v.Place, "%q is no name of an interface", v.Value)
		}
		out.Interfaces = append(out.Interfaces, v.Value)
	}
	if n := len(out.DenyLogPrefix); n > 127 {
		r.fail("bouncer.deny_log_prefix", s.DenyLogPrefix.Place, "it has %d bytes, the kernel takes 127", n)
	}
	if out.IPv4.Off && out.IPv6.Off {
		r.missing("disable_ipv6", "IPv4 and IPv6 are both disabled")
	}
	if s.APIURL.Value != "" {
		url, err := normalURL(s.APIURL.Value)
		if err != nil {
			r.fail("bouncer.api_url", s.APIURL.Place, "%w", err)
		}
		out.APIURL = url
	}
	switch {
	case out.CertPath != "" && out.KeyPath == "":
		r.fail("bouncer.cert_path", s.CertPath.Place, "key_path is missing, they go together")
	case out.CertPath == "" && out.KeyPath != "":
		r.fail("bouncer.key_path", s.KeyPath.Place, "cert_path is missing, they go together")
	case out.CertPath != "" && out.APIKey != "":
		r.fail("bouncer.cert_path", s.CertPath.Place, "api_key and cert_path exclude each other")
	}
	return out
}

// bouncerFamily resolves what differs between IPv4 and IPv6; chains are those
// of iptables for this family only.
func (r *resolver) bouncerFamily(s *BouncerSection, name string, off bool, n nftablesFamily, set strict.Text, chains []string) BouncerFamily {
	key := "bouncer.nftables." + name
	switch s.Backend.Value {
	case "iptables", "ipset", "pf":
		// Files have that section for another mode.
		n.Enabled, n.SetOnly = nil, false
	}
	out := BouncerFamily{
		Off:     off || n.Enabled != nil && !*n.Enabled,
		Set:     given("bouncer.blacklists_"+name, set).Value,
		Table:   given(key+".table", strict.Text{Value: n.Table}).Value,
		Chain:   given(key+".chain", strict.Text{Value: n.Chain}).Value,
		SetOnly: n.SetOnly, SetPerOrigin: n.SetPerOrigin,
	}
	out.Chains = append(append(out.Chains, chains...), s.IptablesChains...)
	if v := n.Priority; v.Value != "" {
		p, err := strconv.ParseInt(v.Value, 10, 32)
		if err != nil {
			r.fail(key+".priority", v.Place, "want a whole number, not %q", v.Value)
		}
		priority := int(p)
		out.Priority = &priority
	}
	for origin, name := range n.SetPerOrigin {
		if origin == "" || name == "" {
			r.missing(key+".set_per_origin", "want origins and names of sets, not %q: %q", origin, name)
		}
	}
	return out
}

// Merged returns a file with its ".local" overlay merged in, as YAML.
// Variables stay as they are written.
func Merged(path string) ([]byte, error) {
	out := map[string]any{}
	for _, name := range []string{path, path + ".local"} {
		docs, err := parseFile(name, func(string) (string, bool) { return "", false })
		if name != path && errors.Is(err, fs.ErrNotExist) {
			break
		}
		one := map[string]any{}
		if err == nil {
			err = decode(docs, &one)
		}
		if err != nil {
			return nil, err
		}
		merge(out, one)
	}
	return strict.Append(nil, out), nil
}

// merge lays a mapping over another.
func merge(base, over map[string]any) {
	for key, v := range over {
		below, ok := base[key].(map[string]any)
		if above, both := v.(map[string]any); ok && both {
			merge(below, above)
			continue
		}
		base[key] = v
	}
}

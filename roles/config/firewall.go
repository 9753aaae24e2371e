package config

import (
	"errors"
	"strings"

	"cs/platform/strict"
)

// firewallFile is crowdsec-firewall-bouncer.yaml as it was typed. Keys without
// a use are known so that only misspelt ones are warned of.
type firewallFile struct {
	Mode            strict.Text `yaml:"mode"`
	UpdateFrequency strict.Text `yaml:"update_frequency"`

	APIURL             strict.Text `yaml:"api_url"`
	APIKey             string      `yaml:"api_key"`
	CertPath           strict.Text `yaml:"cert_path"`
	KeyPath            strict.Text `yaml:"key_path"`
	CACertPath         string      `yaml:"ca_cert_path"`
	InsecureSkipVerify bool        `yaml:"insecure_skip_verify"`
	RetryConnect       bool        `yaml:"retry_initial_connect"`

	Scopes                 []string `yaml:"scopes"`
	Origins                []string `yaml:"origins"`
	ScenariosContaining    []string `yaml:"scenarios_containing"`
	ScenariosNotContaining []string `yaml:"scenarios_not_containing"`
	Types                  []string `yaml:"supported_decisions_types"`

	DisableIPv4   bool        `yaml:"disable_ipv4"`
	DisableIPv6   bool        `yaml:"disable_ipv6"`
	DenyAction    strict.Text `yaml:"deny_action"`
	DenyLog       bool        `yaml:"deny_log"`
	DenyLogPrefix string      `yaml:"deny_log_prefix"`

	BlacklistsIPv4       string        `yaml:"blacklists_ipv4"`
	BlacklistsIPv6       string        `yaml:"blacklists_ipv6"`
	IpsetType            string        `yaml:"ipset_type"`
	IpsetSize            int           `yaml:"ipset_size"`
	IpsetDisableTimeouts bool          `yaml:"ipset_disable_timeouts"`
	IptablesChains       []string      `yaml:"iptables_chains"`
	IptablesV4Chains     []string      `yaml:"iptables_v4_chains"`
	IptablesV6Chains     []string      `yaml:"iptables_v6_chains"`
	IptablesRuleComments *bool         `yaml:"iptables_add_rule_comments"`
	Nftables             nftables      `yaml:"nftables"`
	NftablesHooks        []strict.Text `yaml:"nftables_hooks"`
	PF                   pf            `yaml:"pf"`
	Prometheus           Prometheus    `yaml:"prometheus"`

	LogMode        string `yaml:"log_mode"`
	LogLevel       string `yaml:"log_level"`
	LogDir         string `yaml:"log_dir"`
	LogMaxSize     int    `yaml:"log_max_size"`
	LogMaxFiles    int    `yaml:"log_max_files"`
	LogMaxBackups  int    `yaml:"log_max_backups"` // its shipped file says so
	LogMaxAge      int    `yaml:"log_max_age"`
	CompressLogs   *bool  `yaml:"compress_logs"`
	LogCompression *bool  `yaml:"log_compression"` // its shipped file says so
	PIDDir         string `yaml:"pid_dir"`
	Daemonize      bool   `yaml:"daemonize"`
}

type nftables struct {
	IPv4 nftablesFamily `yaml:"ipv4"`
	IPv6 nftablesFamily `yaml:"ipv6"`
}

type nftablesFamily struct {
	Enabled  *bool       `yaml:"enabled"`
	SetOnly  strict.Text `yaml:"set-only"`
	Table    string      `yaml:"table"`
	Chain    string      `yaml:"chain"`
	Priority int         `yaml:"priority"`
}

type pf struct {
	AnchorName string `yaml:"anchor_name"`
	BatchSize  int    `yaml:"batch_size"`
}

// ReadFirewallBouncer reads the file of upstream's firewall bouncer, with its
// ".local" overlay, as far as our bouncer can do the same:
//
//	mode: nftables, iptables, ipset   ->  Backend "nft"
//	mode: dry-run                     ->  Backend "dry-run"
//	nftables_hooks                    ->  Hooks
//	table, chain and set names        ->  (gone: one table of our own)
//	retry_initial_connect             ->  (gone: we always retry)
//	log_*, pid_dir, daemonize         ->  (gone: the service manager's business)
//
// Warnings tell of keys that are unknown, as upstream ignores them, or that
// change nothing here. Errors are what must not be passed over.
func ReadFirewallBouncer(path string, env func(string) (string, bool)) (b Bouncer, warnings, errs []error) {
	var f firewallFile
	for _, err := range each(load(path, env, &f)) {
		if errors.Is(err, strict.ErrUnknownKey) {
			warnings = append(warnings, err)
		} else {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return b, warnings, errs
	}
	b, more, errs := f.resolve(path)
	return b, append(warnings, more...), errs
}

func (f *firewallFile) resolve(path string) (b Bouncer, warnings, errs []error) {
	r := resolver{file: &File{path: path}}
	warn := func(key string, at strict.Place, format string, args ...any) {
		warnings = append(warnings, r.complaint(key, at, format, args...))
	}
	mode := f.backend(&r, warn)
	deny := f.DenyAction
	if word := strings.ToLower(deny.Value); word == "tarpit" || word == "log" {
		warn("deny_action", deny.Place, "%s is for iptables only; packets are dropped", deny.Value)
		deny.Value = "drop"
	}
	b = r.bouncer(&BouncerSection{
		APIURL: f.APIURL, APIKey: f.APIKey, CACertPath: f.CACertPath, CertPath: f.CertPath, KeyPath: f.KeyPath,
		InsecureSkipVerify: f.InsecureSkipVerify, UpdateFrequency: f.UpdateFrequency, Scopes: f.Scopes, Origins: f.Origins,
		ScenariosContaining: f.ScenariosContaining, ScenariosNotContaining: f.ScenariosNotContaining, Types: f.Types,
		Backend: mode, Hooks: f.NftablesHooks, DenyAction: deny,
	})
	b.Enabled = true
	if f.APIURL.Value == "" {
		r.missing("api_url", "the address of the LAPI is missing")
	}
	f.unsupported(&r, warn)
	return b, warnings, r.errs
}

// backend returns our word for the mode.
func (f *firewallFile) backend(r *resolver, warn func(string, strict.Place, string, ...any)) strict.Text {
	mode := f.Mode
	switch mode.Value {
	case "nftables":
		mode.Value = "nft"
	case "iptables", "ipset":
		warn("mode", mode.Place, "%s is not used: a table of nftables does the same beside it", mode.Value)
		mode.Value = "nft"
	case "dry-run":
	case "pf":
		r.fail("mode", mode.Place, "pf is not supported yet")
		mode.Value = "nft"
	default:
		r.fail("mode", mode.Place, "want nftables, iptables, ipset, pf or dry-run, not %q", mode.Value)
		mode.Value = "nft"
	}
	return mode
}

// unsupported tells of what the file asks for and doesn't get.
func (f *firewallFile) unsupported(r *resolver, warn func(string, strict.Place, string, ...any)) {
	for _, at := range []strict.Text{f.Nftables.IPv4.SetOnly, f.Nftables.IPv6.SetOnly} {
		if at.Value == "true" {
			// Rules of the operator's own look into a set that would not be there.
			r.fail("set-only", at.Place, "sets without rules are not supported yet")
		}
	}
	off := func(family nftablesFamily, disabled bool) bool {
		return disabled || family.Enabled != nil && !*family.Enabled
	}
	v4, v6 := off(f.Nftables.IPv4, f.DisableIPv4), off(f.Nftables.IPv6, f.DisableIPv6)
	if v4 && v6 {
		r.missing("disable_ipv6", "IPv4 and IPv6 are both disabled")
	} else if v4 || v6 {
		warn("disable_ipv6", strict.Place{}, "both families are always blocked; disabling one has no effect")
	}
	if f.DenyLog {
		warn("deny_log", strict.Place{}, "dropped packets are not logged yet")
	}
}

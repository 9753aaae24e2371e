package config

import "cs/platform/strict"

// fallback is the value of a key that is not given, and the reason for it.
type fallback struct{ key, value, why string }

// defaults is the only place where a default of config.yaml is said. Keys with
// lists and those that are off when absent are not in it.
var defaults = [...]fallback{
	{"common.log_level", "info", "what an operator wants to see without asking"},
	{"db_config.flush.max_items", "5000", "upstream's; some 16 MB on disk"},
	{"db_config.flush.max_age", "7d", "upstream's"},
	{"db_config.flush.metrics_max_age", "7d", "upstream's"},
	{"api.server.listen_uri", "127.0.0.1:8080", "nobody else is let in until it is asked for"},
	{"api.server.tls.client_verification", "VerifyClientCertIfGiven", "upstream's; passwords and keys go on beside certificates"},
	{"api.server.tls.cache_expiration", "1h", "upstream's; a revocation list that changes counts at once"},
	{"crowdsec_service.catch_up", "10m", "lines from before a longer pause are of attacks that are over"},
	{"bouncer.update_frequency", "10s", "upstream's; a ban may take that long from another host"},
	{"bouncer.backend", "auto", "the best of those that this system has"},
	{"bouncer.deny_action", "drop", "an answer tells a scanner that somebody is there"},
	{"bouncer.on_stop", "keep", "an upgrade must not open the door"},
	{"bouncer.deny_log_prefix", "crowdsec drop: ", "upstream's"},
	{"bouncer.resync_interval", "6h", "a change that was lost is made good the same day"},
	{"bouncer.resync_trust", "twice", "a server that fails in the middle of its answer looks like one that lifted half of the bans"},
	{"bouncer.layout", "map", "one look-up for all origins"},
	{"bouncer.conntrack", "all", "an attack that has begun ends, too"},
	{"bouncer.blacklists_ipv4", "crowdsec-blacklists", "upstream's"},
	{"bouncer.blacklists_ipv6", "crowdsec6-blacklists", "upstream's"},
	{"bouncer.nftables.ipv4.table", "crowdsec", "upstream's"},
	{"bouncer.nftables.ipv4.chain", "crowdsec-chain", "upstream's"},
	{"bouncer.nftables.ipv6.table", "crowdsec6", "upstream's"},
	{"bouncer.nftables.ipv6.chain", "crowdsec6-chain", "upstream's"},
	{"bouncer.exec.timeout", "30s", "a program that hangs is killed and called again"},
	{"bouncer.file.format", "plain", "what most programs read"},
	{"bouncer.file.every", "1s", "a flood of bans is not a flood of files"},
	{"bouncer.windows.lifetime", "persistent", "a reboot must not open the door"},
	{"limits.max_decisions", "2000000", "more than the largest public lists together"},
	{"limits.max_entries", "auto", "a quarter of the memory that is left, with less than 512 MB; else the kernel says itself when it is full"},
	{"limits.max_buckets", "262144", "attackers at once; beyond it the emptiest buckets go"},
	{"limits.spool_bytes", "16777216", "thousands of alerts, and no risk to a router's flash"},
}

// defaultOf returns the default of a key that must be in the table.
func defaultOf(key string) string {
	for _, d := range defaults {
		if d.key == key {
			return d.value
		}
	}
	panic("BUG: no default for " + key)
}

// OrDefault returns a value of the file, or the default of its key.
func (f *File) OrDefault(key string, v strict.Text) string { return given(key, v).Value }

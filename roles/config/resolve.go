package config

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"cs/decisions"
	"cs/platform/strict"
	"cs/roles/api"
)

// Resolved is what the roles need: checked, complete, not to be changed.
type Resolved struct {
	Path      string // of the file; "" if there is none
	ConfigDir string // likewise
	DataDir   string
	LogLevel  slog.Level
	Log       Log
	Metrics   Metrics
	// MemoryLimit is in bytes, of the whole process; 0: none.
	MemoryLimit int64
	LAPI        LAPI
	Agent       Agent
	Bouncer     Bouncer
}

// ContentDir is where content is installed: beside the configuration, or in
// content/ of the data directory if there is none.
func (r *Resolved) ContentDir() string {
	if r.ConfigDir == "" && r.DataDir != "" {
		return filepath.Join(r.DataDir, "content")
	}
	return r.ConfigDir
}

// LAPI is the part of roles/lapi.
type LAPI struct {
	Enabled         bool
	Listen          string // TCP address, or "" for none
	AdminSocket     string // path of the unix socket of those who may do everything
	Socket          string // path of another one, or "" for none
	ProfilesPath    string // "": the built-in profiles
	NotificationDir string // as typed; "": in its usual place below ConfigDir
	ServedHub       string // the hub directory, if it is served; "": it is not
	Policy          Policy
	TLS             TLS
	Secret          []byte // nil: the server makes one
	MaxDecisions    int
}

// Policy is whom the LAPI believes, and what it keeps. A server takes another
// one over while it runs.
type Policy struct {
	// Token lets machines register themselves as validated, and bouncers fetch
	// their key if BouncerRegistration is set; "": neither. 32 to 255 bytes.
	Token string
	// TokenRanges are the addresses the token is good for; empty: all.
	TokenRanges         []netip.Prefix
	BouncerRegistration bool
	// LocalRegistrationOnly refuses registrations that don't come from this host.
	LocalRegistrationOnly bool

	// TrustedIPs may delete alerts, like this host itself.
	TrustedIPs []netip.Prefix
	// TrustedProxies are believed about whom they speak for (X-Forwarded-For).
	TrustedProxies []netip.Prefix

	MaxAlerts     int           // alerts kept; 0: 5000
	MaxAlertAge   time.Duration // 0: 7 days
	MaxMetricsAge time.Duration // reports of usage are kept for so long; 0: 7 days
	// Machines and bouncers that have been silent for so long are deleted, those
	// that come by certificate after another time; 0: never.
	IdleMachines, IdleCertMachines time.Duration
	IdleBouncers, IdleCertBouncers time.Duration
}

// TLS is how the LAPI's TCP port is encrypted: not at all if CertFile is "".
type TLS struct {
	CertFile, KeyFile                  string
	ClientAuth                         tls.ClientAuthType
	CACertPath, CRLPath                string // "": none
	AgentsAllowedOU, BouncersAllowedOU []string
	CacheExpiration                    time.Duration
}

// Agent is the part of roles/agent.
type Agent struct {
	Enabled            bool
	AcquisitionPath    string // either, both or none may be given
	AcquisitionDir     string
	CredentialsPath    string
	CredentialsNamed   bool // by the configuration: not where they lie without it
	Unregister         bool // at the end, when the LAPI is elsewhere
	InsecureSkipVerify bool
	Fallbacks          []string // paths of the credentials of LAPIs to turn to
	Additional         []string // and of those that get every alert as well
	MaxBuckets         int
	SpoolBytes         int64

	// Where content lies, as typed; "": in its usual place below ConfigDir.
	HubDir, HubIndexPath, SimulationPath, ConsoleContextPath, PatternDir string

	CatchUp        time.Duration // how old a line may be, when the agent was away, to count
	ContextLength  int           // bytes of a value in the context of an alert; 0: the engine's own
	ParserRoutines int           // lines that are parsed at once; 0: the engine's own

	// How long names of addresses are kept, those that there are and those
	// that there are not, and how many; 0: the engine's own.
	DNSTTL, DNSNegativeTTL time.Duration
	DNSSize                int

	// CrowdSec's threat intelligence: "" if it is not asked; how long and how
	// many answers are kept, 0: the engine's own.
	CTIKey  string
	CTITTL  time.Duration
	CTISize int
}

// Resolve checks the file and completes it. env gives CS_LAPI_SECRET, which
// must not stand in a file. All errors are returned at once; with any, the
// result is not to be used.
func (f *File) Resolve(env func(string) (string, bool)) (Resolved, []error) {
	r := resolver{file: f}
	crowdsec, server, bouncer := orZero(f.Crowdsec), orZero(f.API.Server), orZero(f.Bouncer)
	out := Resolved{
		Path:      f.path,
		ConfigDir: f.ConfigPaths.ConfigDir,
		DataDir:   f.DataDir(),
		LogLevel:  r.logLevel(),
		Log:       r.log(),
		Metrics:   f.Prometheus.metrics(),

		MemoryLimit: r.size("limits.memory_limit", f.Limits.MemoryLimit, 16<<20, 1<<50),
	}
	if out.ConfigDir == "" && f.path != "" {
		out.ConfigDir = filepath.Dir(f.path)
	}
	out.LAPI = r.lapi(&server, env)
	out.LAPI.Enabled = f.ServesLAPI()
	if server.ServeHub {
		out.LAPI.ServedHub = cmp.Or(f.ConfigPaths.HubDir, filepath.Join(out.ContentDir(), "hub"))
	}
	out.Agent = Agent{
		Enabled:            f.enabled(f.named.agent, crowdsec.Enable),
		AcquisitionPath:    crowdsec.AcquisitionPath,
		AcquisitionDir:     crowdsec.AcquisitionDir,
		CredentialsPath:    f.CredentialsPath(),
		CredentialsNamed:   f.API.Client.CredentialsPath != "",
		Unregister:         f.API.Client.UnregisterOnExit,
		InsecureSkipVerify: f.API.Client.InsecureSkipVerify,
		Fallbacks:          f.API.Client.FallbackCredentials,
		Additional:         f.API.Client.AdditionalCredentials,
		MaxBuckets:         int(r.number("limits.max_buckets", f.Limits.MaxBuckets, 1000, maxInt32)),
		SpoolBytes:         r.number("limits.spool_bytes", f.Limits.SpoolBytes, 64<<10, 1<<40),

		HubDir:             f.ConfigPaths.HubDir,
		HubIndexPath:       f.ConfigPaths.IndexPath,
		SimulationPath:     f.ConfigPaths.SimulationPath,
		ConsoleContextPath: crowdsec.ConsoleContextPath,
		PatternDir:         f.ConfigPaths.PatternDir,

		CatchUp:        r.duration("crowdsec_service.catch_up", crowdsec.CatchUp),
		ContextLength:  max(crowdsec.ConsoleContextValueLength, 0),
		ParserRoutines: max(crowdsec.ParserRoutines, 0),
		DNSTTL:         r.optional("crowdsec_service.dns_cache.ttl", crowdsec.DNSCache.TTL),
		DNSNegativeTTL: r.optional("crowdsec_service.dns_cache.negative_ttl", crowdsec.DNSCache.NegativeTTL),
		DNSSize:        max(crowdsec.DNSCache.Size, 0),
		CTITTL:         r.optional("api.cti.cache_timeout", f.API.CTI.CacheTimeout),
		CTISize:        max(f.API.CTI.CacheSize, 0),
	}
	if cti := f.API.CTI; cti.Enabled == nil || *cti.Enabled {
		out.Agent.CTIKey = cti.Key
	}
	out.Bouncer = r.bouncer(&bouncer)
	out.Bouncer.Enabled = f.enabled(f.named.bouncer, bouncer.Enable)
	out.LAPI.MaxDecisions = out.Bouncer.MaxDecisions
	return out, r.errs
}

const maxInt32 = 1<<31 - 1 // what an int holds on every machine

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// resolver collects errors.
type resolver struct {
	file *File
	errs []error
}

// fail reports what is wrong with the value of a key.
func (r *resolver) fail(key string, at strict.Place, format string, args ...any) {
	r.errs = append(r.errs, r.complaint(key, at, format, args...))
}

// complaint is about the value of a key that stands at a place; a value that
// stands nowhere is one that is missing, or came with a flag.
func (r *resolver) complaint(key string, at strict.Place, format string, args ...any) error {
	if at.File != "" {
		return at.Errorf(format, args...)
	}
	err := fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...))
	if r.file.path != "" {
		err = fmt.Errorf("%s: %w", r.file.path, err)
	}
	return err
}

// missing reports what is wrong with keys as a whole.
func (r *resolver) missing(key, format string, args ...any) {
	r.fail(key, strict.Place{}, format, args...)
}

// given returns the value of a key, or its default.
func given(key string, v strict.Text) strict.Text {
	if v.Value == "" {
		v.Value = defaultOf(key)
	}
	return v
}

func (r *resolver) number(key string, v strict.Text, lowest, highest int64) int64 {
	v = given(key, v)
	n, err := strconv.ParseInt(v.Value, 10, 64)
	if err != nil {
		r.fail(key, v.Place, "want a whole number, not %q", v.Value)
	} else if n < lowest || n > highest {
		r.fail(key, v.Place, "want a number from %d to %d, not %d", lowest, highest, n)
	}
	return n
}

// size reads a number of bytes that may have a unit: "64MB"; 0 if there is none.
func (r *resolver) size(key string, v strict.Text, lowest, highest int64) int64 {
	if v.Value == "" {
		return 0
	}
	digits := strings.TrimRight(v.Value, "BKMGTbkmgti ")
	unit, known := sizes[strings.ToUpper(strings.TrimSpace(v.Value[len(digits):]))]
	n, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case err != nil || !known:
		r.fail(key, v.Place, "want a number of bytes like 33554432, 32MB or 1GiB, not %q", v.Value)
	case n > highest/unit || n*unit < lowest:
		r.fail(key, v.Place, "want %d to %d bytes, not %s", lowest, highest, v.Value)
	}
	return n * unit
}

// sizes are the units of bytes. Who says MB has the MB of his memory in mind.
var sizes = map[string]int64{
	"": 1, "B": 1, "K": 1 << 10, "KB": 1 << 10, "KIB": 1 << 10, "M": 1 << 20, "MB": 1 << 20, "MIB": 1 << 20,
	"G": 1 << 30, "GB": 1 << 30, "GIB": 1 << 30, "T": 1 << 40, "TB": 1 << 40, "TIB": 1 << 40,
}

func (r *resolver) duration(key string, v strict.Text) time.Duration {
	v = given(key, v)
	d, err := api.ParseDuration(v.Value)
	if err != nil {
		r.fail(key, v.Place, "%w", err)
	} else if d <= 0 {
		r.fail(key, v.Place, "want a duration above zero, not %q", v.Value)
	}
	return d
}

// optional is duration for a key without a default.
func (r *resolver) optional(key string, v strict.Text) time.Duration {
	if v.Value == "" {
		return 0
	}
	return r.duration(key, v)
}

// silence returns a duration that may be left out.
func (r *resolver) silence(key string, v strict.Text) time.Duration {
	if v.Value == "" {
		return 0
	}
	return r.duration(key, v)
}

// oneOf returns the value in lower case.
func (r *resolver) oneOf(key string, v strict.Text, words ...string) string {
	word := strings.ToLower(v.Value)
	if !slices.Contains(words, word) {
		r.fail(key, v.Place, "want one of %s, not %q", strings.Join(words, ", "), v.Value)
	}
	return word
}

func (r *resolver) prefixes(key string, list []strict.Text) (out []netip.Prefix) {
	for i, v := range list {
		p, err := decisions.ParsePrefix(v.Value)
		if err != nil {
			r.fail(fmt.Sprintf("%s[%d]", key, i), v.Place, "%w", err)
			continue
		}
		out = append(out, p)
	}
	return out
}

var logLevels = map[string]slog.Level{
	"trace": slog.LevelDebug, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn,
	"warn": slog.LevelWarn, "error": slog.LevelError, "fatal": slog.LevelError, "panic": slog.LevelError,
}

func (r *resolver) logLevel() slog.Level {
	v := given("common.log_level", r.file.Common.LogLevel)
	level, ok := logLevels[strings.ToLower(v.Value)]
	if !ok {
		r.fail("common.log_level", v.Place, "want one of trace, debug, info, warning, error, fatal, not %q", v.Value)
	}
	return level
}

// log returns where the log goes.
func (r *resolver) log() Log {
	c := &r.file.Common
	var out Log
	if c.LogFormat.Value != "" {
		out.JSON = r.oneOf("common.log_format", c.LogFormat, "text", "json") == "json"
	}
	if c.LogMedia.Value == "" {
		return out
	}
	switch r.oneOf("common.log_media", c.LogMedia, "stdout", "file", "syslog") {
	case "syslog":
		out.Syslog = true
	case "file":
		out.File = LogFile{
			Path: filepath.Join(cmp.Or(c.LogDir, "/var/log"), "crowdsec.log"), MaxSize: int64(cmp.Or(c.LogMaxSize, 500)) << 20,
			MaxFiles: cmp.Or(c.LogMaxFiles, 3), MaxAge: time.Duration(cmp.Or(c.LogMaxAge, 28)) * 24 * time.Hour,
			Compress: c.CompressLogs == nil || *c.CompressLogs,
		}
	}
	return out
}

func (r *resolver) lapi(s *APIServer, env func(string) (string, bool)) LAPI {
	out := LAPI{
		AdminSocket:     r.file.SocketPath(),
		ProfilesPath:    s.ProfilesPath,
		NotificationDir: r.file.ConfigPaths.NotificationDir,
		Policy:          r.policy(s),
	}
	if s.ListenSocket != out.AdminSocket { // else that serves it all
		out.Socket = s.ListenSocket
	}
	if s.ListenURI.Value != "" || s.ListenSocket == "" {
		out.Listen = r.listen("api.server.listen_uri", s.ListenURI)
	}
	if s.TLS != nil {
		out.TLS = r.tls(s.TLS)
	}
	switch t := r.file.DB.Type; strings.ToLower(t.Value) {
	case "", "sqlite":
	default:
		r.fail("db_config.type", t.Place, "%s is not supported yet: remove the key to use the store in the data directory", t.Value)
	}
	if secret, ok := env("CS_LAPI_SECRET"); ok {
		out.Secret = []byte(secret)
		if len(secret) < 64 {
			r.errs = append(r.errs, errors.New("CS_LAPI_SECRET not strong enough: it has less than 64 bytes"))
		}
	}
	return out
}

func (r *resolver) policy(s *APIServer) Policy {
	flush := &r.file.DB.Flush
	out := Policy{
		LocalRegistrationOnly: s.DisableRemoteLAPIRegistration,
		TrustedIPs:            r.prefixes("api.server.trusted_ips", s.TrustedIPs),
		TrustedProxies:        r.prefixes("api.server.trusted_proxies", s.TrustedProxies),
		MaxAlerts:             int(r.number("db_config.flush.max_items", flush.MaxItems, 1, maxInt32)),
		MaxAlertAge:           r.duration("db_config.flush.max_age", flush.MaxAge),
		MaxMetricsAge:         r.duration("db_config.flush.metrics_max_age", flush.MetricsMaxAge),
		IdleMachines:          r.silence("db_config.flush.agents_autodelete.login_password", flush.AgentsAutodelete.LoginPassword),
		IdleCertMachines:      r.silence("db_config.flush.agents_autodelete.cert", flush.AgentsAutodelete.Cert),
		IdleBouncers:          r.silence("db_config.flush.bouncers_autodelete.api_key", flush.BouncersAutodelete.APIKey),
		IdleCertBouncers:      r.silence("db_config.flush.bouncers_autodelete.cert", flush.BouncersAutodelete.Cert),
	}
	if s.UseForwardedForHeaders && len(s.TrustedProxies) == 0 {
		out.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	}
	if a := s.AutoRegistration; a != nil && a.Enabled {
		r.autoRegistration(a, &out)
	}
	return out
}

var clientAuths = map[string]tls.ClientAuthType{
	"NoClientCert":               tls.NoClientCert,
	"RequestClientCert":          tls.RequestClientCert,
	"RequireAnyClientCert":       tls.RequireAnyClientCert,
	"VerifyClientCertIfGiven":    tls.VerifyClientCertIfGiven,
	"RequireAndVerifyClientCert": tls.RequireAndVerifyClientCert,
}

func (r *resolver) tls(s *ServerTLS) TLS {
	const section = "api.server.tls"
	out := TLS{
		CertFile: s.CertFile.Value, KeyFile: s.KeyFile.Value, CACertPath: s.CACertPath.Value, CRLPath: s.CRLPath,
		AgentsAllowedOU:   r.units(section+".agents_allowed_ou", s.AgentsAllowedOU),
		BouncersAllowedOU: r.units(section+".bouncers_allowed_ou", s.BouncersAllowedOU),
		CacheExpiration:   r.duration(section+".cache_expiration", s.CacheExpiration),
	}
	switch {
	case out.CertFile != "" && out.KeyFile == "":
		r.fail(section, s.CertFile.Place, "missing TLS key file")
	case out.CertFile == "" && out.KeyFile != "":
		r.fail(section, s.KeyFile.Place, "missing TLS cert file")
	}
	verification, known := given(section+".client_verification", s.ClientVerification), false
	if out.ClientAuth, known = clientAuths[verification.Value]; !known {
		r.fail(section+".client_verification", verification.Place, "unknown TLS client_verification value: %q", verification.Value)
	}
	if out.ClientAuth == tls.RequireAndVerifyClientCert && out.CertFile != "" && out.CACertPath == "" {
		r.fail(section+".client_verification", verification.Place, "nobody could come in: ca_cert_path, which says whose certificates are good, is missing")
	}
	return out
}

// units returns organisational units.
func (r *resolver) units(key string, list []strict.Text) (out []string) {
	for i, v := range list {
		if v.Value == "" {
			r.fail(fmt.Sprintf("%s[%d]", key, i), v.Place, "allowed_ou configuration contains invalid empty string")
		}
		out = append(out, v.Value)
	}
	return out
}

// listen checks an address to listen on; the host may be empty or a name.
func (r *resolver) listen(key string, v strict.Text) string {
	v = given(key, v)
	_, port, err := net.SplitHostPort(v.Value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		r.fail(key, v.Place, "want an address and a port like 127.0.0.1:8080, not %q", v.Value)
	}
	return v.Value
}

func (r *resolver) autoRegistration(a *AutoRegistration, out *Policy) {
	const section = "api.server.auto_registration"
	out.BouncerRegistration = a.Bouncers
	out.Token = a.Token.Value
	out.TokenRanges = r.prefixes(section+".allowed_ranges", a.AllowedRanges)
	switch n := len(a.Token.Value); {
	case n == 0:
		r.missing(section+".token", "the token is missing")
	case n < 32 || n > 255:
		r.fail(section+".token", a.Token.Place, "the token must have 32 to 255 characters, this one has %d", n)
	}
	if len(a.AllowedRanges) == 0 {
		r.missing(section+".allowed_ranges", "there is none, so the token would be good for nobody")
	}
}

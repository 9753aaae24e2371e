package config

import "cs/platform/strict"

// File is config.yaml as it was typed. The zero value is a file that says
// nothing. Values that Resolve checks are strict.Text, which remembers where
// it stands; empty means not given. Sections whose mere presence says
// something are pointers.
//
// All keys of upstream are here, so that its files load; those without a
// comment of ours mean what upstream says or nothing yet.
type File struct {
	path string
	// The roles whose sections were in the file, before flags were laid over it.
	named struct{ lapi, agent, bouncer bool }

	Common      Common           `yaml:"common"`
	ConfigPaths ConfigPaths      `yaml:"config_paths"`
	Crowdsec    *CrowdsecService `yaml:"crowdsec_service"` // the agent
	Cscli       Cscli            `yaml:"cscli"`
	DB          DB               `yaml:"db_config"`
	Plugins     Plugins          `yaml:"plugin_config"`
	API         API              `yaml:"api"`
	Prometheus  *Prometheus      `yaml:"prometheus"`

	// The sections that upstream doesn't have.

	Bouncer *BouncerSection `yaml:"bouncer"`
	Limits  Limits          `yaml:"limits"`
}

// Common is about the process and its log.
type Common struct {
	LogLevel  strict.Text `yaml:"log_level"`  // trace, debug, info, warning, error, fatal, panic
	LogMedia  strict.Text `yaml:"log_media"`  // stdout (which is stderr, as upstream's), file, syslog
	LogFormat strict.Text `yaml:"log_format"` // text, json
	LogDir    string      `yaml:"log_dir"`    // default: /var/log; for crowdsec.log

	// How the file is rotated: at how many MB, how many files are kept beside it, how many days.
	LogMaxSize  int `yaml:"log_max_size"`
	LogMaxFiles int `yaml:"log_max_files"`
	LogMaxAge   int `yaml:"log_max_age"`

	Daemonize      bool   `yaml:"daemonize"`
	PIDDir         string `yaml:"pid_dir"`
	WorkingDir     string `yaml:"working_dir"`
	CompressLogs   *bool  `yaml:"compress_logs"`
	ForceColorLogs bool   `yaml:"force_color_logs"`
}

// ConfigPaths says where things lie.
type ConfigPaths struct {
	ConfigDir string `yaml:"config_dir"` // default: the directory of the file
	DataDir   string `yaml:"data_dir"`   // the store, the socket, positions, the spool

	SimulationPath  string `yaml:"simulation_path"`
	HubDir          string `yaml:"hub_dir"`
	IndexPath       string `yaml:"index_path"`
	NotificationDir string `yaml:"notification_dir"`
	PluginDir       string `yaml:"plugin_dir"`
	PatternDir      string `yaml:"pattern_dir"`
}

// CrowdsecService is the agent.
type CrowdsecService struct {
	Enable          *bool  `yaml:"enable"`
	AcquisitionPath string `yaml:"acquisition_path"` // a file; it may be missing
	AcquisitionDir  string `yaml:"acquisition_dir"`  // its *.yaml and then its *.yml are read

	ConsoleContextPath        string   `yaml:"console_context_path"`
	ConsoleContextValueLength int      `yaml:"console_context_value_length"`
	ParserRoutines            int      `yaml:"parser_routines"`
	BucketsRoutines           int      `yaml:"buckets_routines"`
	OutputRoutines            int      `yaml:"output_routines"`
	StateInputFile            string   `yaml:"state_input_file"`
	StateOutputDir            string   `yaml:"state_output_dir"`
	DNSCache                  DNSCache `yaml:"dns_cache"`
	// CatchUp is how old a line may be, when the agent was away, to count.
	CatchUp strict.Text `yaml:"catch_up"`
}

// DNSCache bounds what is remembered of the names of addresses.
type DNSCache struct {
	TTL         strict.Text `yaml:"ttl"`          // of a name
	NegativeTTL strict.Text `yaml:"negative_ttl"` // of having none
	Size        int         `yaml:"size"`         // addresses
}

// Cscli is about operators' commands.
type Cscli struct {
	Output         string `yaml:"output"`
	Color          string `yaml:"color"`
	HubBranch      string `yaml:"hub_branch"`
	HubURLTemplate string `yaml:"__hub_url_template__"`
	HubWithContent bool   `yaml:"hub_with_content"`
	PrometheusURI  string `yaml:"prometheus_uri"`
}

// DB is about the store.
type DB struct {
	// Type is refused if it names a database server: the store is a file in
	// the data directory.
	Type  strict.Text `yaml:"type"`
	Flush Flush       `yaml:"flush"`

	DBPath           string `yaml:"db_path"`
	User             string `yaml:"user"`
	Password         string `yaml:"password"`
	DBName           string `yaml:"db_name"`
	Host             string `yaml:"host"`
	Port             int    `yaml:"port"`
	SSLMode          string `yaml:"sslmode"`
	SSLCACert        string `yaml:"ssl_ca_cert"`
	SSLClientCert    string `yaml:"ssl_client_cert"`
	SSLClientKey     string `yaml:"ssl_client_key"`
	LogLevel         string `yaml:"log_level"`
	MaxOpenConns     int    `yaml:"max_open_conns"`
	UseWAL           *bool  `yaml:"use_wal"`
	DecisionBulkSize int    `yaml:"decision_bulk_size"`
}

// Flush bounds what the store keeps. Without the section the defaults hold;
// upstream then keeps everything.
type Flush struct {
	MaxItems strict.Text `yaml:"max_items"` // alerts
	MaxAge   strict.Text `yaml:"max_age"`   // of alerts: "7d"

	MetricsMaxAge      strict.Text `yaml:"metrics_max_age"` // of reports of usage
	AgentsAutodelete   Autodelete  `yaml:"agents_autodelete"`
	BouncersAutodelete Autodelete  `yaml:"bouncers_autodelete"`
}

// Autodelete says after which silence an account is deleted, by the way it
// comes in; empty: never.
type Autodelete struct {
	Cert          strict.Text `yaml:"cert"`
	LoginPassword strict.Text `yaml:"login_password"` // machines only
	APIKey        strict.Text `yaml:"api_key"`        // bouncers only
}

// Plugins is the identity of upstream's plug-in processes.
type Plugins struct {
	User  string `yaml:"user"`
	Group string `yaml:"group"`
}

// API is about the Local API: how we use one and how we are one.
type API struct {
	Client APIClient  `yaml:"client"`
	CTI    CTI        `yaml:"cti"`
	Server *APIServer `yaml:"server"`
}

// APIClient says how the agent and operators' commands reach the LAPI.
type APIClient struct {
	CredentialsPath string `yaml:"credentials_path"`
	// FallbackCredentials are files like that of CredentialsPath, of LAPIs that the agent
	// turns to while those before them can't be reached. Upstream doesn't have it.
	FallbackCredentials []string `yaml:"fallback_credentials"`
	// AdditionalCredentials are such files too, of LAPIs that get every alert as well.
	// Upstream doesn't have it.
	AdditionalCredentials []string `yaml:"additional_credentials"`
	InsecureSkipVerify    bool     `yaml:"insecure_skip_verify"`

	UnregisterOnExit bool `yaml:"unregister_on_exit"` // an agent alone deletes its account when it ends
}

// CTI is about CrowdSec's threat intelligence, which expressions may ask.
type CTI struct {
	Key          string      `yaml:"key"`
	CacheTimeout strict.Text `yaml:"cache_timeout"` // how long an answer is kept
	CacheSize    int         `yaml:"cache_size"`    // answers
	Enabled      *bool       `yaml:"enabled"`
	LogLevel     string      `yaml:"log_level"`
}

// APIServer is the LAPI.
type APIServer struct {
	Enable       *bool       `yaml:"enable"`
	ListenURI    strict.Text `yaml:"listen_uri"`    // "127.0.0.1:8080"
	ListenSocket string      `yaml:"listen_socket"` // path of a unix socket
	ProfilesPath string      `yaml:"profiles_path"`

	TrustedIPs                    []strict.Text     `yaml:"trusted_ips"` // may delete alerts
	TrustedProxies                []strict.Text     `yaml:"trusted_proxies"`
	UseForwardedForHeaders        bool              `yaml:"use_forwarded_for_headers"` // believe every proxy, if none is listed
	DisableRemoteLAPIRegistration bool              `yaml:"disable_remote_lapi_registration"`
	AutoRegistration              *AutoRegistration `yaml:"auto_registration"`
	TLS                           *ServerTLS        `yaml:"tls"`

	// ServeHub lets everyone who reaches the LAPI read the hub directory of
	// this host, below /v1/hub/: agents without the internet install from it.
	// Upstream doesn't have it.
	ServeHub bool `yaml:"serve_hub"`

	ConsolePath               string       `yaml:"console_path"`
	LogLevel                  string       `yaml:"log_level"`
	PAPILogLevel              string       `yaml:"papi_log_level"`
	CAPIWhitelistsPath        string       `yaml:"capi_whitelists_path"`
	DisableUsageMetricsExport bool         `yaml:"disable_usage_metrics_export"`
	OnlineClient              OnlineClient `yaml:"online_client"`
}

// AutoRegistration lets machines that know a token in without an operator.
type AutoRegistration struct {
	Enabled       bool          `yaml:"enabled"`
	Token         strict.Text   `yaml:"token"` // 32 to 255 bytes
	AllowedRanges []strict.Text `yaml:"allowed_ranges"`
	// Bouncers lets bouncers fetch a key of their own with the token; upstream
	// doesn't have it.
	Bouncers bool `yaml:"bouncers"`
}

// ServerTLS encrypts the TCP port; the unix socket stays plain.
type ServerTLS struct {
	CertFile           strict.Text   `yaml:"cert_file"`
	KeyFile            strict.Text   `yaml:"key_file"`
	ClientVerification strict.Text   `yaml:"client_verification"` // Go's name of a tls.ClientAuthType
	CACertPath         strict.Text   `yaml:"ca_cert_path"`        // the only authorities of client certificates
	AgentsAllowedOU    []strict.Text `yaml:"agents_allowed_ou"`   // empty: no machine logs in by certificate
	BouncersAllowedOU  []strict.Text `yaml:"bouncers_allowed_ou"`
	CRLPath            string        `yaml:"crl_path"`
	CacheExpiration    strict.Text   `yaml:"cache_expiration"`

	ServerName string `yaml:"server_name"`
}

// OnlineClient is upstream's.
type OnlineClient struct {
	CredentialsPath string `yaml:"credentials_path"`
	Sharing         *bool  `yaml:"sharing"`
	Pull            Pull   `yaml:"pull"`
}

// Pull is upstream's.
type Pull struct {
	Community  *bool `yaml:"community"`
	Blocklists *bool `yaml:"blocklists"`
}

// Prometheus is upstream's.
type Prometheus struct {
	Enabled    bool   `yaml:"enabled"`
	Level      string `yaml:"level"`
	ListenAddr string `yaml:"listen_addr"`
	ListenPort int    `yaml:"listen_port"`
}

// Limits bounds what may grow.
type Limits struct {
	MaxDecisions strict.Text `yaml:"max_decisions"` // held in memory, by the LAPI and by the bouncer
	MaxEntries   strict.Text `yaml:"max_entries"`   // prefixes given to the kernel: "auto", a number, or 0 for no limit
	MaxBuckets   strict.Text `yaml:"max_buckets"`   // of the agent
	SpoolBytes   strict.Text `yaml:"spool_bytes"`   // alerts kept on disk while the LAPI is away
	MemoryLimit  strict.Text `yaml:"memory_limit"`  // of the process: "32MB"; what can be given up is
}

package cli

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"cs/platform/strict"
	"cs/roles/config"
)

// configView is the configuration in force under the names that upstream has
// for it in its program: scripts ask for them, as in
// "config show --key Config.API.Server.ListenURI".
type configView struct {
	FilePath     string
	Common       *viewCommon     `view:"CommonCfg"`
	Prometheus   *viewPrometheus `view:"PrometheusCfg"`
	Crowdsec     *viewCrowdsec   `view:"CrowdsecServiceCfg"`
	Cscli        *viewCscli      `view:"CscliCfg"`
	DbConfig     *viewDB         `view:"DatabaseCfg"`
	API          *viewAPI        `view:"APICfg"`
	ConfigPaths  *viewPaths      `view:"ConfigurationPaths"`
	PluginConfig *viewPlugin     `view:"PluginCfg"`
	Hub          *viewHub        `view:"LocalHubCfg"`
}

// level is a log level; upstream shows it as a number.
type level string

type viewCommon struct {
	Daemonize      bool
	PidDir         string
	LogMedia       string
	LogDir         string
	LogLevel       level
	WorkingDir     string
	CompressLogs   *bool
	LogMaxSize     int
	LogMaxAge      int
	LogMaxFiles    int
	LogFormat      string
	ForceColorLogs bool
}

type viewPrometheus struct {
	Enabled    bool
	Level      string
	ListenAddr string
	ListenPort int
}

type viewCrowdsec struct {
	Enable                    *bool
	AcquisitionFilePath       string
	AcquisitionDirPath        string
	ConsoleContextPath        string
	ConsoleContextValueLength int
	AcquisitionFiles          []string
	ParserRoutinesCount       int
	BucketsRoutinesCount      int
	OutputRoutinesCount       int
	BucketStateFile           string
	BucketStateDumpDir        string
}

type viewCscli struct {
	Output             string
	Color              string
	HubBranch          string
	HubURLTemplate     string
	HubWithContent     bool
	SimulationFilePath string
	PrometheusUrl      string
}

type viewDB struct {
	User             string
	Password         string
	DbName           string
	Sslmode          string
	SSLCACert        string
	SSLClientCert    string
	SSLClientKey     string
	Host             string
	Port             int
	DbPath           string
	Type             string
	Flush            *viewFlush `view:"FlushDBCfg"`
	LogLevel         level
	MaxOpenConns     int
	UseWal           *bool
	DecisionBulkSize int
}

type viewFlush struct {
	MaxItems      string
	MaxAge        string
	MetricsMaxAge string
}

type viewAPI struct {
	Client *viewClient `view:"LocalApiClientCfg"`
	Server *viewServer `view:"LocalApiServerCfg"`
	CTI    *viewCTI    `view:"CTICfg"`
}

type viewClient struct {
	CredentialsFilePath string
	Credentials         *viewCredentials `view:"ApiCredentialsCfg"`
	InsecureSkipVerify  bool
	UnregisterOnExit    bool
}

type viewCredentials struct {
	URL        string
	Login      string
	Password   string
	CACertPath string
	KeyPath    string
	CertPath   string
}

type viewServer struct {
	Enable                        *bool
	ListenURI                     string
	ListenSocket                  string
	TLS                           *viewTLS `view:"TLSCfg"`
	ProfilesPath                  string
	ConsoleConfigPath             string
	LogLevel                      level
	UseForwardedForHeaders        bool
	TrustedProxies                []string
	TrustedIPs                    []string
	OnlineClient                  *viewOnline `view:"OnlineApiClientCfg"`
	DisableRemoteLapiRegistration bool
	CapiWhitelistsPath            string
	DisableUsageMetricsExport     bool
}

type viewTLS struct {
	CertFilePath       string
	KeyFilePath        string
	ClientVerification string
	ServerName         string
	CACertPath         string
	AllowedAgentsOU    []string
	AllowedBouncersOU  []string
	CRLPath            string
}

type viewOnline struct {
	CredentialsFilePath string
	Sharing             *bool
	PullConfig          viewPull `view:"CapiPullConfig"`
}

type viewPull struct {
	Community  *bool
	Blocklists *bool
}

type viewCTI struct {
	Key          string
	CacheTimeout string
	CacheSize    int
	Enabled      *bool
	LogLevel     level
}

type viewPaths struct {
	ConfigDir          string
	DataDir            string
	SimulationFilePath string
	HubIndexFile       string
	HubDir             string
	PluginDir          string
	NotificationDir    string
	PatternDir         string
}

type viewPlugin struct {
	User  string
	Group string
}

type viewHub struct {
	HubIndexFile   string
	HubDir         string
	InstallDir     string
	InstallDataDir string
}

func newConfigView(f *config.File, env func(string) (string, bool)) *configView {
	p := f.Paths()
	// Scripts compare them: upstream's are absolute, without a slash at the end, whatever was typed.
	for _, path := range []*string{
		&p.ConfigDir, &p.DataDir, &p.SimulationPath, &p.IndexPath, &p.HubDir, &p.PluginDir, &p.NotificationDir, &p.PatternDir,
	} {
		if abs, err := filepath.Abs(*path); err == nil && *path != "" {
			*path = abs
		}
	}
	v := &configView{
		FilePath: f.Path(),
		Common: &viewCommon{
			Daemonize: f.Common.Daemonize, PidDir: f.Common.PIDDir, LogMedia: first(f.Common.LogMedia.Value, "stdout"), LogDir: f.Common.LogDir,
			LogLevel: level(first(f.Common.LogLevel.Value, "info")), WorkingDir: f.Common.WorkingDir, CompressLogs: f.Common.CompressLogs,
			LogMaxSize: f.Common.LogMaxSize, LogMaxAge: f.Common.LogMaxAge, LogMaxFiles: f.Common.LogMaxFiles,
			LogFormat: f.Common.LogFormat.Value, ForceColorLogs: f.Common.ForceColorLogs,
		},
		Cscli: &viewCscli{
			Output: first(f.Cscli.Output, human), Color: first(f.Cscli.Color, "auto"), HubBranch: f.Cscli.HubBranch,
			HubURLTemplate: f.Cscli.HubURLTemplate, HubWithContent: f.Cscli.HubWithContent,
			SimulationFilePath: p.SimulationPath, PrometheusUrl: f.MetricsURL(),
		},
		DbConfig: &viewDB{
			User: f.DB.User, Password: f.DB.Password, DbName: f.DB.DBName, Sslmode: f.DB.SSLMode, SSLCACert: f.DB.SSLCACert,
			SSLClientCert: f.DB.SSLClientCert, SSLClientKey: f.DB.SSLClientKey, Host: f.DB.Host, Port: f.DB.Port, DbPath: f.DB.DBPath,
			Type: f.DB.Type.Value, LogLevel: level(f.DB.LogLevel), MaxOpenConns: f.DB.MaxOpenConns, UseWal: f.DB.UseWAL,
			DecisionBulkSize: f.DB.DecisionBulkSize,
			Flush: &viewFlush{
				MaxItems:      f.OrDefault("db_config.flush.max_items", f.DB.Flush.MaxItems),
				MaxAge:        f.OrDefault("db_config.flush.max_age", f.DB.Flush.MaxAge),
				MetricsMaxAge: f.OrDefault("db_config.flush.metrics_max_age", f.DB.Flush.MetricsMaxAge),
			},
		},
		ConfigPaths: &viewPaths{
			ConfigDir: p.ConfigDir, DataDir: p.DataDir, SimulationFilePath: p.SimulationPath, HubIndexFile: p.IndexPath,
			HubDir: p.HubDir, PluginDir: p.PluginDir, NotificationDir: p.NotificationDir, PatternDir: p.PatternDir,
		},
		PluginConfig: &viewPlugin{User: f.Plugins.User, Group: f.Plugins.Group},
		Hub:          &viewHub{HubIndexFile: p.IndexPath, HubDir: p.HubDir, InstallDir: p.ConfigDir, InstallDataDir: p.DataDir},
		API: &viewAPI{
			Client: &viewClient{
				CredentialsFilePath: f.CredentialsPath(), InsecureSkipVerify: f.API.Client.InsecureSkipVerify, UnregisterOnExit: f.API.Client.UnregisterOnExit,
			},
			CTI: &viewCTI{
				Key: f.API.CTI.Key, CacheTimeout: f.API.CTI.CacheTimeout.Value, CacheSize: f.API.CTI.CacheSize,
				Enabled: f.API.CTI.Enabled, LogLevel: level(f.API.CTI.LogLevel),
			},
		},
	}
	if c, err := config.ReadCredentials(v.API.Client.CredentialsFilePath, env); err == nil {
		v.API.Client.Credentials = &viewCredentials{c.URL, c.Login, c.Password, c.CACertPath, c.KeyPath, c.CertPath}
	}
	if m := f.Prometheus; m != nil {
		v.Prometheus = &viewPrometheus{m.Enabled, m.Level, m.ListenAddr, m.ListenPort}
	}
	if c := f.Crowdsec; c != nil {
		v.Crowdsec = &viewCrowdsec{
			Enable: orTrue(c.Enable), AcquisitionFilePath: c.AcquisitionPath, AcquisitionDirPath: c.AcquisitionDir,
			ConsoleContextPath: c.ConsoleContextPath, ConsoleContextValueLength: c.ConsoleContextValueLength,
			ParserRoutinesCount: max(c.ParserRoutines, 1), BucketsRoutinesCount: max(c.BucketsRoutines, 1), OutputRoutinesCount: max(c.OutputRoutines, 1),
			BucketStateFile: c.StateInputFile, BucketStateDumpDir: c.StateOutputDir,
		}
		v.Crowdsec.AcquisitionFiles, _ = config.AcquisitionFiles(c.AcquisitionPath, c.AcquisitionDir)
	}
	if s := f.API.Server; s != nil {
		v.API.Server = newServerView(f, s)
	}
	return v
}

func newServerView(f *config.File, s *config.APIServer) *viewServer {
	v := &viewServer{
		Enable: orTrue(s.Enable), ListenURI: s.ListenURI.Value, ListenSocket: s.ListenSocket, ProfilesPath: s.ProfilesPath,
		ConsoleConfigPath: s.ConsolePath, LogLevel: level(first(s.LogLevel, f.Common.LogLevel.Value, "info")),
		UseForwardedForHeaders: s.UseForwardedForHeaders, TrustedProxies: values(s.TrustedProxies), TrustedIPs: values(s.TrustedIPs),
		DisableRemoteLapiRegistration: s.DisableRemoteLAPIRegistration, CapiWhitelistsPath: s.CAPIWhitelistsPath,
		DisableUsageMetricsExport: s.DisableUsageMetricsExport,
	}
	if t := s.TLS; t != nil {
		v.TLS = &viewTLS{
			CertFilePath: t.CertFile.Value, KeyFilePath: t.KeyFile.Value, ClientVerification: t.ClientVerification.Value, ServerName: t.ServerName,
			CACertPath: t.CACertPath.Value, AllowedAgentsOU: values(t.AgentsAllowedOU), AllowedBouncersOU: values(t.BouncersAllowedOU), CRLPath: t.CRLPath,
		}
	}
	if o := s.OnlineClient; o.CredentialsPath != "" {
		v.OnlineClient = &viewOnline{o.CredentialsPath, orTrue(o.Sharing), viewPull{orTrue(o.Pull.Community), orTrue(o.Pull.Blocklists)}}
	}
	return v
}

func orTrue(b *bool) *bool {
	if b == nil {
		b = new(bool)
		*b = true
	}
	return b
}

func values(list []strict.Text) (out []string) {
	for _, t := range list {
		out = append(out, t.Value)
	}
	return out
}

// key returns what an expression on the root "Config" stands for, as upstream
// prints it: texts as they are, structs as Go literals.
func (c *configView) key(expr string) (string, error) {
	path := strings.Split(strings.TrimSpace(expr), ".")
	if path[0] != "Config" {
		return "", fmt.Errorf("unknown name %s (1:1)\n | %s\n | ^", path[0], expr)
	}
	v, name, at := reflect.ValueOf(c), "Config", len("Config")
	for _, word := range path[1:] {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return "nil", nil
			}
			v = v.Elem()
		}
		var field reflect.StructField
		ok := false
		if v.Kind() == reflect.Struct {
			field, ok = v.Type().FieldByName(word)
		}
		if !ok {
			return "", fmt.Errorf("type *csconfig.%s has no field %s (1:%d)\n | %s\n | %s^", name, word, at+2, expr, strings.Repeat(".", at+1))
		}
		v, name, at = v.FieldByIndex(field.Index), field.Tag.Get("view"), at+1+len(word)
	}
	if v.Kind() == reflect.String && v.Type() != reflect.TypeFor[level]() {
		return v.String(), nil
	}
	return literal(v, name, ""), nil
}

// literal writes a value as Go source; type names are upstream's.
func literal(v reflect.Value, name, indent string) string {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return "nil"
		}
		return "&" + literal(v.Elem(), name, indent)
	case reflect.Struct:
		var b strings.Builder
		b.WriteString("csconfig." + first(name, "Config") + "{\n")
		for i := range v.NumField() {
			f := v.Type().Field(i)
			b.WriteString(indent + "  " + f.Name + ": " + literal(v.Field(i), f.Tag.Get("view"), indent+"  ") + ",\n")
		}
		return b.String() + indent + "}"
	case reflect.Slice:
		if v.IsNil() {
			return "nil"
		}
		var b strings.Builder
		b.WriteString("[]string{\n")
		for i := range v.Len() {
			b.WriteString(indent + "  " + strconv.Quote(v.Index(i).String()) + ",\n")
		}
		return b.String() + indent + "}"
	case reflect.String:
		if l, ok := v.Interface().(level); ok {
			return strconv.Itoa(l.number())
		}
		return strconv.Quote(v.String())
	}
	return fmt.Sprint(v.Interface())
}

// number is the level as logrus counts.
func (l level) number() int {
	for i, names := range [...]string{"panic", "fatal", "error", "warning warn", "info", "debug", "trace"} {
		for _, name := range strings.Fields(names) {
			if strings.EqualFold(name, string(l)) {
				return i
			}
		}
	}
	return 4
}

// report is what a person reads.
func (c *configView) report() string {
	var b strings.Builder
	line := func(indent int, name string, value any) {
		pad := strings.Repeat(" ", indent)
		fmt.Fprintf(&b, "%s- %-*s: %v\n", pad, 26-indent, name, plain(fmt.Sprint(value)))
	}
	b.WriteString("Global:\n")
	for _, v := range [][2]string{
		{"Configuration Folder", c.ConfigPaths.ConfigDir}, {"Data Folder", c.ConfigPaths.DataDir}, {"Hub Folder", c.ConfigPaths.HubDir},
		{"Notification Folder", c.ConfigPaths.NotificationDir}, {"Simulation File", c.ConfigPaths.SimulationFilePath},
		{"Log Folder", c.Common.LogDir}, {"Log level", string(c.Common.LogLevel)}, {"Log Media", c.Common.LogMedia},
	} {
		fmt.Fprintf(&b, "   - %-23s: %s\n", v[0], plain(v[1]))
	}
	if a := c.Crowdsec; a != nil {
		b.WriteString("Crowdsec" + disabled(a.Enable) + ":\n")
		line(2, "Acquisition File", a.AcquisitionFilePath)
		line(2, "Parsers routines", a.ParserRoutinesCount)
		if a.AcquisitionDirPath != "" {
			line(2, "Acquisition Folder", a.AcquisitionDirPath)
		}
	}
	b.WriteString("cscli:\n")
	line(2, "Output", c.Cscli.Output)
	line(2, "Hub Branch", c.Cscli.HubBranch)
	b.WriteString("API Client:\n")
	if cred := c.API.Client.Credentials; cred != nil {
		line(2, "URL", cred.URL)
		line(2, "Login", cred.Login)
	}
	line(2, "Credentials File", c.API.Client.CredentialsFilePath)
	if s := c.API.Server; s != nil {
		b.WriteString("Local API Server" + disabled(s.Enable) + ":\n")
		line(2, "Listen URL", s.ListenURI)
		line(2, "Listen Socket", s.ListenSocket)
		line(2, "Profile File", s.ProfilesPath)
		if s.TLS != nil && s.TLS.CertFilePath != "" {
			line(2, "Cert File", s.TLS.CertFilePath)
			line(2, "Key File", s.TLS.KeyFilePath)
			line(2, "CA Cert", s.TLS.CACertPath)
			line(2, "CRL", s.TLS.CRLPath)
			line(2, "Allowed Agents OU", strings.Join(s.TLS.AllowedAgentsOU, ", "))
			line(2, "Allowed Bouncers OU", strings.Join(s.TLS.AllowedBouncersOU, ", "))
		}
		b.WriteString("  - Trusted IPs:\n")
		for _, ip := range s.TrustedIPs {
			b.WriteString("      - " + plain(ip) + "\n")
		}
		b.WriteString("  - Database:\n")
		line(6, "Type", first(c.DbConfig.Type, "cs"))
		switch c.DbConfig.Type {
		case "", "sqlite":
			line(6, "Path", filepath.Join(c.ConfigPaths.DataDir, config.StoreName)) // not db_path, which is upstream's
		default:
			line(6, "Host", c.DbConfig.Host)
			line(6, "Port", c.DbConfig.Port)
			line(6, "User", c.DbConfig.User)
			line(6, "DB Name", c.DbConfig.DbName)
		}
		line(6, "Flush age", c.DbConfig.Flush.MaxAge)
		line(6, "Flush size", c.DbConfig.Flush.MaxItems)
		if o := s.OnlineClient; o != nil {
			b.WriteString("  - Central API:\n")
			line(6, "Credentials File", o.CredentialsFilePath)
		}
	}
	return b.String()
}

func disabled(enable *bool) string {
	if enable != nil && !*enable {
		return " (disabled)"
	}
	return ""
}

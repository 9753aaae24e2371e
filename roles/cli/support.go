//go:build !edge

package cli

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"cs/platform"
	"cs/platform/order"
	"cs/platform/strict"
	"cs/roles/config"
)

// Support groups the commands for those who help.
type Support struct {
	Dump SupportDump `cmd:"" help:"Write what others need to help into an archive, without secrets."`
}

// SupportDump writes an archive.
type SupportDump struct {
	OutFile string `name:"outFile" short:"f" placeholder:"FILE" help:"Where to write it (default: crowdsec-support.zip in the directory for temporary files; -: standard output)."`
	Fast    bool   `help:"Without a profile of the processor's time."`
}

const (
	// profileTime is for how long the profile is taken, as upstream does.
	profileTime = 30 * time.Second
	// maxMember bounds a file that is taken into the archive: its end counts.
	maxMember = 10 << 20
)

// Run writes it. What can't be had is told in the archive and fails nothing.
func (c *SupportDump) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	if s.format != human {
		return fmt.Errorf("output format '%s' not supported for this command", s.format)
	}
	var packed bytes.Buffer
	d := &dump{session: s, g: g, zip: zip.NewWriter(&packed), progress: s.out}
	path := first(c.OutFile, filepath.Join(os.TempDir(), "crowdsec-support.zip"))
	if path == "-" {
		d.progress = s.errs
	}
	d.secrets = s.secrets()
	d.collect(ctx, c.Fast)
	d.text("dump.log", d.log.String())
	if err := d.zip.Close(); err != nil {
		return fmt.Errorf("cannot write the archive: %w", err)
	}
	if path == "-" {
		_, err := s.out.Write(packed.Bytes())
		return err
	}
	if err := platform.WriteFile(path, packed.Bytes(), 0o600); err != nil {
		return err
	}
	return s.text("Written zip file to " + plain(path) + "\n")
}

// dump is an archive in the making.
type dump struct {
	*session
	g        *Globals
	zip      *zip.Writer
	progress io.Writer
	secrets  []string // texts that must not get into it
	log      strings.Builder
}

func (d *dump) collect(ctx context.Context, fast bool) {
	step := func(what string) { fmt.Fprintf(d.progress, "Collecting %s\n", what) }
	step("metrics")
	for _, p := range d.runningPages(ctx) {
		var b strings.Builder
		for _, m := range p.samples {
			fmt.Fprintf(&b, "%s%v %v\n", m.Name, m.Labels, m.Value)
		}
		d.text("metrics/"+strings.TrimSuffix(filepath.Base(p.source), ".sock")+".prometheus", b.String())
	}
	d.command(ctx, "metrics/metrics.human", new(MetricsAll).Run)
	step("version")
	d.command(ctx, "version.txt", new(Version).Run)
	step("feature flags")
	d.command(ctx, "features.txt", new(ConfigFeatureFlags).Run)
	step("system info")
	d.text("system.yaml", string(strict.Append(nil, systemInfo())))
	step("hub")
	d.command(ctx, "hub.txt", new(HubList).Run)
	step("state")
	d.command(ctx, "status.txt", new(Status).Run)
	d.command(ctx, "doctor.txt", new(Doctor).Run)
	step("bouncers and machines")
	d.command(ctx, "lapi/bouncers.txt", new(BouncersList).Run)
	d.command(ctx, "lapi/agents.txt", new(MachinesList).Run)
	step("configuration")
	d.command(ctx, "config/crowdsec.yaml", new(ConfigShowYAML).Run)
	d.command(ctx, "config/origins.txt", (&ConfigShow{Origin: true}).Run)
	if server := d.file.API.Server; server != nil && server.ProfilesPath != "" {
		d.member("config/profiles.yaml", server.ProfilesPath)
	}
	if sim := d.file.Paths().SimulationPath; sim != "" && exists(sim) {
		d.member("config/simulation.yaml", sim)
	}
	if a := d.file.Crowdsec; a != nil {
		step("acquisition")
		files, err := config.AcquisitionFiles(a.AcquisitionPath, a.AcquisitionDir)
		d.trouble("config/acquis", err)
		for _, path := range files {
			d.member("config/acquis/"+strings.NewReplacer("/", "___", `\`, "___").Replace(path), path)
		}
	}
	step("connection to the local API")
	d.command(ctx, "lapi_status.txt", new(LAPIStatus).Run)
	d.command(ctx, "capi_status.txt", new(CAPIStatus).Run)
	d.command(ctx, "papi_status.txt", new(PAPIStatus).Run)
	step("logs")
	for _, dir := range []string{d.file.Common.LogDir, "/var/log"} {
		logs, err := filepath.Glob(filepath.Join(first(dir, "/var/log"), "crowdsec*.log"))
		d.trouble("log", err)
		for _, path := range logs {
			d.member("log/"+filepath.Base(path), path)
		}
		if dir != "" {
			break
		}
	}
	crashes, err := filepath.Glob(filepath.Join(d.file.DataDir(), "trace", "crowdsec-crash.*.txt"))
	d.trouble("crash", err)
	for _, path := range crashes {
		d.member("crash/"+filepath.Base(path), path)
	}
	step("profiles of the program")
	d.profiles(ctx, fast)
}

// profiles are those of the running daemon, where its page has them, or else
// of this command.
func (d *dump) profiles(ctx context.Context, fast bool) {
	for _, name := range []string{"goroutine", "heap"} {
		var b bytes.Buffer
		d.trouble("pprof/"+name, pprof.Lookup(name).WriteTo(&b, 0))
		d.text("pprof/"+name+".pprof", b.String())
	}
	if fast {
		return
	}
	page, err := url.Parse(d.file.MetricsURL())
	if err != nil || page.Host == "" {
		fmt.Fprintln(&d.log, "pprof/profile.pprof: no page of metrics is configured")
		return
	}
	page.Path, page.RawQuery = "/debug/pprof/profile", fmt.Sprintf("seconds=%d", int(profileTime/time.Second))
	text, err := readURL(ctx, page.String(), profileTime+10*time.Second)
	d.trouble("pprof/profile.pprof", err)
	if err == nil {
		d.text("pprof/profile.pprof", string(text))
	}
}

func (d *dump) trouble(what string, err error) {
	if err != nil {
		fmt.Fprintf(&d.log, "%s: %v\n", what, err)
	}
}

// command puts what a command prints into the archive, its error included.
func (d *dump) command(ctx context.Context, name string, run func(context.Context, *platform.Env, *Globals) error) {
	var out bytes.Buffer
	env := *d.env
	env.Stdout, env.Stderr, env.Log = &out, &out, slog.New(slog.NewTextHandler(&out, nil))
	g := *d.g
	g.Output, g.Color = human, "no"
	if err := run(ctx, &env, &g); err != nil {
		fmt.Fprintf(&out, "Error: %s\n", plainLines(err.Error()))
		d.trouble(name, err)
	}
	d.text(name, out.String())
}

// member puts the end of a file into the archive.
func (d *dump) member(name, path string) {
	f, err := os.Open(path)
	if err != nil {
		d.trouble(name, err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		d.trouble(name, fmt.Errorf("%s is no file: %w", path, err))
		return
	}
	if over := info.Size() - maxMember; over > 0 {
		if _, err := f.Seek(over, io.SeekStart); err != nil {
			d.trouble(name, err)
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxMember))
	d.trouble(name, err)
	d.text(name, string(text))
}

// text puts a member into the archive, without secrets.
func (d *dump) text(name, text string) {
	w, err := d.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: d.now()})
	if err != nil {
		d.trouble(name, err)
		return
	}
	_, err = io.WriteString(w, redact(text, d.secrets))
	d.trouble(name, err)
}

const redacted = "<redacted>"

// secretTexts are the places of secrets, made when first used.
type secretTexts struct {
	// key is a line whose key says that a secret follows: of YAML, of JSON,
	// of a log.
	key *regexp.Regexp
	// bareKey is a key that tells of a secret, or of whom it belongs to, by nothing
	// but itself.
	bareKey *regexp.Regexp
	// userInfo is what stands before the host in a URL, parameter behind it.
	userInfo, parameter, bearer *regexp.Regexp
}

var secretsLike = sync.OnceValue(func() secretTexts {
	return secretTexts{
		key:       regexp.MustCompile(`(?im)^(.*?[\w.-]*(?:password|passwd|secret|token|api_?key|authorization|webhook)[\w-]*["']?\s*[:=]\s*).+$`),
		bareKey:   regexp.MustCompile(`(?m)^(\s*(?:- )?["']?(?:key|user|username|login|host)["']?\s*:\s*).+$`),
		userInfo:  regexp.MustCompile(`(\w://)[^/\s@"']+@`),
		parameter: regexp.MustCompile(`(?i)([?&](?:\w*(?:key|token|password|secret))=)[^&\s"']+`),
		bearer:    regexp.MustCompile(`(?i)\b(bearer|basic)\s+[\w.+/=~-]+`),
	}
})

// redact takes secrets out of a text: known ones, and what looks like one.
func redact(text string, secrets []string) string {
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, redacted)
	}
	like := secretsLike()
	text = like.userInfo.ReplaceAllString(text, "${1}"+redacted+"@")
	text = like.parameter.ReplaceAllString(text, "${1}"+redacted)
	text = like.bearer.ReplaceAllString(text, "$1 "+redacted)
	text = like.bareKey.ReplaceAllString(text, "${1}"+redacted)
	return like.key.ReplaceAllString(text, "${1}"+redacted)
}

// secrets returns the texts that stand in files of ours as secrets, the longest
// first: they are taken out wherever they turn up.
func (s *session) secrets() (list []string) {
	add := func(text string) {
		if len(text) >= 4 && !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	if c, err := config.ReadCredentials(s.credentialsPath, s.env.LookupEnv); err == nil {
		add(c.Password)
	}
	add(s.file.DB.Password)
	add(s.file.DB.User)
	add(s.file.API.CTI.Key)
	if b := s.file.Bouncer; b != nil {
		add(b.APIKey)
	}
	var paths []string
	if server := s.file.API.Server; server != nil {
		if a := server.AutoRegistration; a != nil {
			add(a.Token.Value)
		}
		paths = append(paths, server.OnlineClient.CredentialsPath)
	}
	if a := s.file.Crowdsec; a != nil {
		files, _ := config.AcquisitionFiles(a.AcquisitionPath, a.AcquisitionDir) // told elsewhere
		paths = append(paths, files...)
	}
	if dir := s.file.Paths().NotificationDir; dir != "" {
		files, _ := filepath.Glob(filepath.Join(dir, "*.y*ml"))
		paths = append(paths, files...)
	}
	for _, name := range []string{"CS_LAPI_SECRET", "CS_TOKEN", "CS_API_KEY"} {
		value, _ := s.env.LookupEnv(name)
		add(value)
	}
	for _, path := range append(paths, s.file.Path(), s.file.Path()+".local") {
		for _, text := range secretsIn(path) {
			add(text)
		}
	}
	order.Sort(list, func(a, b string) int { return len(b) - len(a) })
	return list
}

// secretWords are parts of the names of keys whose values are secrets.
var secretWords = []string{"password", "passwd", "secret", "token", "api_key", "apikey", "authorization", "webhook", "auth_key", "sasl"}

// secretsIn returns the values of such keys in a YAML file, and those of all
// headers, which may be anything.
func secretsIn(path string) (list []string) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	docs, err := strict.Parse(path, text)
	if err != nil {
		return nil
	}
	var walk func(v any, secret bool)
	walk = func(v any, secret bool) {
		switch v := v.(type) {
		case map[string]any:
			for key, below := range v {
				name := strings.ToLower(key)
				is := slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(name, w) })
				walk(below, secret || is || name == "headers" || name == "key")
			}
		case []any:
			for _, below := range v {
				walk(below, secret)
			}
		case nil, bool:
		default:
			if secret {
				list = append(list, fmt.Sprint(v))
			}
		}
	}
	for _, doc := range docs {
		var m map[string]any
		if doc.Decode(&m) == nil {
			walk(m, false)
		}
	}
	return list
}

// systemInfo is the machine we run on.
func systemInfo() map[string]any {
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	info := map[string]any{
		"hostname": host, "os": runtime.GOOS, "arch": runtime.GOARCH, "cpus": runtime.NumCPU(), "go": runtime.Version(),
	}
	for key, path := range map[string]string{"kernel": "/proc/sys/kernel/osrelease", "uptime_seconds": "/proc/uptime", "load": "/proc/loadavg"} {
		if text, err := os.ReadFile(path); err == nil {
			info[key] = strings.TrimSpace(string(text))
		}
	}
	if text, err := os.ReadFile("/etc/os-release"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
				info["distribution"] = strings.Trim(strings.TrimSpace(name), `"`)
			}
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && (name == "MemTotal" || name == "MemAvailable") {
				info[name] = strings.TrimSpace(value)
			}
		}
	}
	return info
}

// readURL returns what is at a URL.
func readURL(ctx context.Context, url string, limit time.Duration) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: limit}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("cannot get %s: %s", url, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxPage))
}

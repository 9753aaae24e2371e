package status

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"cs/platform"
	"cs/roles/api"
	"cs/roles/config"
)

// Finding is one thing that a doctor looked at.
type Finding struct {
	Check  string `json:"check"`
	Status string `json:"status"` // Good, Doubtful, Bad
	What   string `json:"what"`
	Fix    string `json:"fix,omitempty"`
}

// States of findings.
const (
	Good     = "ok"
	Doubtful = "warning"
	Bad      = "error"
)

// Patient is a host, as far as others had to look at it.
type Patient struct {
	Seen
	File      *config.File
	Env       *platform.Env
	Faults    error  // of the configuration and all that it names
	Blind     bool   // the content understands no line of a syslog
	Upstream  string // upstream's config.yaml, where there is one that we don't use
	SSHClient string // address of the operator, "" if that isn't known
	Banned    bool   // he is
	Allowed   bool   // he can't be
}

// Examine looks for the usual mistakes.
func Examine(p *Patient) (list []Finding) {
	put := func(check, status, what, fix string) { list = append(list, Finding{check, status, what, fix}) }
	p.configuration(put)
	p.dataDir(put)
	if p.File.ServesLAPI() {
		p.port(put)
	}
	p.connection(put)
	if p.Blind {
		put("content", Bad, Blind, BlindFix)
	}
	p.logs(put)
	p.accounts(put)
	p.clock(put)
	p.operator(put)
	return list
}

type putter func(check, status, what, fix string)

func (p *Patient) configuration(put putter) {
	const check = "configuration"
	path := p.File.Path()
	switch {
	case p.Faults != nil:
		for _, fault := range strings.Split(p.Faults.Error(), "\n") {
			put(check, Bad, fault, "correct the file; cs config check tells when it is good")
		}
	case path == "":
		put(check, Good, "there is none: the defaults hold", "")
	default:
		put(check, Good, path+" and all that it names is good", "")
	}
	if path == "" && p.Upstream != "" {
		put(check, Doubtful, p.Upstream+" is there and not used", "cs -c "+p.Upstream+" …, or CS_CONFIG_FILE="+p.Upstream+" for the service and for commands")
	}
	if runtime.GOOS == "windows" {
		return // modes say nothing there
	}
	for _, secret := range []string{path, p.File.CredentialsPath()} {
		if info, err := os.Stat(secret); secret != "" && err == nil && info.Mode().Perm()&0o077 != 0 {
			put("secrets", Doubtful, fmt.Sprintf("%s has mode %04o: others can read secrets in it", secret, info.Mode().Perm()), "chmod 600 "+secret)
		}
	}
}

func (p *Patient) dataDir(put putter) {
	const check = "data directory"
	dir := p.File.DataDir()
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		put(check, Doubtful, dir+" is not there yet", "it is made by the first start")
		return
	case err != nil:
		put(check, Bad, err.Error(), "run this as the user of the service (root, usually)")
		return
	case !info.IsDir():
		put(check, Bad, dir+" is no directory", "move it away, or choose another with --data-dir")
		return
	}
	f, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		put(check, Bad, "cannot write to "+dir+": "+cause(err).Error(), "run as root; else look at its owner, and whether the disk is full or read-only")
		return
	}
	f.Close()
	os.Remove(f.Name())
	put(check, Good, dir+" can be written to", "")
}

func cause(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// port: somebody else may listen where the LAPI should.
func (p *Patient) port(put putter) {
	const check = "listening"
	listen := p.File.Listen()
	if len(p.Pages) > 0 && p.LAPI == nil {
		put(check, Good, "the local API answers", "")
		return
	}
	l, err := net.Listen("tcp", listen)
	if err == nil {
		l.Close()
		put(check, Good, listen+" is free for the local API", "")
		return
	}
	who := platform.PortOwner(listen)
	if who == "" {
		who = "another process"
	}
	put(check, Bad, listen+" is taken by "+who, "stop it, or set api.server.listen_uri (--listen) to another port, 127.0.0.1:8081 for example")
}

func (p *Patient) connection(put putter) {
	const check = "local API"
	var said *api.Error
	switch {
	case p.LAPI == nil:
		put(check, Good, "it lets this host in", "")
	case errors.Is(p.LAPI, api.ErrUnreachable) && p.File.ServesLAPI():
		put(check, Bad, p.LAPI.Error(), "start it: systemctl start crowdsec, or cs run")
	case errors.Is(p.LAPI, api.ErrUnreachable):
		put(check, Bad, p.LAPI.Error(), "look at the url in "+p.File.CredentialsPath()+", and whether a firewall is between")
	case errors.As(p.LAPI, &said) && said.Status == 401, errors.As(p.LAPI, &said) && said.Status == 403:
		put(check, Bad, p.LAPI.Error(), "on the host of the LAPI: cs machines validate NAME; or join again: cs register --lapi-url URL")
	default:
		put(check, Bad, p.LAPI.Error(), "cs lapi status tells more")
	}
}

// logs looks at what is to be read.
func (p *Patient) logs(put putter) {
	const check = "logs"
	c := p.File.Crowdsec
	if c == nil || c.Enable != nil && !*c.Enable {
		if p.File.Path() != "" {
			put(check, Good, "this host reads none: crowdsec_service is not enabled", "")
		}
		return
	}
	files, err := config.AcquisitionFiles(c.AcquisitionPath, c.AcquisitionDir)
	if err != nil {
		put(check, Bad, err.Error(), "correct crowdsec_service.acquisition_path and acquisition_dir")
		return
	}
	sources := 0
	seen := make(map[string]string)
	for _, path := range files {
		list, errs := config.ReadAcquisition(path, p.Env.LookupEnv)
		for _, err := range errs {
			put(check, Bad, err.Error(), "correct the file; without it that source is not read")
		}
		sources += len(list)
		for i := range list {
			p.source(put, &list[i], seen)
		}
	}
	if sources == 0 {
		put(check, Bad, "nothing is read: no acquisition file names a source", "cs setup unattended writes some for the services of this host")
		return
	}
	put(check, Good, fmt.Sprintf("%d sources are named in %d files", sources, len(files)), "")
}

// Blind says that the content has no parser of the first stage, BlindFix what
// helps.
const (
	Blind    = "what is installed has taken the place of the starter set and has no parser of the first stage (s00-raw): no line of a syslog is understood"
	BlindFix = "cs collections install crowdsecurity/linux"
)

func (p *Patient) source(put putter, a *config.Acquisition, seen map[string]string) {
	const check = "logs"
	switch a.Source {
	case "journalctl":
		if _, err := exec.LookPath("journalctl"); err != nil {
			put(check, Bad, a.Place.String()+": journalctl is not there", "install systemd's journalctl, or read the files of the logs instead")
		}
		return
	case "file":
	default:
		return
	}
	var named struct {
		Filename  string   `yaml:"filename"`
		Filenames []string `yaml:"filenames"`
	}
	_ = a.Doc.Decode(&named) // the other keys are no concern here
	globs := named.Filenames
	if named.Filename != "" {
		globs = append([]string{named.Filename}, globs...)
	}
	for _, glob := range globs {
		if before, twice := seen[glob]; twice {
			put(check, Doubtful, fmt.Sprintf("%s: %s is read twice, also by %s", a.Place, glob, before), "name it once, or every line counts twice")
		}
		seen[glob] = a.Place.String()
		found, err := filepath.Glob(glob)
		if err == nil && len(found) == 0 {
			put(check, Doubtful, fmt.Sprintf("%s: there is no %s", a.Place, glob), "correct the path if the log should be there; it is read as soon as it is")
		}
		for _, path := range found {
			f, err := os.Open(path)
			if err != nil {
				put(check, Bad, fmt.Sprintf("%s: cannot read %s: %v", a.Place, path, cause(err)), "run the service as root, or let its user into the group of the log (adm)")
				continue
			}
			f.Close()
		}
	}
}

func (p *Patient) accounts(put putter) {
	report := Look(&p.Seen)
	for _, x := range report.Problems {
		if x.Fix != seeDoctor { // it has been said
			put("operation", Doubtful, x.What, x.Fix)
		}
	}
	if len(report.Problems) == 0 {
		put("operation", Good, "processes, logs, machines and bouncers look well", "")
	}
}

// clock: alerts with wrong times make decisions that are over, or never end.
func (p *Patient) clock(put putter) {
	if p.Now.Before(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)) {
		put("clock", Bad, "the clock stands at "+p.Now.Format(time.RFC3339), "set it, by NTP for example: bans end by it")
		return
	}
	put("clock", Good, p.Now.UTC().Format(time.RFC3339), "")
}

// operator: who sits at a remote terminal must not lock himself out.
func (p *Patient) operator(put putter) {
	const check = "your address"
	switch {
	case p.SSHClient == "":
	case p.Banned:
		put(check, Bad, p.SSHClient+", from where you work, is banned", "cs decisions delete --ip "+p.SSHClient)
	case !p.Allowed:
		put(check, Doubtful, p.SSHClient+", from where you work, is on no allowlist", "cs allowlists create operators -d 'never banned'; cs allowlists add operators "+p.SSHClient)
	default:
		put(check, Good, p.SSHClient+" can't be banned", "")
	}
}

//go:build !edge

package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cs/pipeline/hub/catalog"
	"cs/platform"
	"cs/platform/strict"
	"cs/roles/config"
	"cs/roles/setup"
)

// Setup groups the commands that find the services of a host, install what
// detects attacks on them, and say how their logs are read.
type Setup struct {
	Interactive        SetupInteractive        `cmd:"" default:"withargs" help:"All of it, with questions."`
	Unattended         SetupUnattended         `cmd:"" help:"All of it, without."`
	Detect             SetupDetect             `cmd:"" help:"Show which services there are."`
	InstallHub         SetupInstallHub         `cmd:"" name:"install-hub" help:"Install the items of the hub that a setup file names."`
	InstallAcquisition SetupInstallAcquisition `cmd:"" name:"install-acquisition" help:"Write the acquisition files that a setup file describes."`
	Validate           SetupValidate           `cmd:"" help:"Check a setup file."`
}

// detecting is how services are found.
type detecting struct {
	DetectConfig string   `name:"detect-config" env:"CROWDSEC_SETUP_DETECT_CONFIG" placeholder:"FILE" help:"Rules to find services by; -: standard input (default: detect.yaml in the data directory, else the built-in ones)."`
	Ignore       []string `placeholder:"SERVICE" help:"Services that are of no interest."`
	Force        []string `placeholder:"SERVICE" help:"Services that are there although no rule finds them."`
	SkipSystemd  bool     `name:"skip-systemd" help:"Don't ask systemd."`
}

// rules reads the rules.
func (d *detecting) rules(s *session) (*setup.Rules, error) {
	switch path := d.DetectConfig; path {
	case "-":
		text, err := io.ReadAll(io.LimitReader(s.env.Stdin, maxSetupFile))
		if err != nil {
			return nil, fmt.Errorf("cannot read the rules: %w", err)
		}
		return setup.ReadRules("standard input", text)
	case "":
		if path = filepath.Join(s.file.DataDir(), "detect.yaml"); !exists(path) {
			return setup.ReadRules("", nil)
		}
		d.DetectConfig = path
	}
	text, err := os.ReadFile(d.DetectConfig)
	if err != nil {
		return nil, err
	}
	return setup.ReadRules(d.DetectConfig, text)
}

const maxSetupFile = 1 << 20

func (d *detecting) detect(s *session) (setup.Setup, error) {
	rules, err := d.rules(s)
	if err != nil {
		return setup.Setup{}, err
	}
	o := setup.Options{Force: d.Force, Ignore: d.Ignore, SkipSystemd: d.SkipSystemd}
	return rules.Detect(o, func(message string) { s.warn("%s", message) })
}

// SetupDetect shows services.
type SetupDetect struct {
	detecting
	YAML bool `name:"yaml" help:"Show YAML instead of JSON."`
	List bool `name:"list-supported-services" help:"Show the names of the services that the rules know."`
}

// Run shows them.
func (c *SetupDetect) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	if c.List {
		rules, err := c.rules(s)
		if err != nil {
			return err
		}
		return s.text(strings.Join(rules.Names(), "\n") + "\n")
	}
	found, err := c.detect(s)
	if err != nil {
		return err
	}
	if c.YAML {
		return s.text(string(strict.AppendIndented(nil, found)))
	}
	text, err := found.JSON()
	if err != nil {
		return fmt.Errorf("cannot encode the setup: %w", err)
	}
	return s.text(string(text))
}

// SetupValidate checks a setup file.
type SetupValidate struct {
	File []string `arg:"" optional:"" name:"file" help:"Setup file; -: standard input."`
}

// Run checks it.
func (c *SetupValidate) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	_, _, err := openSetup(env, g, c.File)
	return err
}

// openSetup opens a session and reads a setup file.
func openSetup(env *platform.Env, g *Globals, args []string) (*session, setup.Setup, error) {
	s, path, err := openFor(env, g, args)
	if err != nil {
		return nil, setup.Setup{}, err
	}
	from := io.NopCloser(env.Stdin)
	if path != "-" {
		if from, err = os.Open(path); err != nil {
			return nil, setup.Setup{}, err
		}
	}
	defer from.Close()
	text, err := io.ReadAll(io.LimitReader(from, maxSetupFile))
	if err != nil {
		return nil, setup.Setup{}, fmt.Errorf("cannot read the setup: %w", err)
	}
	found, err := setup.ReadSetup(path, text)
	return s, found, err
}

// SetupInstallHub installs items.
type SetupInstallHub struct {
	Interactive bool     `short:"i" help:"Ask before anything is done."`
	DryRun      bool     `name:"dry-run" help:"Show what would be done."`
	File        []string `arg:"" optional:"" name:"file" help:"Setup file; -: standard input."`
}

// Run installs them.
func (c *SetupInstallHub) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	_, found, err := openSetup(env, g, c.File)
	if err != nil {
		return err
	}
	return installItems(ctx, env, g, found, planFlags{Interactive: c.Interactive, DryRun: c.DryRun})
}

func installItems(ctx context.Context, env *platform.Env, g *Globals, found setup.Setup, f planFlags) error {
	s, err := openContent(env, g)
	if err != nil {
		return err
	}
	src, err := s.source("")
	if err != nil {
		return err
	}
	cat, err := s.catalog()
	if err != nil {
		return err
	}
	p := cat.NewPlan(false)
	items := found.Items()
	for _, t := range catalog.Types {
		for _, name := range items[string(t)] {
			it, err := cat.Find(t, name)
			if err != nil {
				s.warn("Could not find %s:%s in hub index, skipping install", t, name)
				continue
			}
			p.Install(it, false)
		}
	}
	return s.carry(ctx, p, src, f)
}

// SetupInstallAcquisition writes acquisition files.
type SetupInstallAcquisition struct {
	AcquisDir string   `name:"acquis-dir" placeholder:"DIR" help:"Where to write them (default: crowdsec_service.acquisition_dir)."`
	DryRun    bool     `name:"dry-run" help:"Show them instead."`
	File      []string `arg:"" optional:"" name:"file" help:"Setup file; -: standard input."`
}

// Run writes them.
func (c *SetupInstallAcquisition) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, found, err := openSetup(env, g, c.File)
	if err != nil {
		return err
	}
	return s.writeAcquisition(found, c.AcquisDir, c.DryRun, nil)
}

// acquisDir is where acquisition files are written.
func (s *session) acquisDir(flag string) (string, error) {
	dir := flag
	if a := s.file.Crowdsec; dir == "" && a != nil {
		dir = a.AcquisitionDir
	}
	if dir == "" {
		return "", fmt.Errorf("crowdsec_service.acquisition_dir is missing in the configuration: say where with --acquis-dir")
	}
	return dir, nil
}

// writeAcquisition writes files. One that is not ours, or was changed, is left
// alone unless replace says otherwise.
func (s *session) writeAcquisition(found setup.Setup, flag string, dryRun bool, replace func(path string) bool) error {
	dir, err := s.acquisDir(flag)
	if err != nil {
		return err
	}
	for _, f := range found.Files(dir) {
		if dryRun {
			if err := s.text("(dry run) " + plain(f.Path) + "\n" + string(f.Text)); err != nil {
				return err
			}
			continue
		}
		ok, err := setup.MayReplace(f.Path)
		if err != nil {
			return err
		}
		if !ok && (replace == nil || !replace(f.Path)) {
			s.warn("%s was changed by hand, it is left as it is", f.Path)
			continue
		}
		if err := s.text("creating " + plain(f.Path) + "\n"); err != nil {
			return err
		}
		if err := f.Write(); err != nil {
			return err
		}
	}
	return nil
}

// acquiring is where files are written, and whether.
type acquiring struct {
	AcquisDir string `name:"acquis-dir" placeholder:"DIR" help:"Where to write acquisition files (default: crowdsec_service.acquisition_dir)."`
	DryRun    bool   `name:"dry-run" help:"Show what would be done."`
}

// SetupUnattended does all without questions.
type SetupUnattended struct {
	detecting
	acquiring
}

// Run finds, installs and writes. What an operator has written by himself stops
// it: that is no error, scripts of packages call it.
func (c *SetupUnattended) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	if off, _ := env.LookupEnv("CROWDSEC_SETUP_UNATTENDED_DISABLE"); off != "" {
		return s.text("Unattended setup is disabled by CROWDSEC_SETUP_UNATTENDED_DISABLE.\n")
	}
	if hand, err := s.handmade(c.AcquisDir); err != nil {
		return err
	} else if hand != "" {
		return s.text(fmt.Sprintf("%s was written or changed by hand: unattended setup leaves this host as it is. Run 'cscli setup' to be asked.\n", plain(hand)))
	}
	found, err := c.detect(s)
	if err != nil {
		return err
	}
	if done, err := s.announce(found); done || err != nil {
		return err
	}
	if err := installItems(ctx, env, g, found, planFlags{DryRun: c.DryRun}); err != nil {
		return err
	}
	return s.writeAcquisition(found, c.AcquisDir, c.DryRun, nil)
}

// handmade returns an acquisition file that setup didn't generate, "" if there
// is none.
func (s *session) handmade(flag string) (string, error) {
	dir, err := s.acquisDir(flag)
	if err != nil {
		return "", err
	}
	path := ""
	if a := s.file.Crowdsec; a != nil {
		path = a.AcquisitionPath
	}
	files, err := config.AcquisitionFiles(path, dir)
	if err != nil {
		return "", err
	}
	for _, path := range files {
		if ok, err := setup.MayReplace(path); err != nil || !ok {
			return path, err
		}
	}
	return "", nil
}

// announce shows which services were found; done tells that there are none.
func (s *session) announce(found setup.Setup) (done bool, err error) {
	if len(found.Services) == 0 {
		return true, s.text("No services detected.\n")
	}
	text := "The following services will be configured:\n"
	for _, one := range found.Services {
		text += "- " + plain(one.Name) + "\n"
	}
	return false, s.text(text)
}

// SetupInteractive does all with questions.
type SetupInteractive struct {
	detecting
	acquiring
}

// Run asks, finds, installs and writes.
func (c *SetupInteractive) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	if !confirmed("Detect the services of this host?") {
		return s.text("operation canceled\n")
	}
	found, err := c.detect(s)
	if err != nil {
		return err
	}
	kept := setup.Setup{Services: []setup.Service{}}
	for _, one := range found.Services {
		if confirmed("Configure " + plain(one.Name) + describe(one) + "?") {
			kept.Services = append(kept.Services, one)
		}
	}
	if done, err := s.announce(kept); done || err != nil {
		return err
	}
	if err := installItems(ctx, env, g, kept, planFlags{Interactive: true, DryRun: c.DryRun}); err != nil {
		return err
	}
	if confirmed("Write the acquisition files?") {
		replace := func(path string) bool { return s.confirm(plain(path) + " was changed by hand. Replace it?") }
		if err := s.writeAcquisition(kept, c.AcquisDir, c.DryRun, replace); err != nil {
			return err
		}
	}
	return s.text("\nDecisions are enforced by a bouncer: 'cs bouncer-firewall' blocks in the firewall of this host.\n" + s.reloadHint(false))
}

// describe tells what a service brings along.
func describe(one setup.Service) string {
	var names []string
	for _, kind := range slices.Sorted(maps.Keys(one.HubSpec)) {
		names = append(names, one.HubSpec[kind]...)
	}
	if len(names) == 0 {
		return ""
	}
	return " (" + plain(strings.Join(names, ", ")) + ")"
}

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"cs/platform"
	"cs/roles/api"
	"cs/roles/config"
)

// Marks in tables of accounts.
const (
	yes     = "✔️"
	no      = "🚫"
	warning = "⚠️"
)

// silentAfter is how long a machine may go without a heartbeat, which it
// sends each minute, before the list marks it.
const silentAfter = 2 * time.Minute

// maxPassword is what bcrypt can tell apart.
const maxPassword = 72

// Machines groups the commands about the accounts of machines (log
// processors), kept by the LAPI of this host.
type Machines struct {
	List     MachinesList     `cmd:"" help:"List machines."`
	Validate MachinesValidate `cmd:"" help:"Let a registered machine send alerts."`
	Add      MachinesAdd      `cmd:"" help:"Add a machine and write its credentials."`
	Delete   MachinesDelete   `cmd:"" aliases:"remove" help:"Delete machines."`
	Prune    MachinesPrune    `cmd:"" help:"Delete machines that are silent or were never validated."`
	Inspect  MachinesInspect  `cmd:"" help:"Show all about a machine."`
}

// machineJSON is how a machine is shown. The mixed spelling is a contract.
type machineJSON struct {
	CreatedAt     time.Time        `json:"created_at"`
	UpdatedAt     time.Time        `json:"updated_at"`
	LastPush      *time.Time       `json:"last_push"`
	LastHeartbeat *time.Time       `json:"last_heartbeat,omitempty"`
	MachineID     string           `json:"machineId"`
	IPAddress     string           `json:"ipAddress,omitempty"`
	Version       string           `json:"version,omitempty"`
	IsValidated   bool             `json:"isValidated,omitempty"`
	AuthType      string           `json:"auth_type"`
	OS            string           `json:"os"`
	FeatureFlags  []string         `json:"featureflags,omitempty"`
	Datasources   map[string]int64 `json:"datasources,omitempty"`
}

func showMachine(m *api.Machine) machineJSON {
	return machineJSON{
		CreatedAt: m.Created, UpdatedAt: m.Updated, LastPush: orNull(m.LastPush), LastHeartbeat: orNull(m.LastHeartbeat),
		MachineID: m.Name, IPAddress: m.IP, Version: m.Version, IsValidated: m.Validated, AuthType: m.AuthType,
		OS: first(osText(m.OSName, m.OSVersion), "?"), FeatureFlags: m.FeatureFlags, Datasources: m.Datasources,
	}
}

// osText is the name and version of an operating system: "debian/12.11"; ""
// when neither is known.
func osText(name, version string) string {
	if name == "" && version == "" {
		return ""
	}
	return name + "/" + version
}

// orNull makes JSON show null, or nothing, for a time that never was.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// MachinesList lists machines by the time they were added.
type MachinesList struct{}

// Run lists.
func (c *MachinesList) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	var machines []api.Machine
	err = s.admin(ctx, mustExist, func(a *api.Admin) (err error) {
		machines, err = a.Machines(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("unable to list machines: %w", err)
	}
	switch s.format {
	case jsonText:
		list := []machineJSON{}
		for i := range machines {
			list = append(list, showMachine(&machines[i]))
		}
		return s.json(list, "  ")
	case raw:
		var rows [][]string
		for _, m := range machines {
			// An unknown system is "/" here but "?" in the other formats, as it always was.
			rows = append(rows, []string{m.Name, m.IP, stamp(m.Updated), strconv.FormatBool(m.Validated), m.Version, m.AuthType,
				first(stamp(m.LastHeartbeat), "-"), first(osText(m.OSName, m.OSVersion), "/")})
		}
		return s.csv("machine_id,ip_address,updated_at,validated,version,auth_type,last_heartbeat,os", rows)
	}
	return s.machinesTable(machines)
}

func (s *session) machinesTable(machines []api.Machine) error {
	t := s.table("Name", "IP Address", "Last Update", "Status", "Version", "OS", "Auth Type", "Last Heartbeat")
	for i := range machines {
		m := &machines[i]
		status := no
		if m.Validated {
			status = yes
		}
		t.add(m.Name, m.IP, stamp(m.Updated), status, m.Version, first(osText(m.OSName, m.OSVersion), "?"), m.AuthType, heartbeat(m, s.now()))
	}
	return s.text(t.light())
}

// heartbeat is the age of a machine's last sign of life, marked if it is
// silent or was never heard.
func heartbeat(m *api.Machine, now time.Time) string {
	if m.LastHeartbeat.IsZero() {
		return warning + " -"
	}
	age := now.Sub(m.LastHeartbeat).Truncate(time.Second)
	if age > silentAfter {
		return warning + " " + age.String()
	}
	return age.String()
}

// MachinesValidate accepts a machine that has registered itself.
type MachinesValidate struct {
	Name []string `arg:"" optional:"" help:"Name of the machine."`
}

// Run accepts it.
func (c *MachinesValidate) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, name, err := openFor(env, g, c.Name)
	if err != nil {
		return err
	}
	err = s.admin(ctx, mustExist, func(a *api.Admin) error { return a.ValidateMachine(ctx, name) })
	switch {
	case errors.Is(err, api.ErrNotFound):
		return fmt.Errorf("unable to validate machine '%s': machine not found", name)
	case err != nil:
		return fmt.Errorf("unable to validate machine '%s': %w", name, err)
	}
	s.info("machine '%s' validated successfully", name)
	return nil
}

// MachinesAdd adds a validated machine and writes the credentials it logs in with.
type MachinesAdd struct {
	Name        []string `arg:"" optional:"" help:"Name of the machine (default with --auto: made from this host's id)."`
	Auto        bool     `short:"a" help:"Make a password, and a name if none is given."`
	Password    string   `short:"p" help:"Password, at most 72 bytes."`
	Interactive bool     `short:"i" help:"Ask for the password."`
	URL         string   `short:"u" name:"url" help:"URL of the LAPI to write with the credentials."`
	File        string   `short:"f" help:"Where to write the credentials; -: to stderr."`
	Force       bool     `help:"Replace a machine of this name, and the file."`
}

// Run adds. All that can be refused is refused before an account is touched.
func (c *MachinesAdd) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	if len(c.Name) > 1 {
		return &usageError{fmt.Sprintf("accepts at most 1 arg(s), received %d", len(c.Name))}
	}
	name := ""
	switch {
	case len(c.Name) == 1 && c.Name[0] != "":
		name = c.Name[0]
	case !c.Auto:
		return &usageError{"please specify a machine name to add, or use --auto"}
	default:
		name = config.NewMachineID()
	}
	dest := first(c.File, s.credentialsPath)
	if _, err := os.Stat(dest); c.File == "" && !c.Force && !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return fmt.Errorf("cannot look for the credentials file: %w", err)
		}
		return fmt.Errorf(`credentials file '%s' already exists: please remove it, use "--force" or specify a different file with "-f" ("-f -" for standard output)`, dest)
	}
	password, err := c.password(env)
	if err != nil {
		return err
	}
	err = s.admin(ctx, mayCreate, func(a *api.Admin) error { return a.AddMachine(ctx, name, password, c.Force) })
	switch {
	case errors.Is(err, api.ErrExists):
		return fmt.Errorf("unable to create machine: user '%s': user already exist", name)
	case err != nil:
		return fmt.Errorf("unable to create machine: %w", err)
	}
	s.info("Machine '%s' successfully added to the local API.", name)

	cred := config.Credentials{URL: first(c.URL, s.lapiURL()), Login: name, Password: password}
	if dest == "-" {
		// On stderr, as upstream does, although its help says otherwise.
		_, err := fmt.Fprintf(env.Stderr, "%s\n", cred.Text())
		return err
	}
	if err := cred.Write(dest); err != nil {
		return err
	}
	s.info("API credentials written to '%s'.", dest)
	return nil
}

// password returns the one given, asked for or made.
func (c *MachinesAdd) password(env *platform.Env) (string, error) {
	switch {
	case c.Password != "" || c.Interactive:
		pass := c.Password
		if c.Interactive {
			var err error
			if pass, err = askPassword(env.Stdin, env.Stderr); err != nil {
				return "", err
			}
		}
		if len(pass) > maxPassword {
			return "", fmt.Errorf("password too long (max %d characters)", maxPassword)
		}
		return pass, nil
	case c.Auto:
		return config.NewPassword(), nil
	}
	return "", &usageError{"please specify a password with --password or use --auto"}
}

// askPassword reads one line.
func askPassword(in io.Reader, prompt io.Writer) (string, error) {
	fmt.Fprint(prompt, "Please provide a password for the machine: ")
	restore := hideInput(in)
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	restore()
	fmt.Fprintln(prompt)
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		if err == nil || err == io.EOF {
			err = errors.New("it is empty")
		}
		return "", fmt.Errorf("cannot read the password: %w", err)
	}
	return line, nil
}

// lapiURL is where machines of this host find the LAPI: what the existing
// credentials say, else where it listens.
func (s *session) lapiURL() string {
	if old, err := config.ReadCredentials(s.credentialsPath, s.env.LookupEnv); err == nil {
		return old.URL
	}
	return s.file.LAPIURL()
}

// MachinesDelete deletes machines; their alerts stay.
type MachinesDelete struct {
	Name          []string `arg:"" optional:"" help:"Names of machines."`
	IgnoreMissing bool     `help:"Unknown names are not reported."`
}

// Run deletes. An unknown name is reported but, unlike with bouncers, fails
// nothing: scripts rely on it.
func (c *MachinesDelete) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	if err := atLeastOne(c.Name); err != nil {
		return err
	}
	return s.admin(ctx, mustExist, func(a *api.Admin) error {
		for _, name := range c.Name {
			switch err := a.DeleteMachine(ctx, name); {
			case err == nil:
				s.info("machine '%s' deleted successfully", name)
			case errors.Is(err, api.ErrNotFound) && c.IgnoreMissing:
			case errors.Is(err, api.ErrNotFound):
				s.problem("unable to delete machine: '%s' does not exist", name)
			default:
				return fmt.Errorf("unable to delete machine: %w", err)
			}
		}
		return nil
	})
}

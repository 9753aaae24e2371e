package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"cs/platform"
	"cs/roles/api"
	"cs/roles/config"
	"cs/storage"
)

// A session is what every command works with: where to print and where to look.
type session struct {
	*printer
	file            *config.File
	env             *platform.Env
	now             func() time.Time
	socket          string // of the LAPI of this host
	credentialsPath string // of this host's account at a LAPI
	offline         Offline
	flags           *config.Flags
}

// open reads the configuration and checks the flags of all commands.
func open(env *platform.Env, g *Globals) (*session, error) {
	file, err := g.Load(env)
	if err != nil {
		return nil, globalError{err}
	}
	p, err := newPrinter(env.Stdout, env.Stderr, g, &file.Cscli)
	if err != nil {
		return nil, err
	}
	s := &session{printer: p, file: file, env: env, now: g.Now, socket: file.SocketPath(), credentialsPath: file.CredentialsPath(), offline: g.Offline, flags: &g.Flags}
	if s.now == nil {
		s.now = time.Now
	}
	if env.Program == "cscli" { // who calls us otherwise doesn't go by upstream's rules
		for _, w := range file.Warnings() {
			s.warn("%s", w)
		}
	}
	return s, nil
}

// command is a command of ours ("cs decisions list") as it is to be typed here:
// under our name, and with the configuration of this call.
func (s *session) command(text string) string {
	words := []string{s.env.Program}
	for _, f := range []struct{ flag, value, variable string }{
		{"-c", s.flags.Config, "CS_CONFIG_FILE"}, {"--data-dir", s.flags.DataDir, "CS_DATA_DIR"},
	} {
		if set, _ := s.env.LookupEnv(f.variable); f.value != set { // a variable stays set
			words = append(words, f.flag, quoted(f.value))
		}
	}
	return strings.Join(append(words, strings.TrimPrefix(text, "cs ")), " ")
}

// quoted is a word for a shell.
func quoted(word string) string {
	if word != "" && !strings.ContainsFunc(word, needsQuotes) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// lapi is a client of the LAPI and who it is there.
type lapi struct {
	*api.Client
	cred  config.Credentials
	file  string // of the credentials; "" when none are needed
	close func() error
}

// done ends the use of a LAPI. In this process it closes the store: err gets
// its error unless it has one.
func (l *lapi) done(err *error) {
	l.Close()
	if l.close != nil {
		*err = errors.Join(*err, l.close())
	}
}

// lapi returns a client with this host's credentials, or without any over the
// socket of the LAPI that runs here, or on its store if none runs. Call done.
func (s *session) lapi(ctx context.Context) (*lapi, error) {
	l, err := s.runningLAPI(ctx)
	if err == nil || !errors.Is(err, api.ErrUnreachable) || s.file.API.Client.CredentialsPath != "" || !s.file.ServesLAPI() {
		return l, err
	}
	if _, serr := os.Stat(s.storePath()); serr != nil {
		return nil, err
	}
	admin, end, err := s.offlineLAPI(ctx)
	if err != nil {
		return nil, err
	}
	c, err := admin.Client(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("loading api client: %w", apiError(err)), end())
	}
	return &lapi{c, config.Credentials{URL: s.storePath(), Login: api.SocketMachine}, "", end}, nil
}

// runningLAPI is lapi, but for the store.
func (s *session) runningLAPI(ctx context.Context) (*lapi, error) {
	cred, err := config.ReadCredentials(s.credentialsPath, s.env.LookupEnv)
	switch {
	case err == nil:
		c, err := api.NewClient(cred.Client(s.env.Version, s.file.API.Client.InsecureSkipVerify))
		if err != nil {
			return nil, fmt.Errorf("loading api client: %w", err)
		}
		return &lapi{c, cred, s.credentialsPath, nil}, nil
	case errors.Is(err, config.ErrNoCredentials): // in the words that scripts match on
		return nil, fmt.Errorf("loading api client: no credentials or URL found in api client configuration '%s': %w", s.credentialsPath, err)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("loading api client: %w", err)
	}
	c, serr := api.NewAdmin(s.socket).Client(ctx)
	switch {
	case errors.Is(serr, api.ErrUnreachable) && s.file.API.Client.CredentialsPath != "":
		return nil, fmt.Errorf("loading api client: while reading yaml file: %w", pathError(err))
	case errors.Is(serr, api.ErrUnreachable):
		return nil, fmt.Errorf("no local API listens on %s, and there are no credentials for another one in %s (get some with 'cs register --lapi-url URL'): %w",
			s.socket, s.credentialsPath, serr)
	case serr != nil:
		return nil, fmt.Errorf("loading api client: %w", apiError(serr))
	}
	return &lapi{c, config.Credentials{URL: s.socket, Login: api.SocketMachine}, "", nil}, nil
}

// pathError leaves of an error about a file what the system said.
func pathError(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p
	}
	return err
}

// apiError puts the server's own words forward, as scripts know them; other
// errors stay as they are.
func apiError(err error) error {
	var said *api.Error
	if errors.As(err, &said) && said.Message != "" {
		return fmt.Errorf("API error: %s", said.Message)
	}
	return err
}

// Whether a command may make the store: it may if it adds something.
const (
	mustExist = false
	mayCreate = true
)

// admin calls f with this host's LAPI: with the process that runs, or else with
// one that is opened on its store for as long as f takes; never with both.
func (s *session) admin(ctx context.Context, create bool, f func(*api.Admin) error) (err error) {
	if !s.file.ServesLAPI() {
		s.warn("crowdsec local API is disabled")
		return errNoServer
	}
	if running, err := listens(ctx, s.socket); err != nil {
		return err
	} else if running {
		return f(api.NewAdmin(s.socket))
	}
	path := s.storePath()
	if _, err := os.Stat(path); !create && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: nothing listens on %s and there is no %s", errNoServer, s.socket, path)
	}
	admin, end, err := s.offlineLAPI(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	return f(admin)
}

// offlineLAPI opens the server of this host on its store.
func (s *session) offlineLAPI(ctx context.Context) (*api.Admin, func() error, error) {
	handler, end, err := s.offline(ctx, s.env, s.file, s.now)
	switch {
	case errors.Is(err, storage.ErrLocked) && runtime.GOOS == "windows":
		return nil, nil, fmt.Errorf("%w: the local API runs; stop it first, on Windows it has no socket to ask it by", err)
	case errors.Is(err, storage.ErrLocked):
		return nil, nil, fmt.Errorf("%w, but its socket %s does not answer", err, s.socket)
	case err != nil:
		return nil, nil, err
	}
	return api.NewInProcess(handler), end, nil
}

// storePath is where the LAPI of this host keeps what it knows.
func (s *session) storePath() string { return filepath.Join(s.file.DataDir(), config.StoreName) }

var (
	errNoServer = errors.New("local API is disabled -- this command must be run on the local API machine")
	errNoRaw    = errors.New("output format 'raw' not supported for this command")
)

// listens tells whether a process listens on a unix socket. Not being allowed
// to know is an error.
func listens(ctx context.Context, socket string) (bool, error) {
	dial := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dial.DialContext(ctx, "unix", socket)
	switch {
	case err == nil:
		conn.Close()
		return true, nil
	case errors.Is(err, fs.ErrPermission):
		return false, fmt.Errorf("cannot reach the local API: %w", err)
	case ctx.Err() != nil:
		return false, ctx.Err()
	}
	return false, nil
}

// openFor opens a session for a command about one thing, whose name is the
// only argument.
func openFor(env *platform.Env, g *Globals, args []string) (*session, string, error) {
	s, err := open(env, g)
	if err != nil {
		return nil, "", err
	}
	name, err := exactlyOne(args)
	return s, name, err
}

// exactlyOne returns the only argument.
func exactlyOne(args []string) (string, error) {
	if len(args) != 1 {
		return "", &usageError{fmt.Sprintf("accepts 1 arg(s), received %d", len(args))}
	}
	if args[0] == "" {
		return "", &usageError{"the name is empty"}
	}
	return args[0], nil
}

// atLeastOne refuses an empty list of arguments.
func atLeastOne(args []string) error {
	if len(args) == 0 {
		return &usageError{"requires at least 1 arg(s), only received 0"}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

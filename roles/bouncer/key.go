package bouncer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"cs/decisions"
	"cs/platform"
	"cs/roles/api"
)

// keyName is the file of the API key in the data directory.
const keyName = "bouncer.key"

// errNoKey: there is neither a key nor a token to get one with.
var errNoKey = errors.New("no API key: give --api-key, or --token to get one from the LAPI")

// remote is a Feed over the wire. It connects when Next is first called, so
// that a LAPI that is away is met by the bouncer's patience: without an API
// key it asks for one with the token, and keeps it in a file that only we may read.
type remote struct {
	// Client is how the LAPI is reached. An APIKey in it is used as it is.
	Client api.ClientConfig
	Stream api.StreamConfig
	// Token of the LAPI's auto-registration; may be empty.
	Token string
	// Name to register under; empty makes one of the host's name.
	Name string
	// KeyPath is the file that keeps the key.
	KeyPath string

	stream *api.Stream
	stored bool // the key is the file's

	mu     sync.Mutex // held for client: reports are made beside the stream
	client *api.Client
}

// checkKey tells whether there is a key, or a way to get one.
func (f *remote) checkKey() error {
	if f.Client.APIKey != "" || f.Token != "" || f.Client.CertFile != "" {
		return nil
	}
	if _, err := readKey(f.KeyPath); err != nil {
		return errNoKey
	}
	return nil
}

// Next is api.Stream's, after connecting.
func (f *remote) Next(ctx context.Context) (decisions.Delta, error) {
	if f.stream == nil {
		if err := f.connect(ctx); err != nil {
			return decisions.Delta{}, err
		}
	}
	d, err := f.stream.Next(ctx)
	if errors.Is(err, api.ErrDenied) && f.stored && f.Token != "" {
		// The LAPI has forgotten the key that it gave us, as after a
		// reinstallation. Ask for another one.
		f.forget()
		if rerr := os.Remove(f.KeyPath); rerr != nil {
			err = errors.Join(err, rerr)
		}
	}
	return d, err
}

// Resync makes the next answer the whole set.
func (f *remote) Resync() {
	if f.stream != nil {
		f.stream.Resync()
	}
}

// Report tells the LAPI what was done, if we have reached it yet.
func (f *remote) Report(ctx context.Context, report api.ComponentMetrics) error {
	f.mu.Lock()
	c := f.client
	f.mu.Unlock()
	if c == nil {
		return errors.New("the LAPI has not been reached yet")
	}
	return c.ReportBouncer(ctx, report)
}

func (f *remote) forget() {
	f.setClient(nil).Close()
	f.stream, f.stored = nil, false
}

// setClient replaces the client and returns the one before.
func (f *remote) setClient(c *api.Client) (before *api.Client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, f.client = f.client, c
	return before
}

func (f *remote) connect(ctx context.Context) error {
	cfg := f.Client
	f.stored = false
	if cfg.APIKey == "" && cfg.CertFile == "" {
		key, err := readKey(f.KeyPath)
		if errors.Is(err, fs.ErrNotExist) {
			key, err = f.register(ctx)
		}
		if err != nil {
			return err
		}
		cfg.APIKey, f.stored = key, true
	}
	c, err := api.NewClient(cfg)
	if err != nil {
		return err
	}
	f.setClient(c)
	f.stream = c.Stream(f.Stream)
	return nil
}

// register gets a key with the token and stores it.
func (f *remote) register(ctx context.Context) (string, error) {
	if f.Token == "" {
		return "", errNoKey
	}
	c, err := api.NewClient(f.Client)
	if err != nil {
		return "", err
	}
	defer c.Close()
	name := f.Name
	if name == "" {
		name = defaultName()
	}
	key, err := c.RegisterBouncer(ctx, name, f.Token)
	if errors.Is(err, api.ErrExists) && f.Name == "" {
		// Another host of that name, or this one before it lost its key.
		key, err = c.RegisterBouncer(ctx, name+"-"+strings.ToLower(rand.Text()[:6]), f.Token)
	}
	if err != nil {
		return "", err
	}
	if err := platform.MakeDir(filepath.Dir(f.KeyPath)); err != nil {
		return "", fmt.Errorf("cannot keep the API key: %w", err)
	}
	if err := platform.WriteFile(f.KeyPath, []byte(key+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("cannot keep the API key: %w", err)
	}
	return key, nil
}

// defaultName is the name that a bouncer registers under.
func defaultName() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	return "firewall-" + host
}

func readKey(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cannot read the API key: %w", err)
	}
	key := strings.TrimSpace(string(b))
	if key == "" {
		return "", fmt.Errorf("cannot read the API key: %s is empty: %w", path, fs.ErrNotExist)
	}
	return key, nil
}

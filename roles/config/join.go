package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"cs/platform"
	"cs/roles/api"
)

// Joining a LAPI as a machine. An agent that does it by itself writes the
// credentials before it announces them: a crash between the two leaves an
// account that can be announced again, not one whose password nobody knows.
// "cs register" announces first: what was there stays good until the LAPI has
// taken the new ones.

// NewCredentials makes up a password, and a name unless one is given.
func NewCredentials(url, machine string) (Credentials, error) {
	url, err := normalURL(url)
	if err != nil {
		return Credentials{}, err
	}
	if machine == "" {
		machine = NewMachineName()
	}
	return Credentials{URL: url, Login: machine, Password: NewPassword()}, nil
}

// EnsureCredentials reads the file at path, or makes up credentials for the
// LAPI at url and writes them there; made tells which. A url that is given
// replaces that of the file, for this call only.
func EnsureCredentials(path, url, machine string, env func(string) (string, bool)) (c Credentials, made bool, err error) {
	c, err = ReadCredentials(path, env)
	switch {
	case err == nil && url == "":
		return c, false, nil
	case err == nil:
		c.URL, err = normalURL(url)
		return c, false, err
	case !errors.Is(err, fs.ErrNotExist):
		return Credentials{}, false, err
	}
	if c, err = NewCredentials(url, machine); err != nil {
		return Credentials{}, false, err
	}
	return c, true, c.Keep(path)
}

// Keep writes the file, in a directory that is made if it isn't there.
func (c Credentials) Keep(path string) error {
	if err := platform.MakeDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("cannot keep the credentials: %w", err)
	}
	return c.Write(path)
}

// Client returns what reaches the LAPI with the credentials. version is that
// of this program; insecure believes any certificate.
func (c Credentials) Client(version string, insecure bool) api.ClientConfig {
	return api.ClientConfig{
		URL: c.URL, MachineID: c.Login, Password: c.Password,
		CACert: c.CACertPath, CertFile: c.CertPath, KeyFile: c.KeyPath, InsecureSkipVerify: insecure,
		UserAgent: api.UserAgent(version),
	}
}

// Announce registers the account at the LAPI. validated is false if an
// operator has to let it in.
func (c Credentials) Announce(ctx context.Context, client *api.Client, token string) (validated bool, err error) {
	return client.Register(ctx, c.Login, c.Password, token)
}

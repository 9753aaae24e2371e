package config

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"

	"cs/platform"
	"cs/roles/api"
)

// CredentialsName is the file of a machine's credentials in its data
// directory.
const CredentialsName = "local_api_credentials.yaml"

// Joining a LAPI as a machine: credentials are made up and written first, and
// then announced to the LAPI. So a crash between the two leaves an account
// that can be announced again, not one whose password nobody knows.

// NewCredentials makes up a password, and a name unless one is given.
func NewCredentials(url, machine string) (Credentials, error) {
	url, err := NormalURL(url)
	if err != nil {
		return Credentials{}, err
	}
	if machine == "" {
		machine = NewMachineName()
	}
	return Credentials{URL: url, Login: machine, Password: randomText(64)}, nil
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
		c.URL, err = NormalURL(url)
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

// Client returns what reaches the LAPI with the credentials.
func (c Credentials) Client() api.ClientConfig {
	return api.ClientConfig{
		URL: c.URL, MachineID: c.Login, Password: c.Password,
		CACert: c.CACertPath, CertFile: c.CertPath, KeyFile: c.KeyPath,
	}
}

// Announce registers the account at the LAPI. validated is false if an
// operator has to let it in.
func (c Credentials) Announce(ctx context.Context, client *api.Client, token string) (validated bool, err error) {
	return client.Register(ctx, c.Login, c.Password, token)
}

// NewMachineName makes a name from the host's, with a random end so that no
// two machines have the same.
func NewMachineName() string {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	host = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.', r == '_':
			return r
		}
		return -1
	}, host)
	if host == "" {
		host = "machine"
	}
	return host[:min(len(host), 63)] + "-" + randomText(16)
}

// randomText returns n letters and digits.
func randomText(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			panic("BUG: crypto/rand gives nothing: " + err.Error()) // it never does
		}
		b[i] = alphabet[k.Int64()]
	}
	return string(b)
}

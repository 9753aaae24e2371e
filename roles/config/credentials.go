package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cs/platform"
	"cs/platform/strict"
)

// Credentials is local_api_credentials.yaml: where the LAPI of a machine is
// and how to log in, by password or by certificate.
type Credentials struct {
	URL        string `yaml:"url"`
	Login      string `yaml:"login"`
	Password   string `yaml:"password"`
	CACertPath string `yaml:"ca_cert_path"`
	CertPath   string `yaml:"cert_path"`
	KeyPath    string `yaml:"key_path"`
}

// ErrNoCredentials is in errors about a file that doesn't say enough to log in.
var ErrNoCredentials = errors.New("credentials are incomplete")

// ReadCredentials reads and checks the file, with its ".local" overlay; the
// URL comes back normalised. It is fs.ErrNotExist if there is none.
func ReadCredentials(path string, env func(string) (string, bool)) (Credentials, error) {
	var c Credentials
	if err := load(path, env, &c); err != nil {
		return Credentials{}, err
	}
	if err := c.check(); err != nil {
		return Credentials{}, fmt.Errorf("cannot use the credentials in %s: %w", path, err)
	}
	return c, nil
}

func (c *Credentials) check() (err error) {
	if c.URL == "" {
		return fmt.Errorf("url is missing: %w", ErrNoCredentials)
	}
	if c.URL, err = normalURL(c.URL); err != nil {
		return err
	}
	certificate := c.CertPath != "" || c.KeyPath != ""
	switch {
	case strings.HasPrefix(c.URL, "/") && (certificate || c.CACertPath != ""):
		return errors.New("cannot use TLS with a unix socket")
	case certificate && c.Login != "":
		return errors.New("user/password authentication and TLS authentication are mutually exclusive")
	case (c.CertPath == "") != (c.KeyPath == ""):
		return errors.New("cert_path and key_path go together")
	case !certificate && c.Login == "":
		return fmt.Errorf("there is neither a login nor a certificate: %w", ErrNoCredentials)
	}
	return nil
}

// LeadTo tells whether the credentials are for a LAPI of this host. It is false
// for one that is here under a name which only others know.
func (c Credentials) LeadTo(l *LAPI) bool {
	if strings.HasPrefix(c.URL, "/") {
		path := filepath.Clean(c.URL)
		return path == filepath.Clean(l.Socket) || path == filepath.Clean(l.AdminSocket)
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return false
	}
	_, port, _ := net.SplitHostPort(l.Listen)
	if port != cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme]) {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		own, _ := os.Hostname()
		return strings.EqualFold(u.Hostname(), "localhost") || strings.EqualFold(u.Hostname(), own)
	}
	if ip = ip.Unmap(); ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	own, _ := net.InterfaceAddrs() // without them it is somebody else's
	return slices.ContainsFunc(own, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Unmap() == ip
	})
}

// Text returns the file.
func (c Credentials) Text() []byte {
	var b bytes.Buffer
	for _, line := range []struct{ key, value string }{
		{"url", c.URL}, {"login", c.Login}, {"password", c.Password},
		{"ca_cert_path", c.CACertPath}, {"cert_path", c.CertPath}, {"key_path", c.KeyPath},
	} {
		if line.value != "" {
			fmt.Fprintf(&b, "%s: %s\n", line.key, strict.Scalar(line.value))
		}
	}
	return b.Bytes()
}

// Write writes the file for its owner only. What path links to is replaced,
// not the link, and a device or pipe is written to: containers say
// "-f /dev/stdout".
func (c Credentials) Write(path string) error {
	text := c.Text()
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if info, err := os.Stat(path); err == nil && info.Mode()&(fs.ModeDevice|fs.ModeNamedPipe) != 0 {
		return appendTo(path, text)
	}
	return platform.WriteFile(path, text, 0o600)
}

func appendTo(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot write credentials: %w", err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write credentials to %s: %w", path, err)
	}
	return nil
}

// normalURL brings the address of a LAPI into the form that clients need: a
// path that begins with "/" is a unix socket and stays; anything else is a
// URL that ends in a slash, http if it doesn't say.
func normalURL(s string) (string, error) {
	if strings.HasPrefix(s, "/") {
		return s, nil
	}
	full := s
	if !strings.Contains(full, "://") {
		full = "http://" + full
	}
	u, err := url.Parse(full)
	switch {
	case err != nil:
		var wrong *url.Error
		if strings.Contains(full, "@") || !errors.As(err, &wrong) {
			return "", errors.New("the address of the LAPI is no URL") // its own text would repeat a password
		}
		return "", fmt.Errorf("parse %q: %w", strings.TrimSuffix(full, "/")+"/", wrong.Err)
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("the address of the LAPI begins with %q; want http, https, or a path for a socket", u.Scheme)
	case u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("the address of the LAPI, %q, is not like http://host:8080/", u.Redacted())
	}
	if !strings.HasSuffix(full, "/") {
		full += "/"
	}
	return full, nil
}

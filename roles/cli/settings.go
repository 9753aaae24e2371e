package cli

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/goccy/go-yaml"

	"cs/platform"
	"cs/platform/strict"
)

// settings is the part of config.yaml that operators' commands need. Whether
// the rest of the file is right is checked by those who use it.
type settings struct {
	Cscli struct {
		Output string `yaml:"output"`
		Color  string `yaml:"color"`
	} `yaml:"cscli"`
	ConfigPaths struct {
		DataDir string `yaml:"data_dir"`
	} `yaml:"config_paths"`
	API struct {
		Client struct {
			CredentialsPath    string `yaml:"credentials_path"`
			InsecureSkipVerify bool   `yaml:"insecure_skip_verify"`
		} `yaml:"client"`
		Server struct {
			Enable       *bool  `yaml:"enable"`
			ListenURI    string `yaml:"listen_uri"`
			ListenSocket string `yaml:"listen_socket"`
		} `yaml:"server"`
	} `yaml:"api"`
}

// readSettings reads the file that was named. Without a name, upstream's
// default is read if there is one and we were called by upstream's name.
func readSettings(path, program string) (settings, error) {
	var conf settings
	wanted := path != ""
	if !wanted {
		if program != "cscli" {
			return conf, nil
		}
		path = upstreamConfig()
	}
	text, err := os.ReadFile(path)
	if !wanted && errors.Is(err, fs.ErrNotExist) {
		return conf, nil
	}
	if err != nil {
		return conf, globalError{fmt.Errorf("while reading yaml file: %w", err)}
	}
	if err := yaml.Unmarshal(expandEnv(text), &conf); err != nil {
		return conf, globalError{fmt.Errorf("cannot read configuration %s: %w", path, err)}
	}
	return conf, nil
}

func upstreamConfig() string {
	switch runtime.GOOS {
	case "windows":
		return `C:\ProgramData\CrowdSec\config\config.yaml`
	case "freebsd":
		return "/usr/local/etc/crowdsec/config.yaml"
	}
	return "/etc/crowdsec/config.yaml"
}

var variable = regexp.MustCompile(`\$(?:\{(\w+)\}|(\w+))`)

// expandEnv replaces $NAME and ${NAME} where such a variable exists; any
// other dollar stays, because passwords hold some.
func expandEnv(text []byte) []byte {
	return variable.ReplaceAllFunc(text, func(word []byte) []byte {
		if value, ok := os.LookupEnv(strings.Trim(string(word), "${}")); ok {
			return []byte(value)
		}
		return word
	})
}

// credentials is the file local_api_credentials.yaml.
type credentials struct {
	URL        string `yaml:"url"`
	Login      string `yaml:"login"`
	Password   string `yaml:"password"`
	CACertPath string `yaml:"ca_cert_path"`
	CertPath   string `yaml:"cert_path"`
	KeyPath    string `yaml:"key_path"`
}

// readCredentials reads and checks the file; the error is fs.ErrNotExist when
// there is none.
func readCredentials(path string) (credentials, error) {
	var c credentials
	text, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("while reading yaml file: %w", err)
	}
	docs, err := strict.Parse(path, expandEnv(text))
	if err == nil && len(docs) > 0 {
		err = docs[0].Decode(&c)
	}
	if err != nil {
		return c, fmt.Errorf("cannot read the credentials: %w", err)
	}
	if strings.HasPrefix(c.URL, "http") && !strings.HasSuffix(c.URL, "/") {
		c.URL += "/"
	}
	switch {
	case c.URL == "" || c.Login == "" && c.CertPath == "":
		return c, fmt.Errorf("no credentials or URL found in api client configuration '%s'", path)
	case c.Login != "" && c.CertPath != "":
		return c, errors.New("user/password authentication and TLS authentication are mutually exclusive")
	}
	return c, nil
}

// yaml returns the text of the file of a machine with a password.
func (c credentials) yaml() []byte {
	return []byte("url: " + scalar(c.URL) + "\nlogin: " + scalar(c.Login) + "\npassword: " + scalar(c.Password) + "\n")
}

var plainScalar = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9._/@-]*$|^https?://[^\s"'#]+[^\s"'#:]$`)

// scalar writes a text so that every YAML reader takes it for this text:
// quoted as JSON is, unless there is no doubt.
func scalar(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "y", "n", "null":
	default:
		if plainScalar.MatchString(s) {
			return s
		}
	}
	text, _ := json.Marshal(s) // a string: it can't fail
	return string(text)
}

// writeCredentials writes the file for its owner only. A device or a pipe is
// written to, not replaced: containers say "-f /dev/null".
func writeCredentials(path string, text []byte) error {
	if at, err := filepath.EvalSymlinks(path); err == nil {
		path = at
	}
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("cannot write the credentials: %w", err)
		}
		_, err = f.Write(text)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("cannot write the credentials: %w", err)
		}
		return nil
	}
	return platform.WriteFile(path, text, 0o600)
}

// lapiURL is where machines of this host find the LAPI: what the existing
// credentials say, else where it listens.
func (s *session) lapiURL() string {
	if old, err := readCredentials(s.credentialsPath); err == nil {
		return old.URL
	}
	server := &s.API.Server
	if server.ListenSocket != "" {
		return server.ListenSocket
	}
	return "http://" + reachable(first(server.ListenURI, "127.0.0.1:8080"))
}

// reachable replaces an address that means "all of this host's", which can be
// listened on but not connected to everywhere, by the loopback one.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return listen
}

const alphanumerics = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// randomText returns n random letters and digits.
func randomText(n int) string {
	text, b := make([]byte, 0, n), make([]byte, 1)
	for len(text) < n {
		rand.Read(b) // never fails, says its documentation
		// 248 is the greatest multiple of 62 in a byte: each character is as likely.
		if b[0] < 248 {
			text = append(text, alphanumerics[b[0]%62])
		}
	}
	return string(text)
}

// newPassword returns what a machine logs in with when nobody chose a
// password: 64 alphanumerics.
func newPassword() string { return randomText(64) }

// newMachineID returns a name that tells this host apart and is not used yet:
// its machine id and 16 random alphanumerics.
func newMachineID() string {
	text, _ := os.ReadFile("/etc/machine-id") // where there is none, a random one does
	id := strings.ReplaceAll(strings.TrimSpace(string(text)), "-", "")
	if len(id) < 32 || strings.ContainsFunc(id, needsQuotes) {
		id = strings.ReplaceAll(newUUID(), "-", "")
	}
	return id[:32] + randomText(16)
}

// newUUID returns a random UUID (RFC 9562, version 4).
func newUUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

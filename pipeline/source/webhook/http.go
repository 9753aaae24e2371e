package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"cs/pipeline/source"
)

// Keys are those of an acquisition of source http (spec engine §7).
type Keys struct {
	ListenAddr   string `yaml:"listen_addr"`
	ListenSocket string `yaml:"listen_socket"`
	Path         string `yaml:"path"`
	AuthType     string `yaml:"auth_type"` // basic_auth, headers, mtls
	BasicAuth    struct {
		Username string `yaml:"username"`
		Password string `yaml:"password"`
	} `yaml:"basic_auth"`
	Headers          map[string]string `yaml:"headers"` // a request must have them all
	TLS              source.ServerTLS  `yaml:"tls"`
	CustomStatusCode int               `yaml:"custom_status_code"`
	CustomHeaders    map[string]string `yaml:"custom_headers"`
	MaxBodySize      int64             `yaml:"max_body_size"`
	Timeout          time.Duration     `yaml:"timeout"`
}

// HTTP makes sources of acquisitions of source http.
var HTTP = source.Kind{Open: openHTTP, Tail: true}

type receiver struct {
	server
	keys Keys
}

func openHTTP(spec *source.Spec) (source.Source, error) {
	k := Keys{Path: "/", CustomStatusCode: http.StatusOK, MaxBodySize: defaultBody, Timeout: defaultTimeout}
	if err := spec.Decode(&k, nil); err != nil {
		return nil, err
	}
	if k.ListenAddr == "" && k.ListenSocket == "" {
		return nil, spec.Errorf("listen_addr", "there is none, and no listen_socket")
	}
	if _, _, err := net.SplitHostPort(k.ListenAddr); k.ListenAddr != "" && err != nil {
		return nil, spec.Errorf("listen_addr", "want HOST:PORT, not %q", k.ListenAddr)
	}
	if !strings.HasPrefix(k.Path, "/") {
		return nil, spec.Errorf("path", "%q doesn't begin with /", k.Path)
	}
	if (k.TLS.ServerCert == "") != (k.TLS.ServerKey == "") {
		return nil, spec.Errorf("tls", "server_cert and server_key belong together")
	}
	switch k.AuthType {
	case "basic_auth":
		if k.BasicAuth.Username == "" || k.BasicAuth.Password == "" {
			return nil, spec.Errorf("basic_auth", "auth_type basic_auth needs basic_auth.username and basic_auth.password")
		}
	case "headers":
		if len(k.Headers) == 0 {
			return nil, spec.Errorf("headers", "auth_type headers needs headers")
		}
	case "mtls":
		if k.TLS.ServerCert == "" || k.TLS.CACert == "" {
			return nil, spec.Errorf("tls", "auth_type mtls needs tls.server_cert, tls.server_key and tls.ca_cert")
		}
	case "":
		return nil, spec.Errorf("auth_type", "there is none; want basic_auth, headers or mtls")
	default:
		return nil, spec.Errorf("auth_type", "want basic_auth, headers or mtls, not %q", k.AuthType)
	}
	if k.CustomStatusCode < 200 || k.CustomStatusCode > 599 {
		return nil, spec.Errorf("custom_status_code", "want a status from 200 to 599, not %d", k.CustomStatusCode)
	}
	if k.MaxBodySize < 1 {
		return nil, spec.Errorf("max_body_size", "want a number of bytes, not %d", k.MaxBodySize)
	}
	if k.Timeout <= 0 {
		return nil, spec.Errorf("timeout", "want a duration, not %v", k.Timeout)
	}
	r := &receiver{keys: k, server: server{
		spec: spec, name: "http " + strings.TrimSpace(k.ListenAddr+" "+k.ListenSocket) + " " + k.Path, addr: k.ListenAddr, socket: k.ListenSocket, tls: k.TLS,
		body: k.MaxBodySize, timeout: k.Timeout, trouble: source.NewThrottle(spec.Report),
	}}
	if k.AuthType != "mtls" {
		r.tls.CACert = "" // certificates of clients are asked for by mtls alone
	}
	r.serve = r.request
	return r, nil
}

func (s *receiver) request(ctx context.Context, w http.ResponseWriter, r *http.Request, out source.Sink) {
	switch {
	case r.URL.Path != s.keys.Path:
		http.NotFound(w, r)
		return
	case !s.admits(r):
		s.trouble.Report(fmt.Errorf("a request from %s is refused: it doesn't show what %s asks for", s.sender(r), s.keys.AuthType))
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		return // 200
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if err := s.read(ctx, r, out); err != nil {
		refuse(w, err)
		return
	}
	for name, value := range s.keys.CustomHeaders {
		w.Header().Set(name, value)
	}
	w.WriteHeader(s.keys.CustomStatusCode)
}

// admits tells whether a request shows what auth_type asks for.
func (s *receiver) admits(r *http.Request) bool {
	switch s.keys.AuthType {
	case "basic_auth":
		user, password, ok := r.BasicAuth()
		return ok && same(user, s.keys.BasicAuth.Username) && same(password, s.keys.BasicAuth.Password)
	case "headers":
		for name, value := range s.keys.Headers {
			if !same(r.Header.Get(name), value) {
				return false
			}
		}
		return true
	}
	return r.TLS != nil && len(r.TLS.VerifiedChains) > 0
}

// same compares secrets in a time that tells nothing of them.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// read delivers each JSON value of a body as a line. Those before an error count.
func (s *receiver) read(ctx context.Context, r *http.Request, out source.Sink) error {
	body, err := s.content(r)
	if err != nil {
		return err
	}
	b := source.NewBatch(s.spec.Line(s.sender(r)), int(min(s.body, 1<<30)), s.spec.Meter)
	deliver := func() error { return b.Deliver(ctx, out, time.Now(), source.Nowhere) }
	for in := json.NewDecoder(body); ; {
		var value json.RawMessage
		err := in.Decode(&value)
		if err == io.EOF {
			return deliver()
		}
		if err != nil {
			if delivered := deliver(); delivered != nil {
				return delivered
			}
			return fmt.Errorf("cannot read JSON: %w", err)
		}
		b.Text = append(b.Text, bytes.TrimSpace(value)...)
		b.End("", time.Time{})
		if b.Full() {
			if err := deliver(); err != nil {
				return err
			}
		}
	}
}

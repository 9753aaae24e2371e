package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"cs/roles/lapi/auth/authtest"
)

// port is a server's TLS with a clock.
type port struct {
	*TLS
	ca     *authtest.CA
	server authtest.Pair
	conf   TLSConfig

	mu     sync.Mutex
	now    time.Time
	warned []error
}

func newPort(t *testing.T, change func(*port)) *port {
	t.Helper()
	s := &port{ca: authtest.NewCA(t, "site"), now: time.Now()}
	s.server = s.ca.Issue(t, authtest.Leaf{Name: "lapi", Server: true})
	s.conf = TLSConfig{
		CertFile: s.server.CertFile, KeyFile: s.server.KeyFile, ClientAuth: tls.VerifyClientCertIfGiven, CAFile: s.ca.File,
		AgentOUs: []string{"agent-ou", "both-ou"}, BouncerOUs: []string{"bouncer-ou", "both-ou"},
		Now: func() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.now },
		Warn: func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.warned = append(s.warned, err)
		},
	}
	if change != nil {
		change(s)
	}
	var err error
	if s.TLS, err = NewTLS(s.conf); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *port) later(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

func TestCertificates(t *testing.T) {
	s := newPort(t, nil)
	other := authtest.NewCA(t, "other")
	f := func(ca *authtest.CA, leaf authtest.Leaf, agent, bouncer error) {
		t.Helper()
		certs := []*x509.Certificate{ca.Issue(t, leaf).Cert}
		name, err := s.Agent(t.Context(), certs)
		if !errors.Is(err, agent) || (err == nil) != (name == leaf.Name && name != "") {
			t.Errorf("as an agent %q, %v; want %v", name, err, agent)
		}
		name, err = s.Bouncer(t.Context(), certs)
		if !errors.Is(err, bouncer) || (err == nil) != (name == leaf.Name && name != "") {
			t.Errorf("as a bouncer %q, %v; want %v", name, err, bouncer)
		}
	}
	f(s.ca, authtest.Leaf{Name: "a", OU: []string{"agent-ou"}}, nil, ErrOrganisation)
	f(s.ca, authtest.Leaf{Name: "b", OU: []string{"x", "bouncer-ou"}}, ErrOrganisation, nil)
	f(s.ca, authtest.Leaf{Name: "c", OU: []string{"both-ou"}}, nil, nil)
	f(s.ca, authtest.Leaf{Name: "d"}, ErrOrganisation, ErrOrganisation)
	f(s.ca, authtest.Leaf{OU: []string{"both-ou"}}, ErrUntrusted, ErrUntrusted)
	f(other, authtest.Leaf{Name: "a", OU: []string{"agent-ou"}}, ErrUntrusted, ErrUntrusted)
	f(s.ca, authtest.Leaf{Name: "a", OU: []string{"agent-ou"}, NotAfter: time.Now().Add(-time.Hour)}, ErrUntrusted, ErrUntrusted)
	f(s.ca, authtest.Leaf{Name: "a", OU: []string{"agent-ou"}, Server: true}, ErrUntrusted, ErrUntrusted)

	if _, err := s.Agent(t.Context(), nil); !errors.Is(err, ErrUntrusted) {
		t.Error(err)
	}
	// One that ends while the verdict about it would still hold.
	short := s.ca.Issue(t, authtest.Leaf{Name: "short", OU: []string{"agent-ou"}, NotAfter: time.Now().Add(time.Minute)})
	if _, err := s.Agent(t.Context(), []*x509.Certificate{short.Cert}); err != nil {
		t.Error(err)
	}
	s.later(2 * time.Minute)
	if _, err := s.Agent(t.Context(), []*x509.Certificate{short.Cert}); !errors.Is(err, ErrUntrusted) {
		t.Error(err)
	}
	// The clock is set back to where it isn't good yet: the verdict is of the future.
	early := s.ca.Issue(t, authtest.Leaf{Name: "early", OU: []string{"agent-ou"}})
	if _, err := s.Agent(t.Context(), []*x509.Certificate{early.Cert}); err != nil {
		t.Error(err)
	}
	s.later(-13 * time.Hour)
	if _, err := s.Agent(t.Context(), []*x509.Certificate{early.Cert}); !errors.Is(err, ErrUntrusted) {
		t.Error(err)
	}
}

func TestNobodyIsAllowedByDefault(t *testing.T) {
	s := newPort(t, func(s *port) { s.conf.AgentOUs = nil })
	_, err := s.Agent(t.Context(), []*x509.Certificate{s.ca.Issue(t, authtest.Leaf{Name: "a", OU: []string{"agent-ou"}}).Cert})
	if !errors.Is(err, ErrOrganisation) {
		t.Fatal(err)
	}
}

func TestRevocationLists(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crl.pem")
	var bad, good authtest.Pair
	s := newPort(t, func(s *port) {
		bad = s.ca.Issue(t, authtest.Leaf{Name: "bad", OU: []string{"agent-ou"}})
		good = s.ca.Issue(t, authtest.Leaf{Name: "good", OU: []string{"agent-ou"}})
		s.ca.WriteCRL(t, path, time.Now().Add(time.Hour))
		s.conf.CRLFile = path
	})
	f := func(p authtest.Pair, want error) {
		t.Helper()
		if _, err := s.Agent(t.Context(), []*x509.Certificate{p.Cert}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", p.Cert.Subject.CommonName, err, want)
		}
	}
	f(bad, nil)
	f(good, nil)
	// A list that nobody signed says nothing.
	authtest.NewCA(t, "site").WriteCRL(t, path, time.Now().Add(time.Hour), bad.Cert)
	s.later(2 * time.Second)
	f(bad, nil)
	// While running, and although the list is out of date.
	s.ca.WriteCRL(t, path, time.Now().Add(-time.Hour), bad.Cert)
	s.later(2 * time.Second)
	f(bad, ErrRevoked)
	f(good, nil)
	// What can't be read changes nothing, and is told once.
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.later(2 * time.Second)
		f(bad, ErrRevoked)
	}
	if len(s.warned) != 1 || !strings.Contains(s.warned[0].Error(), path) {
		t.Error(s.warned)
	}
	s.ca.WriteCRL(t, path, time.Now().Add(time.Hour), good.Cert)
	s.later(2 * time.Second)
	f(bad, nil)
	f(good, ErrRevoked)
}

func TestOCSP(t *testing.T) {
	s := newPort(t, func(s *port) { s.conf.CacheFor = time.Minute })
	responder := s.ca.NewResponder(t)
	issue := func(responders ...string) authtest.Pair {
		return s.ca.Issue(t, authtest.Leaf{Name: "a", OU: []string{"agent-ou"}, OCSP: responders})
	}
	f := func(p authtest.Pair, want error, asked int64) {
		t.Helper()
		before := responder.Asked.Load()
		if _, err := s.Agent(t.Context(), []*x509.Certificate{p.Cert}); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if n := responder.Asked.Load() - before; n != asked {
			t.Errorf("the responder was asked %d times, want %d", n, asked)
		}
	}
	good, bad, unknown := issue(responder.URL), issue(responder.URL), issue(responder.URL)
	responder.Say(good.Cert, ocsp.Good)
	responder.Say(bad.Cert, ocsp.Revoked)
	f(good, nil, 1)
	f(bad, ErrRevoked, 1)
	f(unknown, nil, 1)
	// Both answers hold for a while; that of one who doesn't know for a shorter one.
	f(good, nil, 0)
	f(bad, ErrRevoked, 0)
	f(unknown, nil, 0)
	s.later(unsureFor)
	f(unknown, nil, 1)
	responder.Say(good.Cert, ocsp.Revoked)
	f(good, nil, 0)
	s.later(time.Minute)
	f(good, ErrRevoked, 1)
	// A dead responder doesn't lock out, and another one is asked all the same.
	dead := issue("http://127.0.0.1:1/", responder.URL)
	f(dead, nil, 1)
	responder.Say(dead.Cert, ocsp.Revoked)
	s.later(unsureFor)
	f(dead, ErrRevoked, 1)
	// Who answers for another authority says nothing.
	stranger := authtest.NewCA(t, "stranger").NewResponder(t)
	lied := issue(stranger.URL)
	stranger.Say(lied.Cert, ocsp.Revoked)
	f(lied, nil, 0)
}

// TestOneAsksForAll lets many requests with one certificate come at once.
func TestOneAsksForAll(t *testing.T) {
	s := newPort(t, nil)
	responder := s.ca.NewResponder(t)
	p := s.ca.Issue(t, authtest.Leaf{Name: "a", OU: []string{"agent-ou"}, OCSP: []string{responder.URL}})
	responder.Say(p.Cert, ocsp.Good)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := s.Agent(t.Context(), []*x509.Certificate{p.Cert}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := responder.Asked.Load(); n != 1 {
		t.Errorf("the responder was asked %d times", n)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	q := s.ca.Issue(t, authtest.Leaf{Name: "b", OU: []string{"agent-ou"}, OCSP: []string{responder.URL}})
	responder.Say(q.Cert, ocsp.Good)
	s.Agent(ended, []*x509.Certificate{q.Cert}) // its client has gone: what was found out must be right all the same
	if _, err := s.Agent(t.Context(), []*x509.Certificate{q.Cert}); err != nil {
		t.Error(err)
	}
}

func TestAuthoritiesChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.pem")
	var s *port
	replace := func(ca *authtest.CA) {
		text, err := os.ReadFile(ca.File)
		if err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s = newPort(t, func(s *port) { replace(s.ca); s.conf.CAFile = path })
	p := s.ca.Issue(t, authtest.Leaf{Name: "a", OU: []string{"agent-ou"}})
	if _, err := s.Agent(t.Context(), []*x509.Certificate{p.Cert}); err != nil {
		t.Fatal(err)
	}
	replace(authtest.NewCA(t, "a new authority"))
	s.later(2 * time.Second)
	if _, err := s.Agent(t.Context(), []*x509.Certificate{p.Cert}); !errors.Is(err, ErrUntrusted) {
		t.Fatal(err)
	}
}

func TestNewTLSRefuses(t *testing.T) {
	ca := authtest.NewCA(t, "ca")
	pair := ca.Issue(t, authtest.Leaf{Name: "lapi", Server: true})
	f := func(conf TLSConfig, want string) {
		t.Helper()
		if _, err := NewTLS(conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f(TLSConfig{CertFile: "/none.pem", KeyFile: pair.KeyFile}, "/none.pem")
	f(TLSConfig{CertFile: ca.File, KeyFile: pair.KeyFile}, "private key does not match")
	f(TLSConfig{CertFile: pair.CertFile, KeyFile: pair.KeyFile, CAFile: pair.KeyFile}, "holds no PEM certificate")
	f(TLSConfig{CertFile: pair.CertFile, KeyFile: pair.KeyFile, CRLFile: pair.CertFile}, `type "CERTIFICATE"`)
	f(TLSConfig{CertFile: pair.CertFile, KeyFile: pair.KeyFile, CRLFile: "/none.crl"}, "/none.crl")
}

func FuzzParseCRL(f *testing.F) {
	ca := authtest.NewCA(f, "ca")
	path := filepath.Join(f.TempDir(), "crl")
	ca.WriteCRL(f, path, time.Now(), ca.Cert)
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		lists, err := parseCRL(text)
		if (err == nil) != (len(lists) > 0) {
			t.Fatalf("%d lists, %v", len(lists), err)
		}
	})
}

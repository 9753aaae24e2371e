package lapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cs/roles/api"
	"cs/roles/lapi/auth"
	"cs/roles/lapi/auth/authtest"
	"cs/storage"
)

// encrypted runs a server with TLS on a port of its own and returns its URL.
func encrypted(t *testing.T, ca *authtest.CA, change func(*auth.TLSConfig)) (*Server, string) {
	t.Helper()
	pair := ca.Issue(t, authtest.Leaf{Name: "lapi", Server: true})
	conf := &auth.TLSConfig{
		CertFile: pair.CertFile, KeyFile: pair.KeyFile, ClientAuth: tls.VerifyClientCertIfGiven, CAFile: ca.File,
		AgentOUs: []string{"agent-ou"}, BouncerOUs: []string{"bouncer-ou"},
	}
	if change != nil {
		change(conf)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	ready := make(chan struct{})
	s := open(t, func(c *Config) {
		c.Listen, c.TLS, c.Listening = address, conf, func() { close(ready) }
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	return s, "https://" + address
}

// get asks for a path with a certificate and, unless empty, an API key.
func get(t *testing.T, ca *authtest.CA, pair *authtest.Pair, method, url, key string) (status int, body, protocol string, err error) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	conf := &tls.Config{RootCAs: roots}
	if pair != nil {
		conf.Certificates = []tls.Certificate{pair.TLS(t)}
	}
	transport := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set(api.HeaderKey, key)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), resp.Proto, err
}

func newClient(t *testing.T, conf api.ClientConfig) *api.Client {
	t.Helper()
	c, err := api.NewClient(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestMachinesByCertificate(t *testing.T) {
	ca := authtest.NewCA(t, "ca")
	s, url := encrypted(t, ca, nil)
	f := func(p authtest.Pair, want string) {
		t.Helper()
		err := newClient(t, api.ClientConfig{URL: url, CACert: ca.File, CertFile: p.CertFile, KeyFile: p.KeyFile}).Heartbeat(t.Context())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	agent := ca.Issue(t, authtest.Leaf{Name: "web1", OU: []string{"agent-ou"}})
	f(agent, "")
	f(agent, "") // again, as the machine that is there by now
	f(ca.Issue(t, authtest.Leaf{Name: "web1", OU: []string{"bouncer-ou"}}), "organisational unit")
	m, err := s.store.Machine(t.Context(), "web1@127.0.0.1")
	if err != nil || m.AuthType != storage.AuthTLS || !m.Validated || m.IP != "127.0.0.1" || m.PasswordHash != "" {
		t.Errorf("%+v, %v", m, err)
	}
	// Without a password there is none that is good.
	err = newClient(t, api.ClientConfig{URL: url, CACert: ca.File, MachineID: m.ID, Password: "x"}).Login(t.Context())
	if err == nil || !strings.Contains(err.Error(), "machine web1@127.0.0.1 attempted to auth with password but it is configured to use tls") {
		t.Error(err)
	}
	// A machine with a password doesn't come in by certificate, and with a
	// certificate the password is not looked at.
	if err := s.addMachine(t.Context(), "web2@127.0.0.1", "pw", "", true); err != nil {
		t.Fatal(err)
	}
	f(ca.Issue(t, authtest.Leaf{Name: "web2", OU: []string{"agent-ou"}}),
		"machine web2@127.0.0.1 attempted to auth with TLS cert but it is configured to use password")
	wrong := ca.Issue(t, authtest.Leaf{Name: "web3"})
	err = newClient(t, api.ClientConfig{
		URL: url, CACert: ca.File, CertFile: wrong.CertFile, KeyFile: wrong.KeyFile, MachineID: "web2@127.0.0.1", Password: "pw",
	}).Login(t.Context())
	if err == nil || !strings.Contains(err.Error(), "organisational unit") {
		t.Error(err)
	}
	if err := newClient(t, api.ClientConfig{URL: url, CACert: ca.File, MachineID: "web2@127.0.0.1", Password: "pw"}).Login(t.Context()); err != nil {
		t.Error(err)
	}
	f(ca.Issue(t, authtest.Leaf{Name: strings.Repeat("x", 250), OU: []string{"agent-ou"}}), "too long")
}

func TestBouncersByCertificate(t *testing.T) {
	ca := authtest.NewCA(t, "ca")
	s, url := encrypted(t, ca, nil)
	key, err := s.addBouncer(t.Context(), "keyed", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.insertBouncer(t.Context(), storage.Bouncer{Name: "taken@127.0.0.1", KeyHash: storage.HashKey("k"), AuthType: storage.AuthKey}); err != nil {
		t.Fatal(err)
	}
	f := func(leaf authtest.Leaf, method, key string, status int) {
		t.Helper()
		p := ca.Issue(t, leaf)
		got, body, _, err := get(t, ca, &p, method, url+"/v1/decisions/stream?startup=true", key)
		if err != nil || got != status || status == 200 && method == "GET" && body != `{"new": [], "deleted": []}` {
			t.Errorf("%s %s: %d %s %v, want %d", method, leaf.Name, got, body, err, status)
		}
	}
	good := []string{"bouncer-ou"}
	rows := func() int { return len(s.bouncers.list()) }
	f(authtest.Leaf{Name: "fw", OU: good}, "HEAD", "", 200)
	if rows() != 2 {
		t.Error("a HEAD made a row")
	}
	f(authtest.Leaf{Name: "fw", OU: good}, "GET", "", 200)
	f(authtest.Leaf{Name: "fw", OU: good}, "GET", "", 200) // another certificate of the same name
	if rows() != 3 {
		t.Error(s.bouncers.list())
	}
	f(authtest.Leaf{Name: "other", OU: []string{"agent-ou"}}, "GET", key, 403) // the key is not looked at
	f(authtest.Leaf{Name: "other", OU: []string{"agent-ou"}}, "HEAD", key, 403)
	f(authtest.Leaf{Name: "taken", OU: good}, "GET", "", 403)
	if got, _, _, err := get(t, ca, nil, "GET", url+"/v1/decisions/stream", key); got != 200 || err != nil {
		t.Error("by key without a certificate: ", got, err)
	}
	if got, _, _, err := get(t, ca, nil, "GET", url+"/v1/decisions/stream", ""); got != 403 || err != nil {
		t.Error("with neither: ", got, err)
	}
	if rows() != 3 {
		t.Error(s.bouncers.list())
	}
	row := s.bouncers.list()[2]
	if row.Name != "fw@127.0.0.1" || row.AuthType != storage.AuthTLS || !row.AutoCreated || row.IP != "127.0.0.1" {
		t.Errorf("%+v", row)
	}
	// One with a certificate of its own may be deleted by itself.
	if err := s.deleteBouncer(t.Context(), "fw@127.0.0.1"); err != nil {
		t.Error(err)
	}
}

// TestStreamByCertificate is our own bouncer's life.
func TestStreamByCertificate(t *testing.T) {
	ca := authtest.NewCA(t, "ca")
	s, url := encrypted(t, ca, nil)
	p := ca.Issue(t, authtest.Leaf{Name: "fw", OU: []string{"bouncer-ou"}})
	machine(t, s, "web").want("POST", "/v1/alerts",
		"["+alertJSON("Ip", "192.0.2.7", "["+decisionJSON("Ip", "192.0.2.7", "ban", "cscli", "1h")+"]", time.Now())+"]", 201, "*")
	stream := newClient(t, api.ClientConfig{URL: url, CACert: ca.File, CertFile: p.CertFile, KeyFile: p.KeyFile}).
		Stream(api.StreamConfig{})
	delta, err := stream.Next(t.Context())
	if err != nil || !delta.Full || len(delta.New) != 1 {
		t.Fatal(delta, err)
	}
}

// TestRevokedWhileRunning takes a certificate back from a client that keeps its
// connection.
func TestRevokedWhileRunning(t *testing.T) {
	ca := authtest.NewCA(t, "ca")
	crl := filepath.Join(t.TempDir(), "crl.pem")
	ca.WriteCRL(t, crl, time.Now().Add(time.Hour))
	s, url := encrypted(t, ca, func(c *auth.TLSConfig) { c.CRLFile = crl })
	p := ca.Issue(t, authtest.Leaf{Name: "fw", OU: []string{"bouncer-ou"}})
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{p.TLS(t)}}}}
	defer client.CloseIdleConnections()
	status := func() int {
		resp, err := client.Get(url + "/v1/decisions/stream")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := status(); got != 200 {
		t.Fatal(got)
	}
	ca.WriteCRL(t, crl, time.Now().Add(time.Hour), p.Cert)
	until := time.Now().Add(20 * time.Second)
	for status() != 403 {
		if time.Now().After(until) {
			t.Fatal("it is still let in")
		}
		time.Sleep(100 * time.Millisecond)
	}
	if _, known := s.bouncers.rows["fw@127.0.0.1"]; !known {
		t.Error("its row is gone")
	}
}

// TestClientCertificateIsRenewed: who has a good certificate again comes in
// again, although the connection on which the old one was shown would do.
func TestClientCertificateIsRenewed(t *testing.T) {
	ca := authtest.NewCA(t, "ca")
	_, url := encrypted(t, ca, nil)
	short := ca.Issue(t, authtest.Leaf{Name: "fw", OU: []string{"bouncer-ou", "agent-ou"}, NotAfter: time.Now().Add(2 * time.Second)})
	long := ca.Issue(t, authtest.Leaf{Name: "fw", OU: []string{"bouncer-ou", "agent-ou"}})
	conf := api.ClientConfig{URL: url, CACert: ca.File, CertFile: short.CertFile, KeyFile: short.KeyFile}
	bouncer, agent := newClient(t, conf), newClient(t, conf)
	ask := func() error {
		_, err := bouncer.Stream(api.StreamConfig{}).Next(t.Context())
		return errors.Join(err, agent.Login(t.Context()))
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(20 * time.Second)
	for ask() == nil {
		if time.Now().After(until) {
			t.Fatal("the certificate is over, and it is still let in")
		}
		time.Sleep(50 * time.Millisecond)
	}
	for to, from := range map[string]string{short.CertFile: long.CertFile, short.KeyFile: long.KeyFile} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
}

// TestServerCertificateChanges renews the server's certificate under its feet.
func TestServerCertificateChanges(t *testing.T) {
	ca := authtest.NewCA(t, "ca")
	var conf auth.TLSConfig
	_, url := encrypted(t, ca, func(c *auth.TLSConfig) { conf = *c })
	next := ca.Issue(t, authtest.Leaf{Name: "renewed", Server: true})
	for from, to := range map[string]string{next.CertFile: conf.CertFile, next.KeyFile: conf.KeyFile} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	until := time.Now().Add(20 * time.Second)
	for {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		name := conn.ConnectionState().PeerCertificates[0].Subject.CommonName
		conn.Close()
		if name == "renewed" {
			return
		}
		if time.Now().After(until) {
			t.Fatal("the old one is still served")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestClientVerification(t *testing.T) {
	ca, other := authtest.NewCA(t, "ca"), authtest.NewCA(t, "other")
	good := ca.Issue(t, authtest.Leaf{Name: "fw", OU: []string{"bouncer-ou"}})
	bad := other.Issue(t, authtest.Leaf{Name: "fw", OU: []string{"bouncer-ou"}})
	f := func(mode tls.ClientAuthType, withCA bool, p *authtest.Pair, want int) {
		t.Helper()
		s, url := encrypted(t, ca, func(c *auth.TLSConfig) {
			c.ClientAuth = mode
			if !withCA {
				c.CAFile = ""
			}
		})
		key, err := s.addBouncer(t.Context(), "keyed", "")
		if err != nil {
			t.Fatal(err)
		}
		got, _, protocol, err := get(t, ca, p, "GET", url+"/v1/decisions", key)
		if got != want || (want == 0) != (err != nil) {
			t.Errorf("%v: %d %v, want %d", mode, got, err, want)
		}
		if err == nil && protocol != "HTTP/2.0" {
			t.Errorf("%v: %s", mode, protocol)
		}
	}
	const noConnection = 0
	f(tls.NoClientCert, true, &bad, 200) // by its key
	f(tls.RequestClientCert, true, nil, 200)
	f(tls.RequestClientCert, true, &good, 200)
	f(tls.RequestClientCert, true, &bad, 403)
	f(tls.RequireAnyClientCert, true, nil, noConnection)
	f(tls.RequireAnyClientCert, true, &bad, 403)
	f(tls.VerifyClientCertIfGiven, true, nil, 200)
	f(tls.VerifyClientCertIfGiven, true, &good, 200)
	f(tls.VerifyClientCertIfGiven, true, &bad, noConnection)
	f(tls.VerifyClientCertIfGiven, false, &bad, 200) // nobody is asked for one
	f(tls.RequireAndVerifyClientCert, true, nil, noConnection)
	f(tls.RequireAndVerifyClientCert, true, &bad, noConnection)
	f(tls.RequireAndVerifyClientCert, true, &good, 200)
}

func TestOldTLSIsRefused(t *testing.T) {
	_, url := encrypted(t, authtest.NewCA(t, "ca"), nil)
	_, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
	})
	if err == nil {
		t.Fatal("TLS 1.1 was accepted")
	}
	// Plain HTTP on the port gets no answer that it could take for ours.
	resp, err := http.Get(strings.Replace(url, "https", "http", 1) + "/health")
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode == 200 {
			t.Fatal("plain HTTP was served")
		}
	}
}

func TestOpenRefusesBadCertificates(t *testing.T) {
	opened := false
	_, err := Open(t.Context(), Config{
		OpenStore: func(context.Context) (storage.Store, error) { opened = true; return nil, errors.New("no") },
		TLS:       &auth.TLSConfig{CertFile: "/none.pem", KeyFile: "/none-key.pem"},
		Log:       slog.New(slog.DiscardHandler),
	})
	if err == nil || !strings.Contains(err.Error(), "/none.pem") || opened {
		t.Fatal(err, opened)
	}
}

// TestIdlestMakesRoom bounds the rows that one common name can make.
func TestIdlestMakesRoom(t *testing.T) {
	s := open(t, nil)
	for i := range maxSharing + 3 {
		a := [4]byte{10, 0, byte(i >> 8), byte(i)}
		if _, err := s.certifiedBouncer(t.Context(), "fw", netip.AddrFrom4(a), "x/1"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.bouncers.list()); n != maxSharing {
		t.Fatal(n)
	}
}

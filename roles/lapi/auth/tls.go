package auth

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// unsureFor is how long a certificate is let in whose responder can't be
	// asked, before that is tried again: a dead one must not slow every request
	// down.
	unsureFor = 10 * time.Second
	// maxVerdicts bounds the memory for certificates judged; at it everything
	// is forgotten.
	maxVerdicts = 4096
)

// Conditions a caller decides on; ErrRevoked is another.
var (
	// ErrUntrusted: no authority that we believe vouches for the certificate now.
	ErrUntrusted = errors.New("the certificate is not trusted")
	// ErrOrganisation: none of its organisational units (OU) may do this.
	ErrOrganisation = errors.New("the certificate's organisational unit is not allowed")
)

// TLSConfig says how a port is encrypted, and who may come in by certificate.
type TLSConfig struct {
	CertFile, KeyFile string // PEM, both must be set
	ClientAuth        tls.ClientAuthType
	CAFile            string        // PEM of the authorities of client certificates; "": no client certificate is believed
	CRLFile           string        // PEM of revocation lists; "": none
	AgentOUs          []string      // who may log in as a machine; empty: nobody
	BouncerOUs        []string      // who may ask as a bouncer; empty: nobody
	CacheFor          time.Duration // how long a certificate found good stays so unasked; 0: 1h

	Now  func() time.Time // nil: time.Now
	Warn func(error)      // told when changed files can't be used; nil: nobody
}

// TLS is the encryption of a port. Its files are read again when they have
// changed: new connections get the new certificate, and clients are judged by
// the new authorities and revocation lists, also on connections that they have
// already. As long as changed files can't be used, the old contents hold.
type TLS struct {
	conf   TLSConfig
	pair   reloaded[*tls.Certificate]
	roots  reloaded[*x509.CertPool]
	lists  reloaded[revocationLists]
	client *http.Client

	mu       sync.Mutex
	verdicts map[[sha256.Size]byte]*verdict // by client certificate
	changes  int                            // of the files that verdicts depend on
}

// verdict is what was found about a certificate.
type verdict struct {
	done  chan struct{} // closed when the rest is there
	err   error
	until time.Time
}

// NewTLS reads the files.
func NewTLS(conf TLSConfig) (*TLS, error) {
	if conf.Now == nil {
		conf.Now = time.Now
	}
	if conf.Warn == nil {
		conf.Warn = func(error) {}
	}
	if conf.CacheFor == 0 {
		conf.CacheFor = time.Hour
	}
	t := &TLS{conf: conf, client: &http.Client{Timeout: ocspWithin}, verdicts: make(map[[sha256.Size]byte]*verdict)}
	now := conf.Now()
	t.pair = reloaded[*tls.Certificate]{paths: []string{conf.CertFile, conf.KeyFile}, fail: conf.Warn, read: func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(conf.CertFile, conf.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cannot use the server's certificate %s with key %s: %w", conf.CertFile, conf.KeyFile, err)
		}
		return &pair, nil
	}}
	t.roots = reloaded[*x509.CertPool]{fail: conf.Warn, read: func() (*x509.CertPool, error) { return x509.NewCertPool(), nil }}
	if conf.CAFile != "" {
		t.roots.paths, t.roots.read = []string{conf.CAFile}, func() (*x509.CertPool, error) { return readPool(conf.CAFile) }
	}
	t.lists = reloaded[revocationLists]{fail: conf.Warn, read: func() (revocationLists, error) { return nil, nil }}
	if conf.CRLFile != "" {
		t.lists.paths, t.lists.read = []string{conf.CRLFile}, func() (revocationLists, error) { return readCRL(conf.CRLFile) }
	}
	if err := errors.Join(t.pair.start(now), t.roots.start(now), t.lists.start(now)); err != nil {
		return nil, err
	}
	return t, nil
}

func readPool(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the authorities of client certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("cannot read the authorities of client certificates: %s holds no PEM certificate", path)
	}
	return pool, nil
}

// Server returns the configuration of a listener. That a client certificate is
// good is looked at by ours and not by the package's own code, because the
// authorities may change.
func (t *TLS) Server() *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, _ := t.pair.get(t.conf.Now())
			return pair, nil
		},
		ClientAuth: t.conf.ClientAuth,
	}
	verify := false
	switch t.conf.ClientAuth {
	case tls.VerifyClientCertIfGiven:
		c.ClientAuth, verify = tls.RequestClientCert, true
	case tls.RequireAndVerifyClientCert:
		c.ClientAuth, verify = tls.RequireAnyClientCert, true
	}
	if verify && t.conf.CAFile == "" && c.ClientAuth == tls.RequestClientCert {
		c.ClientAuth = tls.NoClientCert // none would be believed
	}
	if verify {
		c.VerifyConnection = func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil
			}
			now := t.conf.Now()
			_, err := chains(state.PeerCertificates, t.evidence(now).roots, now)
			return err
		}
	}
	return c
}

// Agent checks that a client may log in as a machine and returns the common
// name (CN) of its certificate. certs is what it presented, its own first.
func (t *TLS) Agent(ctx context.Context, certs []*x509.Certificate) (name string, err error) {
	return t.admit(ctx, certs, t.conf.AgentOUs)
}

// Bouncer checks that a client may ask as a bouncer, as Agent does.
func (t *TLS) Bouncer(ctx context.Context, certs []*x509.Certificate) (name string, err error) {
	return t.admit(ctx, certs, t.conf.BouncerOUs)
}

func (t *TLS) admit(ctx context.Context, certs []*x509.Certificate, allowed []string) (string, error) {
	if err := t.check(ctx, certs); err != nil {
		return "", err
	}
	subject := certs[0].Subject
	if !slices.ContainsFunc(subject.OrganizationalUnit, func(ou string) bool { return slices.Contains(allowed, ou) }) {
		return "", fmt.Errorf("%w (%q)", ErrOrganisation, subject.OrganizationalUnit)
	}
	if subject.CommonName == "" {
		return "", fmt.Errorf("%w: it has no common name", ErrUntrusted)
	}
	return subject.CommonName, nil
}

// check tells whether a certificate is good now. What was found out counts for
// a while; callers that come meanwhile wait for the one that finds out.
func (t *TLS) check(ctx context.Context, certs []*x509.Certificate) error {
	if len(certs) == 0 {
		return fmt.Errorf("%w: there is none", ErrUntrusted)
	}
	now := t.conf.Now()
	v, ours := t.verdict(sha256.Sum256(certs[0].Raw), now)
	if ours != nil {
		// Others wait for it, so it doesn't end with this one's request.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ocspWithin)
		v.until, v.err = t.judge(ctx, certs, ours, now)
		cancel()
		close(v.done)
	}
	select {
	case <-v.done:
		return v.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// evidence is what a verdict is found by.
type evidence struct {
	roots *x509.CertPool
	lists revocationLists
}

// verdict returns what is known about a certificate. If that is nothing yet the
// caller is to find it out by the evidence.
func (t *TLS) verdict(key [sha256.Size]byte, now time.Time) (*verdict, *evidence) {
	for {
		t.mu.Lock()
		changes := t.changes
		t.mu.Unlock()
		e := t.evidence(now)
		t.mu.Lock()
		if changes != t.changes { // ours may be out of date
			t.mu.Unlock()
			continue
		}
		defer t.mu.Unlock()
		if v := t.verdicts[key]; v != nil && !v.over(now, t.conf.CacheFor) {
			return v, nil
		}
		if len(t.verdicts) >= maxVerdicts {
			clear(t.verdicts)
		}
		v := &verdict{done: make(chan struct{})}
		t.verdicts[key] = v
		return v, e
	}
}

// over tells whether a verdict counts no longer. One that would for longer than
// any comes from before the clock was set back.
func (v *verdict) over(now time.Time, longest time.Duration) bool {
	select {
	case <-v.done:
		left := v.until.Sub(now)
		return left <= 0 || left > longest
	default:
		return false
	}
}

// evidence returns the authorities and the revocation lists as they are now.
// When they have changed everybody is judged anew.
func (t *TLS) evidence(now time.Time) *evidence {
	roots, news := t.roots.get(now)
	lists, more := t.lists.get(now)
	if news || more {
		t.mu.Lock()
		t.changes++
		clear(t.verdicts)
		t.mu.Unlock()
	}
	return &evidence{roots, lists}
}

// judge finds out whether a certificate is good, and until when that counts.
func (t *TLS) judge(ctx context.Context, certs []*x509.Certificate, e *evidence, now time.Time) (until time.Time, err error) {
	until = now.Add(t.conf.CacheFor)
	found, err := chains(certs, e.roots, now)
	if err != nil {
		return until, err
	}
	if end := certs[0].NotAfter; end.Before(until) {
		until = end
	}
	for _, chain := range found {
		for i := len(chain) - 2; i >= 0; i-- { // the root has nobody to take it back
			cert, issuer := chain[i], chain[i+1]
			if e.lists.revoked(cert, issuer) {
				return until, fmt.Errorf("%w, says %s", ErrRevoked, t.conf.CRLFile)
			}
			sure, err := askOCSP(ctx, t.client, cert, issuer, now)
			if err != nil {
				return until, err
			}
			if !sure {
				until = now.Add(min(unsureFor, t.conf.CacheFor))
			}
		}
	}
	return until, nil
}

// chains returns the ways from a client's certificate to an authority.
func chains(certs []*x509.Certificate, roots *x509.CertPool, now time.Time) ([][]*x509.Certificate, error) {
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	found, err := certs[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return found, nil
}

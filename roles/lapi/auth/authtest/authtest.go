// Package authtest makes certificate authorities, certificates, revocation
// lists and responders for the tests of whoever serves or speaks TLS.
package authtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// CA is a certificate authority.
type CA struct {
	Cert *x509.Certificate
	File string // PEM of Cert
	key  *ecdsa.PrivateKey
	dir  string
}

var serial atomic.Int64

// NewCA makes an authority with files in a temporary directory.
func NewCA(t testing.TB, name string) *CA {
	t.Helper()
	ca := &CA{key: newKey(t), dir: t.TempDir()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial.Add(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &ca.key.PublicKey, ca.key)
	check(t, err)
	ca.Cert, err = x509.ParseCertificate(der)
	check(t, err)
	ca.File = filepath.Join(ca.dir, "ca.pem")
	write(t, ca.File, "CERTIFICATE", der)
	return ca
}

// Leaf says what is to stand in a certificate.
type Leaf struct {
	Name     string   // CN
	OU       []string // organisational units
	NotAfter time.Time
	OCSP     []string // URLs of responders
	Server   bool     // for a server on 127.0.0.1; else for a client
}

// Pair is a certificate with its key.
type Pair struct {
	Cert     *x509.Certificate
	CertFile string // PEM
	KeyFile  string
}

// TLS returns the pair in the form that crypto/tls wants.
func (p Pair) TLS(t testing.TB) tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
	check(t, err)
	return pair
}

// Issue makes a certificate.
func (ca *CA) Issue(t testing.TB, leaf Leaf) Pair {
	t.Helper()
	key, n := newKey(t), big.NewInt(serial.Add(1))
	if leaf.NotAfter.IsZero() {
		leaf.NotAfter = time.Now().Add(12 * time.Hour)
	}
	template := &x509.Certificate{
		SerialNumber: n, Subject: pkix.Name{CommonName: leaf.Name, OrganizationalUnit: leaf.OU},
		NotBefore: time.Now().Add(-12 * time.Hour), NotAfter: leaf.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, OCSPServer: leaf.OCSP,
	}
	if leaf.Server {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		template.DNSNames = []string{"localhost"}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, &key.PublicKey, ca.key)
	check(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	check(t, err)
	base := filepath.Join(ca.dir, n.String())
	p := Pair{CertFile: base + ".pem", KeyFile: base + "-key.pem"}
	p.Cert, err = x509.ParseCertificate(der)
	check(t, err)
	write(t, p.CertFile, "CERTIFICATE", der)
	write(t, p.KeyFile, "EC PRIVATE KEY", keyDER)
	return p
}

// WriteCRL writes a list that revokes certificates.
func (ca *CA) WriteCRL(t testing.TB, path string, nextUpdate time.Time, revoked ...*x509.Certificate) {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(serial.Add(1)), ThisUpdate: nextUpdate.Add(-24 * time.Hour), NextUpdate: nextUpdate}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.Cert, ca.key)
	check(t, err)
	write(t, path, "X509 CRL", der)
}

// Responder answers questions by OCSP.
type Responder struct {
	URL   string
	Asked atomic.Int64

	mu     sync.Mutex
	status map[string]int // by serial number
}

// NewResponder runs a responder that knows of no certificate until Say.
func (ca *CA) NewResponder(t testing.TB) *Responder {
	t.Helper()
	r := &Responder{status: make(map[string]int)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.Asked.Add(1)
		body, _ := io.ReadAll(q.Body)
		question, err := ocsp.ParseRequest(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		status, known := r.status[question.SerialNumber.String()]
		r.mu.Unlock()
		if !known {
			status = ocsp.Unknown
		}
		answer, err := ocsp.CreateResponse(ca.Cert, ca.Cert, ocsp.Response{
			Status: status, SerialNumber: question.SerialNumber, IssuerHash: crypto.SHA256,
			ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour), RevokedAt: time.Now().Add(-time.Minute),
		}, ca.key)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write(answer)
	}))
	t.Cleanup(s.Close)
	r.URL = s.URL
	return r
}

// Say sets the status (ocsp.Good, ocsp.Revoked) of a certificate.
func (r *Responder) Say(c *x509.Certificate, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status[c.SerialNumber.String()] = status
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func write(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	check(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

package source

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// ServerTLS are the keys of sources that serve TLS: files in PEM form. With a
// ca_cert, clients must have a certificate of it.
type ServerTLS struct {
	ServerCert string `yaml:"server_cert"`
	ServerKey  string `yaml:"server_key"`
	CACert     string `yaml:"ca_cert"`
	// It means nothing to a server; upstream's files have it.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

// Config reads the files.
func (t ServerTLS) Config() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(t.ServerCert, t.ServerKey)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate: %w", err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if t.CACert == "" {
		return conf, nil
	}
	if conf.ClientCAs, err = CertPool(t.CACert); err != nil {
		return nil, err
	}
	conf.ClientAuth = tls.RequireAndVerifyClientCert
	return conf, nil
}

// CertPool reads the certificates of authorities from a PEM file.
func CertPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cannot read certificates: there is none in %s", path)
	}
	return pool, nil
}

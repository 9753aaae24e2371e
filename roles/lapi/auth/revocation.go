package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/crypto/ocsp"
)

const (
	// ocspWithin bounds all questions about one certificate, maxOCSP the bytes
	// of an answer.
	ocspWithin = 5 * time.Second
	maxOCSP    = 64 << 10
	// maxCRL bounds the file of revocation lists.
	maxCRL = 64 << 20
)

// ErrRevoked: the authority has taken the certificate back.
var ErrRevoked = errors.New("the certificate is revoked")

// revocationLists is a file of CRLs (RFC 5280): PEM blocks "X509 CRL".
type revocationLists []revocationList

type revocationList struct {
	*x509.RevocationList
	serials map[string]bool // bytes of big.Int
}

func readCRL(path string) (revocationLists, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the revocation lists: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCRL+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the revocation lists: %w", err)
	}
	if len(text) > maxCRL {
		return nil, fmt.Errorf("cannot read the revocation lists in %s: more than %d MiB", path, maxCRL>>20)
	}
	lists, err := parseCRL(text)
	if err != nil {
		return nil, fmt.Errorf("cannot read the revocation lists in %s: %w", path, err)
	}
	return lists, nil
}

func parseCRL(text []byte) (lists revocationLists, err error) {
	for n := 1; ; n++ {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("PEM block %d is of type %q", n, block.Type)
		}
		parsed, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", n, err)
		}
		list := revocationList{RevocationList: parsed, serials: make(map[string]bool, len(parsed.RevokedCertificateEntries))}
		for _, entry := range parsed.RevokedCertificateEntries {
			list.serials[string(entry.SerialNumber.Bytes())] = true
		}
		lists = append(lists, list)
	}
	if len(bytes.TrimSpace(text)) > 0 || len(lists) == 0 {
		return nil, errors.New("there is something that is no PEM block of type \"X509 CRL\"")
	}
	return lists, nil
}

// revoked tells whether a list of the issuer names the certificate. A list that
// is out of date counts all the same: what it names has not become good since.
func (l revocationLists) revoked(cert, issuer *x509.Certificate) bool {
	for _, list := range l {
		if bytes.Equal(list.RawIssuer, issuer.RawSubject) && list.serials[string(cert.SerialNumber.Bytes())] &&
			list.CheckSignatureFrom(issuer) == nil {
			return true
		}
	}
	return false
}

// askOCSP asks the responders that a certificate names (RFC 6960). It returns
// ErrRevoked if one of them says so; sure is false if one can't be asked or
// doesn't know.
func askOCSP(ctx context.Context, client *http.Client, cert, issuer *x509.Certificate, now time.Time) (sure bool, err error) {
	sure = true
	for _, server := range cert.OCSPServer {
		answer, err := askResponder(ctx, client, server, cert, issuer)
		switch {
		case err != nil, answer.Status == ocsp.Unknown, !answer.NextUpdate.IsZero() && answer.NextUpdate.Before(now):
			sure = false
		case answer.Status == ocsp.Revoked:
			return true, fmt.Errorf("%w, says %s", ErrRevoked, server)
		}
	}
	return sure, nil
}

func askResponder(ctx context.Context, client *http.Client, server string, cert, issuer *x509.Certificate) (*ocsp.Response, error) {
	question, err := ocsp.CreateRequest(cert, issuer, &ocsp.RequestOptions{Hash: crypto.SHA256})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server, bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	req.Header.Set("Accept", "application/ocsp-response")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", server, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxOCSP))
	if err != nil {
		return nil, err
	}
	return ocsp.ParseResponseForCert(body, cert, issuer)
}

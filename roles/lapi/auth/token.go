// Package auth decides who somebody is: signed tokens and passwords of
// machines, the registration token, client certificates, and a brake on those
// who guess. It stores nothing, and speaks HTTP only to ask whether a
// certificate was revoked; roles/lapi calls it.
package auth

import (
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TokenLife is how long a token is good for, and for how long after its issue
// it can be exchanged for a new one.
const TokenLife = time.Hour

// Why a token is refused. The texts are upstream's, and clients compare them; what
// can't be decoded has those of the decoders.
var (
	ErrNoToken   = errors.New("token is empty")
	ErrSignature = errors.New("signature is invalid")
	ErrAlgorithm = errors.New("invalid signing algorithm")
	//lint:ignore ST1005 the text goes over the wire
	ErrExpired   = errors.New("Token is expired")
	ErrTooOld    = errors.New("token is expired") // to be exchanged
	ErrNoExpiry  = errors.New("missing exp field")
	ErrBadExpiry = errors.New("exp must be float64 format")

	errSegments = errors.New("token contains an invalid number of segments")
	//lint:ignore ST1005 the text goes over the wire
	errUnknownAlgorithm = errors.New("signing method (alg) is unavailable.")
	//lint:ignore ST1005 the text goes over the wire
	errNoAlgorithm = errors.New("signing method (alg) is unspecified.")
)

// Signer makes and checks the tokens of machines: HS256, with the claims id,
// exp and orig_iat, as CrowdSec's LAPI does.
type Signer struct{ secret []byte }

// NewSigner returns a signer; whoever knows the secret can make tokens.
func NewSigner(secret []byte) *Signer { return &Signer{secret: secret} }

type claims struct {
	Expire *int64 `json:"exp"`
	ID     string `json:"id"`
	Issued int64  `json:"orig_iat"`
}

// Sign returns a token for a machine and when it ends.
func (s *Signer) Sign(machineID string, now time.Time) (string, time.Time, error) {
	expire := now.Add(TokenLife)
	exp := expire.Unix()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, &claims{
		Expire: &exp, ID: machineID, Issued: now.Unix(),
	}).SignedString(s.secret)
	return text, expire, err
}

// Verify returns whose token it is, or one of the errors above.
func (s *Signer) Verify(token string, now time.Time) (machineID string, err error) {
	c, err := s.parse(token)
	if err != nil {
		return "", err
	}
	if now.Unix() > *c.Expire {
		return "", ErrExpired
	}
	return c.ID, nil
}

// VerifyForRefresh is Verify for a token to be exchanged: it may have expired,
// if it was issued at most TokenLife ago.
func (s *Signer) VerifyForRefresh(token string, now time.Time) (machineID string, err error) {
	c, err := s.parse(token)
	if err != nil {
		return "", err
	}
	if now.Unix()-c.Issued > int64(TokenLife/time.Second) {
		return "", ErrTooOld
	}
	return c.ID, nil
}

func (s *Signer) parse(token string) (claims, error) {
	if token == "" {
		return claims{}, ErrNoToken
	}
	var c claims
	// Times are checked by the caller, with its own clock.
	parser := jwt.NewParser(jwt.WithPaddingAllowed(), jwt.WithValidMethods([]string{"HS256"}), jwt.WithoutClaimsValidation())
	_, err := parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return s.secret, nil })
	if err != nil {
		return claims{}, refusal(token, err)
	}
	if c.Expire == nil {
		return claims{}, ErrNoExpiry
	}
	return c, nil
}

// refusal returns in upstream's words why a token can't be parsed.
func refusal(token string, cause error) error {
	plain := jwt.MapClaims{} // upstream's claims, whose name is in some texts
	t, _, err := jwt.NewParser(jwt.WithPaddingAllowed()).ParseUnverified(token, plain)
	switch {
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		if _, named := t.Header["alg"].(string); named {
			return errUnknownAlgorithm
		}
		return errNoAlgorithm
	case err != nil:
		if all, ok := err.(interface{ Unwrap() []error }); ok {
			causes := all.Unwrap()
			return causes[len(causes)-1]
		}
		return errSegments
	case t.Method.Alg() != jwt.SigningMethodHS256.Alg():
		return ErrAlgorithm
	case errors.Is(cause, jwt.ErrTokenSignatureInvalid):
		return ErrSignature
	}
	// We alone know the secret and write no such claims.
	if _, ok := plain["exp"].(float64); !ok {
		return ErrBadExpiry
	}
	return cause
}

// The library wants these; they say what parse and its callers check themselves.

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c *claims) GetIssuer() (string, error)                   { return "", nil }
func (c *claims) GetSubject() (string, error)                  { return "", nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// SameToken compares a registration token with what somebody sent, in a time
// that tells nothing of where they differ.
func SameToken(secret, sent string) bool {
	a, b := sha512.Sum512([]byte(secret)), sha512.Sum512([]byte(sent))
	return secret != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"
)

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

func TestTokens(t *testing.T) {
	s := NewSigner([]byte(strings.Repeat("k", 64)))
	token, expire, err := s.Sign("web1", t0)
	if err != nil || !expire.Equal(t0.Add(time.Hour)) {
		t.Fatal(expire, err)
	}
	// The claims of CrowdSec's tokens.
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	if c := parsed.Claims.(jwt.MapClaims); c["id"] != "web1" || c["exp"] != 1772362800. || c["orig_iat"] != 1772359200. || len(c) != 3 {
		t.Fatal(c)
	}
	f := func(token string, now time.Time, want error) {
		t.Helper()
		id, err := s.Verify(token, now)
		if !errors.Is(err, want) || (want == nil) != (id == "web1") {
			t.Fatalf("%q, %v; want %v", id, err, want)
		}
	}
	f(token, t0, nil)
	f(token, t0.Add(time.Hour-time.Second), nil)
	f(token, t0.Add(time.Hour), nil)
	f(token, t0.Add(time.Hour+time.Second), ErrExpired)
	f("", t0, ErrNoToken)
	f("a.b", t0, errSegments)
	other, _, _ := NewSigner([]byte(strings.Repeat("o", 64))).Sign("web1", t0)
	f(other, t0, ErrSignature)

	none, _ := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"id": "web1", "exp": t0.Add(time.Hour).Unix()}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	f(none, t0, ErrAlgorithm)
	hs512, _ := jwt.NewWithClaims(jwt.SigningMethodHS512, jwt.MapClaims{"id": "web1", "exp": t0.Add(time.Hour).Unix()}).SignedString(s.secret)
	f(hs512, t0, ErrAlgorithm)
	forever, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"id": "web1"}).SignedString(s.secret)
	f(forever, t0, ErrNoExpiry)
}

// TestRefusedTokens: the words are those of Debian's crowdsec 1.4.6 for the same tokens.
func TestRefusedTokens(t *testing.T) {
	s := NewSigner([]byte(strings.Repeat("k", 64)))
	part := base64.RawURLEncoding.EncodeToString
	signed := func(header, claims string) string {
		text := part([]byte(header)) + "." + part([]byte(claims))
		sum, err := jwt.SigningMethodHS256.Sign(text, s.secret)
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + part(sum)
	}
	const ours, claims = `{"alg":"HS256","typ":"JWT"}`, `{"exp":1772362800,"id":"m","orig_iat":1772359200}`
	good := signed(ours, claims)
	f := func(token, want string) {
		t.Helper()
		if _, err := s.Verify(token, t0); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", token, err, want)
		}
	}
	f("a", "token contains an invalid number of segments")
	f("a.b.c.d", "token contains an invalid number of segments")
	f("...", "token contains an invalid number of segments")
	f("a.b.c", "illegal base64 data at input byte 1")
	f(" "+good, "illegal base64 data at input byte 0")
	f(good+" y", "illegal base64 data at input byte 43")
	f("..", "unexpected end of JSON input")
	f("!!.!!.!!", "illegal base64 data at input byte 0")
	f(part([]byte("{x"))+".e30.x", "invalid character 'x' looking for beginning of object key string")
	f(part([]byte("hello"))+".e30.x", "invalid character 'h' looking for beginning of value")
	f(part([]byte("[]"))+".e30.x", "json: cannot unmarshal array into Go value of type map[string]interface {}")
	f(part([]byte(ours))+".!!.x", "illegal base64 data at input byte 0")
	f(signed(ours, "{x"), "invalid character 'x' looking for beginning of object key string")
	f(signed(ours, "[]"), "json: cannot unmarshal array into Go value of type jwt.MapClaims")
	f(signed(ours, "7"), "json: cannot unmarshal number into Go value of type jwt.MapClaims")
	f(signed(ours, "null"), "missing exp field")
	f(signed(ours, "{}"), "missing exp field")
	f(signed(ours, `{"exp":null,"id":"m"}`), "missing exp field")
	f(signed(ours, `{"exp":"tomorrow","id":"m"}`), "exp must be float64 format")
	f(signed(ours, `{"exp":true,"id":"m"}`), "exp must be float64 format")
	f(signed(ours, `{"exp":-5,"id":"m"}`), "Token is expired")
	f(good[:strings.LastIndexByte(good, '.')]+".!!", "illegal base64 data at input byte 0")
	f(good[:strings.LastIndexByte(good, '.')]+".", "signature is invalid")
	f(good[:len(good)-4]+"AAAA", "signature is invalid")
	f(signed(`{"alg":"none"}`, claims), "invalid signing algorithm")
	f(signed(`{"alg":"HS512"}`, claims), "invalid signing algorithm")
	f(signed(`{"alg":"RS256"}`, claims), "invalid signing algorithm")
	f(signed(`{"alg":"XX"}`, claims), "signing method (alg) is unavailable.")
	f(signed(`{"alg":"hs256"}`, claims), "signing method (alg) is unavailable.")
	f(signed(`{"typ":"JWT"}`, claims), "signing method (alg) is unspecified.")
	f(signed(`{"alg":7}`, claims), "signing method (alg) is unspecified.")
	f(signed(ours, `{"exp":1,"id":"m"}`)+"x", "signature is invalid")
	if _, err := s.VerifyForRefresh(good, t0.Add(time.Hour+time.Second)); err == nil || err.Error() != "token is expired" {
		t.Error(err)
	}
}

func FuzzVerify(f *testing.F) {
	s := NewSigner([]byte(strings.Repeat("k", 64)))
	good, _, _ := s.Sign("web1", t0)
	f.Add(good)
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		// Nobody else has ever been given one.
		if id, err := s.Verify(token, t0); err == nil && id != "web1" {
			t.Fatalf("%q is taken for a token of %q", token, id)
		}
	})
}

func TestPasswords(t *testing.T) {
	p, ctx := NewPasswords(Cost), t.Context()
	hash, err := p.Hash(ctx, "secret")
	if err != nil || !strings.HasPrefix(hash, "$2a$10$") {
		t.Fatal(hash, err)
	}
	if err := p.Check(ctx, hash, "wrong", t0); !errors.Is(err, ErrBadPassword) {
		t.Fatal(err)
	}
	if p.Remembered(hash, "secret", t0) {
		t.Fatal("remembered before it was checked")
	}
	if err := p.Check(ctx, hash, "secret", t0); err != nil {
		t.Fatal(err)
	}
	if !p.Remembered(hash, "secret", t0) || p.Remembered(hash, "wrong", t0) || p.Remembered(hash, "secret", t0.Add(rememberFor)) {
		t.Fatal("what is remembered is not what was checked")
	}
	if err := p.Check(ctx, "", "", t0); !errors.Is(err, ErrBadPassword) {
		t.Fatal("nobody's password: ", err)
	}
	if _, err := p.Hash(ctx, strings.Repeat("x", 73)); !errors.Is(err, ErrUnhashable) {
		t.Fatal(err)
	}
	if err := p.Check(ctx, hash, strings.Repeat("x", 73), t0); !errors.Is(err, ErrBadPassword) {
		t.Fatal(err)
	}
}

func TestPasswordQueueIsBounded(t *testing.T) {
	p := NewPasswords(bcrypt.MinCost)
	for range cap(p.slots) {
		p.slots <- struct{}{} // the processors are busy
	}
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, maxWaiting+10)
	var started sync.WaitGroup
	for range maxWaiting + 10 {
		started.Add(1)
		go func() { started.Done(); errs <- p.Check(ctx, "$2a$10$x", "y", t0) }()
	}
	started.Wait()
	for range 10 {
		if err := <-errs; !errors.Is(err, ErrBusy) {
			t.Fatal(err)
		}
	}
	cancel()
	for range maxWaiting {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

func TestRememberedIsBounded(t *testing.T) {
	p := NewPasswords(bcrypt.MinCost)
	for i := range maxRemembered + 10 {
		if len(p.good) >= maxRemembered {
			break
		}
		p.good[p.key("h", fmt.Sprint(i))] = t0
	}
	hash, err := p.Hash(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(t.Context(), hash, "x", t0); err != nil || len(p.good) != 1 {
		t.Fatal(len(p.good), err)
	}
}

func TestSameToken(t *testing.T) {
	if SameToken("", "") || SameToken("a", "b") || !SameToken("a", "a") {
		t.Fatal("tokens")
	}
}

func TestThrottle(t *testing.T) {
	th := NewThrottle()
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range burst {
		if w := th.Wait(a, t0); w != 0 {
			t.Fatalf("try %d has to wait for %v", i, w)
		}
		th.Fail(a, t0)
	}
	if w := th.Wait(a, t0); w != refill {
		t.Fatal(w)
	}
	if w := th.Wait(b, t0); w != 0 {
		t.Fatal("somebody else has to wait for ", w)
	}
	if w := th.Wait(a, t0.Add(refill)); w != 0 {
		t.Fatal(w)
	}
	for range 1000 {
		th.Fail(a, t0)
	}
	if w := th.Wait(a, t0); w > 2*burst*refill {
		t.Fatal("locked out for ", w)
	}
	if w := th.Wait(a, t0.Add(time.Hour)); w != 0 {
		t.Fatal(w)
	}
	if w := th.Wait(a, t0.Add(-time.Hour)); w != 0 {
		t.Fatal("the clock was set back, and the address is locked out for ", w)
	}
	// A host has a whole /64 of addresses.
	for i := range burst {
		th.Fail(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)), t0)
	}
	if th.Wait(netip.MustParseAddr("2001:db8::ffff"), t0) == 0 || th.Wait(netip.MustParseAddr("2001:db8:0:1::1"), t0) != 0 {
		t.Fatal("IPv6")
	}
}

func TestThrottleIsBounded(t *testing.T) {
	th := NewThrottle()
	for i := range 3 * maxWatched {
		th.Fail(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), t0)
	}
	if n := len(th.full); n > maxWatched {
		t.Fatal(n)
	}
}

package auth

import (
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
)

// NewKey returns a bouncer's key: 43 characters for 32 random bytes.
func NewKey() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return base64.RawStdEncoding.EncodeToString(b[:])
}

// HashKey returns what is stored of a key. Keys are random and long, so a fast
// hash without salt is enough, and the hash can be looked up.
func HashKey(key string) string {
	sum := sha512.Sum512([]byte(key))
	return hex.EncodeToString(sum[:])
}

// SameToken compares a secret with what somebody sent, in a time that tells
// nothing of where they differ.
func SameToken(secret, sent string) bool {
	a, b := sha512.Sum512([]byte(secret)), sha512.Sum512([]byte(sent))
	return secret != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

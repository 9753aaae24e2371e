package storage

import (
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
)

// NewKey returns a bouncer's key: 43 characters for 32 random bytes.
func NewKey() string {
	var b [32]byte
	rand.Read(b[:]) // never fails, says its documentation
	return base64.RawStdEncoding.EncodeToString(b[:])
}

// HashKey returns what is stored of a key: lower-case hex of SHA-512, as
// CrowdSec does. Keys are random and long, so a fast hash without salt is
// enough, and the hash can be looked up.
func HashKey(key string) string {
	sum := sha512.Sum512([]byte(key))
	return hex.EncodeToString(sum[:])
}

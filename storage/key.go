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
func HashKey(key string) string { return string(AppendKeyHash(nil, key)) }

// AppendKeyHash appends the hash of a key, 128 bytes.
func AppendKeyHash(dst []byte, key string) []byte {
	var room [128]byte // on the stack: a key comes with every poll
	sum := sha512.Sum512(append(room[:0], key...))
	return hex.AppendEncode(dst, sum[:])
}

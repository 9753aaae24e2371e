package storage

import (
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	key := NewKey()
	if len(key) != 43 || key == NewKey() {
		t.Fatal(key)
	}
	if h := HashKey("abc"); len(h) != 128 || !strings.HasPrefix(h, "ddaf35a193617aba") {
		t.Fatal(h) // FIPS 180-2, appendix C.1
	}
}

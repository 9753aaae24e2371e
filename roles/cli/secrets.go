package cli

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
)

const alphanumerics = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// randomText returns n random letters and digits.
func randomText(n int) string {
	text, b := make([]byte, 0, n), make([]byte, 1)
	for len(text) < n {
		rand.Read(b) // never fails, says its documentation
		// 248 is the greatest multiple of 62 in a byte: each character is as likely.
		if b[0] < 248 {
			text = append(text, alphanumerics[b[0]%62])
		}
	}
	return string(text)
}

// newPassword returns what a machine logs in with when nobody chose a
// password: 64 alphanumerics.
func newPassword() string { return randomText(64) }

// newMachineID returns a name that tells this host apart and is not used yet:
// its machine id and 16 random alphanumerics.
func newMachineID() string {
	text, _ := os.ReadFile("/etc/machine-id") // where there is none, a random one does
	id := strings.ReplaceAll(strings.TrimSpace(string(text)), "-", "")
	if len(id) < 32 || strings.ContainsFunc(id, needsQuotes) {
		id = strings.ReplaceAll(newUUID(), "-", "")
	}
	return id[:32] + randomText(16)
}

// newUUID returns a random UUID (RFC 9562, version 4).
func newUUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

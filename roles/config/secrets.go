package config

import (
	"crypto/rand"
	"os"
	"strings"

	"cs/decisions"
)

// NewPassword returns what a machine logs in with when nobody chose a
// password: 64 letters and digits.
func NewPassword() string { return randomText(64) }

// NewMachineName makes a name for this host's machine that tells an operator
// which it is: the host's, with a random end so that no two are the same.
func NewMachineName() string {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	host = strings.Map(func(r rune) rune {
		if isAlphanumeric(r) || r == '-' || r == '.' || r == '_' {
			return r
		}
		return -1
	}, host)
	if host == "" {
		host = "machine"
	}
	return host[:min(len(host), 63)] + "-" + randomText(16)
}

// NewMachineID makes a name for this host's machine in cscli's form: the 32
// characters of its machine-id file and 16 random ones.
func NewMachineID() string {
	text, _ := os.ReadFile("/etc/machine-id") // where there is none, a random one does
	id := strings.ReplaceAll(strings.TrimSpace(string(text)), "-", "")
	if len(id) < 32 || strings.ContainsFunc(id, func(r rune) bool { return !isAlphanumeric(r) }) {
		id = strings.ReplaceAll(decisions.NewUUID(), "-", "")
	}
	return id[:32] + randomText(16)
}

const alphanumerics = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func isAlphanumeric(r rune) bool { return strings.ContainsRune(alphanumerics, r) }

// randomText returns n random letters and digits.
func randomText(n int) string {
	text := make([]byte, 0, n)
	for len(text) < n {
		var b [64]byte
		rand.Read(b[:]) // never fails, says its documentation
		for _, c := range b[:n-len(text)] {
			// 248 is the greatest multiple of 62 in a byte: each character is as likely.
			if c < 248 {
				text = append(text, alphanumerics[c%62])
			}
		}
	}
	return string(text)
}

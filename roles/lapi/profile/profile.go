// Package profile turns an alert without decisions into one with them: what to
// do about whom, for how long. roles/lapi calls it for every alert of an
// agent; it knows nothing of stores or of HTTP.
package profile

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"cs/decisions"
)

// defaultBan is what the packaged profiles of upstream say.
const defaultBan = 4 * time.Hour

// Profiles is an ordered list of rules; the first that matches decides.
type Profiles struct{}

// Default bans the addresses and ranges of alerts that ask for remediation for
// four hours.
func Default() *Profiles { return &Profiles{} }

// Decide returns the decisions for an alert that has none. They last from the
// end of the alert on, so those of a replayed log may be over already.
func (p *Profiles) Decide(a *decisions.Alert, now time.Time) []decisions.Decision {
	if !a.Remediation || a.Source.Scope != decisions.ScopeIP && a.Source.Scope != decisions.ScopeRange {
		return nil
	}
	return []decisions.Decision{{
		UUID:      NewUUID(),
		Origin:    decisions.OriginCrowdsec,
		Scenario:  a.Scenario,
		Scope:     a.Source.Scope,
		Type:      "ban",
		Value:     a.Source.Value,
		Simulated: a.Simulated,
		Created:   now,
		Until:     a.StopAt.Add(defaultBan),
	}}
}

// NewUUID returns a random UUID (version 4, RFC 9562).
func NewUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// IsUUID tells whether a text is a UUID of version 4 in its usual form.
func IsUUID(s string) bool {
	if len(s) != 36 || s[14] != '4' || !strings.ContainsRune("89abAB", rune(s[19])) {
		return false
	}
	for i, c := range s {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case !strings.ContainsRune("0123456789abcdefABCDEF", c):
			return false
		}
	}
	return true
}

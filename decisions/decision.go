// Package decisions holds what is banned now: the plain values Alert and
// Decision, the live Set of decisions with its expiry, the delta log that
// bouncers follow, and the saved set that survives a reboot.
//
// It is the one package that every column shares. It knows nothing of HTTP,
// databases, log lines or firewalls: lapi writes it, bouncers read it.
package decisions

import (
	"net/netip"
	"strings"
	"time"
)

// Scopes as they are stored and shown. Any other text is a scope of its own
// ("username", "session"), compared byte for byte.
const (
	ScopeIP      = "Ip"
	ScopeRange   = "Range"
	ScopeCountry = "Country"
	ScopeAS      = "AS"
)

// Origins with a meaning to us; others pass through.
const (
	OriginCrowdsec = "crowdsec"     // made from an alert by a profile
	OriginCscli    = "cscli"        // added by hand
	OriginImport   = "cscli-import" // imported from a file by hand
	OriginCAPI     = "CAPI"         // community blocklist
	OriginLists    = "lists"        // subscribed blocklist, its name is the scenario
)

// A Decision says what to do (Type) about whom (Scope, Value) until when.
// Decisions are values; copying one is fine.
type Decision struct {
	ID        int64 // given by the store in commit order, never reused
	AlertID   int64 // the alert that owns it
	UUID      string
	Origin    string
	Scenario  string
	Scope     string
	Type      string // "ban", "captcha", or any other word
	Value     string // as given: address, prefix, country code, …
	Simulated bool
	Created   time.Time
	Until     time.Time
}

// Prefix returns the addresses of an Ip or Range decision. Other scopes and
// values that are no address give false.
func (d *Decision) Prefix() (netip.Prefix, bool) {
	if d.Scope != ScopeIP && d.Scope != ScopeRange {
		return netip.Prefix{}, false
	}
	p, err := ParsePrefix(d.Value)
	return p, err == nil
}

// clone returns a copy whose texts are not parts of longer ones, such as the
// body of a request.
func (d *Decision) clone() Decision {
	c := *d
	for _, text := range []*string{&c.UUID, &c.Origin, &c.Scenario, &c.Scope, &c.Type, &c.Value} {
		*text = strings.Clone(*text)
	}
	return c
}

// Active tells whether the decision is in force at now.
func (d *Decision) Active(now time.Time) bool { return d.Until.After(now) }

// NormalScope returns the stored spelling of the four well-known scopes,
// whatever their case; other texts are returned unchanged.
func NormalScope(s string) string {
	for _, known := range [...]string{ScopeIP, ScopeRange, ScopeCountry, ScopeAS} {
		if strings.EqualFold(s, known) {
			return known
		}
	}
	return s
}

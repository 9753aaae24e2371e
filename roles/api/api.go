// Package api is the contract of the Local API (LAPI): what goes over the wire
// and how to talk to it. It holds the wire types, their one conversion each
// way from and to package decisions, the encoder of the bouncers' answers, and
// the client that agents, bouncers and operators' commands use against our
// server or CrowdSec's own (upstream's, v1.7).
//
// It decides nothing: which decisions a bouncer is told is decisions.Log's
// business, who may ask is roles/lapi's. Only roles import it.
package api

import "strings"

// Paths of the routes. Those with an argument end in "/".
const (
	PathHealth         = "/health"
	PathWatchers       = "/v1/watchers"
	PathLogin          = "/v1/watchers/login"
	PathSelf           = "/v1/watchers/self"
	PathRefresh        = "/v1/refresh_token"
	PathHeartbeat      = "/v1/heartbeat"
	PathAlerts         = "/v1/alerts"
	PathDecisions      = "/v1/decisions"
	PathStream         = "/v1/decisions/stream"
	PathUsageMetrics   = "/v1/usage-metrics"
	PathAllowlists     = "/v1/allowlists"
	PathAllowlistCheck = "/v1/allowlists/check"

	// PathBouncers is an extension of ours: a bouncer that knows the
	// registration token fetches its own key.
	PathBouncers = "/v1/bouncers"

	// The administration routes are served on the unix socket only.
	PathAdminMachines = "/admin/v1/machines"
	PathAdminBouncers = "/admin/v1/bouncers"
	PathAdminLogin    = "/admin/v1/login"
	PathAdminFlush    = "/admin/v1/alerts/flush"
	// PathAdminAllowlists has "/{name}/add" and "/{name}/remove" below it.
	PathAdminAllowlists = "/admin/v1/allowlists"
)

// SocketMachine is in whose name our server takes what comes in by its socket
// without credentials.
const SocketMachine = "localhost"

// Headers. Those with "Cs" in their name are extensions of ours; an upstream
// server neither sends nor minds them.
const (
	HeaderKey = "X-Api-Key"
	// HeaderWait, in an answer of the stream, says for how long the server
	// would hold a request with ?wait= open until there is news (Go duration).
	HeaderWait = "X-Cs-Wait"
	// HeaderCursor, in an answer of the stream, is what to send as ?cursor= to
	// continue after this answer, whatever became of answers in between.
	HeaderCursor = "X-Cs-Cursor"
	// HeaderFull is "true" when the answer is the whole set, although only
	// changes were asked for: the cursor was too old.
	HeaderFull = "X-Cs-Full"
	// HeaderTally, in an answer to ?tally&dedup=false, says what the decisions
	// that the client then knows come to: "COUNT.SUM", see decisions.Tally.
	HeaderTally = "X-Cs-Tally"
)

// UserAgent is how programs of this version introduce themselves. Upstream's
// login accepts exactly one slash, so the version may hold none.
func UserAgent(version string) string {
	version = strings.Map(func(r rune) rune {
		if r == '/' || r <= ' ' || r > '~' {
			return '-'
		}
		return r
	}, version)
	if version == "" {
		version = "dev"
	}
	return "crowdsec-cs/" + version
}

// Package storage keeps what a LAPI must not forget: machines, bouncers,
// alerts with their decisions, allowlists, and a few named values. It defines the Store
// that every backend implements and the conditions a caller decides on;
// storagetest holds the suite that proves a backend.
//
// The live set of decisions is not here but in memory (package decisions): a
// store is read at start and written to, never asked on the path of a
// bouncer's poll.
package storage

import (
	"context"
	"errors"
	"time"

	"cs/decisions"
)

// Conditions a caller decides on.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
	// ErrLocked means that another process holds the store.
	ErrLocked = errors.New("in use by another process")
	// ErrCorrupt means that the file is damaged; the text says what to do.
	ErrCorrupt = errors.New("damaged")
)

// How somebody proves who they are.
const (
	AuthPassword = "password" // machines
	AuthKey      = "api-key"  // bouncers
	AuthTLS      = "tls"      // either
)

// Machine is a log processor that may send alerts.
type Machine struct {
	ID            string
	PasswordHash  string // bcrypt, or "" for TLS machines
	AuthType      string // AuthPassword or AuthTLS
	IP            string
	Validated     bool
	Version       string
	Scenarios     []string
	OSName        string
	OSVersion     string
	OSFamily      string
	FeatureFlags  []string
	Datasources   map[string]int64
	HubItems      map[string][]HubItem // what is installed, by type ("parsers")
	Created       time.Time
	Updated       time.Time
	LastPush      time.Time // zero: never
	LastHeartbeat time.Time // zero: never
}

// HubItem is a parser, scenario or the like that a machine has installed.
type HubItem struct {
	Name    string
	Status  string // "official", "custom", "tainted"
	Version string
}

// Bouncer is a remediation component that may read decisions. Several
// bouncers may share one key: then each source address has its own row
// ("name@ip", AutoCreated) and its own cursor.
type Bouncer struct {
	Name         string
	KeyHash      string // see HashKey
	AuthType     string // AuthKey or AuthTLS
	IP           string
	Type         string
	Version      string
	OSName       string
	OSVersion    string
	OSFamily     string
	FeatureFlags []string
	AutoCreated  bool
	Created      time.Time
	Updated      time.Time
	LastPull     time.Time // zero: never
	// Cursor is the greatest decision ID that the bouncer has been sent;
	// with LastPull it says what the next delta holds.
	Cursor int64
}

// Allowlist is a named list of addresses that are never banned.
type Allowlist struct {
	Name        string
	Description string
	ConsoleID   string // of the list at the console that manages it; "": it is ours
	Created     time.Time
	Updated     time.Time
	Items       []AllowItem // in the order in which they were added
}

// AllowItem is an address or a range on an allowlist.
type AllowItem struct {
	Value   string // as decisions.ParsePrefix takes it
	Comment string
	Created time.Time
	Expires time.Time // zero: never
}

// AlertHead is what decides whether an alert is too old, and what it costs to
// delete it.
type AlertHead struct {
	ID        int64
	Created   time.Time
	Decisions int // how many it has
}

// AlertFilter selects alerts; the zero value selects all. Backends apply what
// they can tell without reading a whole alert; Match decides on the rest.
type AlertFilter struct {
	Since  time.Time // started at or after
	Until  time.Time // started at or before
	Limit  int       // 0: no limit
	Oldest bool      // by rising ID instead of newest first
	// Match, if set, decides whether an alert counts; it must not keep it.
	Match func(*decisions.Alert) bool
}

// Store keeps the state of one LAPI. All methods are safe for concurrent use
// and return only when the change is on disk, except those that say
// otherwise. A context that ends before the change has begun gives its error;
// there is no half-done change. Names and IDs are not empty. What comes back
// is the caller's own copy, with times in UTC, but for those of an alert's
// events (StartAt, StopAt), which keep the offset of the log.
type Store interface {
	AddMachine(ctx context.Context, m Machine) error // ErrExists
	Machine(ctx context.Context, id string) (Machine, error)
	Machines(ctx context.Context) ([]Machine, error) // by creation
	// UpdateMachine reads, changes and writes one machine in one transaction.
	// change may be called again when another change of the same batch failed;
	// its error is returned and nothing is written. The ID can't be changed.
	UpdateMachine(ctx context.Context, id string, change func(*Machine) error) error
	DeleteMachine(ctx context.Context, id string) error

	AddBouncer(ctx context.Context, b Bouncer) error // ErrExists
	Bouncer(ctx context.Context, name string) (Bouncer, error)
	Bouncers(ctx context.Context) ([]Bouncer, error) // by creation
	UpdateBouncer(ctx context.Context, name string, change func(*Bouncer) error) error
	DeleteBouncer(ctx context.Context, name string) error
	// StampBouncers and StampMachines write pull cursors and heartbeats of
	// many rows at once. Unknown names are skipped.
	StampBouncers(ctx context.Context, stamps []BouncerStamp) error
	StampMachines(ctx context.Context, stamps []MachineStamp) error

	// AddAlerts stores alerts with their decisions, gives both their IDs (in
	// place, rising in commit order) and returns when all are on disk; all or
	// none. An alert whose (MachineID, UUID) is known already is not stored
	// again: it gets the ID it has, its Decisions become nil, and known
	// reports it. An empty UUID is never known.
	AddAlerts(ctx context.Context, alerts []decisions.Alert) (known []bool, err error)
	// Restore stores alerts that another store has kept, under the IDs that they
	// and their decisions have: those of an alert follow each other, and all are
	// greater than any given before, else the error is ErrExists. All or none.
	Restore(ctx context.Context, alerts []decisions.Alert) error
	Alert(ctx context.Context, id int64) (decisions.Alert, error)
	// EachAlert calls f for every alert the filter selects until it returns
	// false, newest first. The alert is valid during the call only. No
	// transaction is held meanwhile: f may call the store, and changes made
	// during the walk may be seen or not.
	EachAlert(ctx context.Context, filter AlertFilter, f func(*decisions.Alert) bool) error
	// DeleteAlerts removes alerts with their decisions and returns how many
	// there were.
	DeleteAlerts(ctx context.Context, ids []int64) (int, error)
	// AlertHeads returns up to limit alerts whose IDs are greater than after, by
	// rising ID, without reading more of them than that.
	AlertHeads(ctx context.Context, after int64, limit int) ([]AlertHead, error)
	// LastAlert returns the ID of the newest alert, 0 if there is none.
	LastAlert(ctx context.Context) (int64, error)
	// HasAlerts tells whether an alert with a UUID is kept that a machine sent.
	HasAlerts(ctx context.Context, machineID string) (bool, error)

	// EachDecision calls f for every decision that ends after the given time,
	// in the order of their IDs, until it returns false. What EachAlert says
	// of its callback holds here too.
	EachDecision(ctx context.Context, endAfter time.Time, f func(*decisions.Decision) bool) error
	// ExpireDecisions sets the end of the given decisions. Unknown IDs are
	// skipped; it returns how many were changed.
	ExpireDecisions(ctx context.Context, ids []int64, until time.Time) (int, error)

	AddAllowlist(ctx context.Context, l Allowlist) error // ErrExists
	Allowlist(ctx context.Context, name string) (Allowlist, error)
	Allowlists(ctx context.Context) ([]Allowlist, error) // by creation
	// UpdateAllowlist is like UpdateMachine. Items must be unique by Value.
	UpdateAllowlist(ctx context.Context, name string, change func(*Allowlist) error) error
	DeleteAllowlist(ctx context.Context, name string) error

	// Value and SetValue keep small named values: the JWT secret, cursors.
	Value(ctx context.Context, name string) ([]byte, error) // ErrNotFound
	SetValue(ctx context.Context, name string, value []byte) error

	// Close writes what is pending. Later calls fail.
	Close() error
}

// BouncerStamp is the outcome of one successful pull.
type BouncerStamp struct {
	Name     string
	LastPull time.Time
	Cursor   int64
}

// MachineStamp is a sign of life of a machine; zero times are left as they are.
type MachineStamp struct {
	ID            string
	LastHeartbeat time.Time
	LastPush      time.Time
}

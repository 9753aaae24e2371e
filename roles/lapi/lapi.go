// Package lapi is the Local API: the server that agents report to, that
// bouncers ask, and that operators' commands talk to. It takes alerts, lets
// the profiles decide, keeps both in a store, and tells every bouncer what
// changed. COMPAT.md lists where it deviates from CrowdSec's
// (upstream's) on purpose.
//
// What goes over the wire is described in roles/api, which decisions a bouncer
// hears of in decisions.Log. This package wires them to HTTP and to the store.
// roles/run starts it; agent and bouncer of the same process use Local and
// Feed instead of HTTP.
package lapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"cs/decisions"
	"cs/platform/metric"
	"cs/roles/config"
	"cs/roles/lapi/auth"
	"cs/roles/lapi/notify"
	"cs/roles/lapi/profile"
	"cs/storage"
)

const (
	// stampEvery is how often it is written what bouncers have been told, of
	// all at once. A crash loses the last second of it, and they hear twice of
	// what happened then, never not at all.
	stampEvery = time.Second
	// idleStampEvery is how often mere signs of life are written.
	idleStampEvery = time.Minute
	// retainEvery is how often old alerts are looked for.
	retainEvery = time.Minute
	// idleAdvance is how long the clock of the decisions sleeps at most. The
	// wall clock may be set; a timer doesn't notice.
	idleAdvance = 10 * time.Second
)

// Names of the values kept in the store.
const (
	valueSecret = "jwt-secret"
	valueEpoch  = "epoch" // names this store, so that a cursor of another one is noticed
)

// Config says how the server works. The zero value of a field means its
// default, unless it says otherwise.
type Config struct {
	// OpenStore opens the store, which the server closes. It must be set.
	OpenStore func(context.Context) (storage.Store, error)

	Listen      string // TCP address, "127.0.0.1:8080"; "": no TCP
	AdminSocket string // path of the unix socket with the administration routes; "": none
	Socket      string // path of one without; "": none

	// Policy says whom to believe and what to keep, until Reload.
	Policy config.Policy

	// TLS encrypts the TCP port and lets clients in by certificate; nil: plain
	// HTTP. Its Now and Warn are the server's own.
	TLS *auth.TLSConfig

	// Secret signs the tokens of machines, at least 64 bytes. Empty: a random
	// one, kept in the store.
	Secret []byte

	// LoadProfiles reads the profiles; nil: profile.Default. They ask the
	// server what it decided earlier.
	LoadProfiles func(profile.History) (*profile.Profiles, error)

	// LoadNotifications reads the notifications that profiles name; nil: there
	// are none, and no profile may name one.
	LoadNotifications func(names []string) (map[string]*notify.Instance, error)

	MaxDecisions int // live decisions held in memory; 0: 2 million

	// Scratch is the directory of files that last no longer than the process; "":
	// the system's.
	Scratch string

	// Hub is the directory of the hub that everybody may read; "": none.
	Hub string

	// Metrics gives the numbers of the other roles of this process, for a page of a
	// level; nil: there are none.
	Metrics func(level string) metric.Source
	Version string // of this program

	// Listening, if set, is called each time Run has all its listeners.
	Listening func()

	Log *slog.Logger     // must be set
	Now func() time.Time // nil: time.Now

	passwordCost int // 0: auth.Cost; tests have no time for it
}

// Server is an open Local API. Open it, Run it if it shall listen, Close it.
type Server struct {
	conf      Config // but for what rules has
	store     storage.Store
	decisions *decisions.Log
	rules     atomic.Pointer[rules]
	ruled     chan struct{} // tells of other rules
	machines  *machines
	bouncers  *bouncers
	pieces    pieces
	usage     usage
	requests  requests
	tidy      tidier
	commits   commits
	signer    *auth.Signer
	passwords *auth.Passwords
	throttle  *auth.Throttle
	tls       *auth.TLS // nil: plain HTTP
	lists     allowlists
	accounts  sync.Mutex // held while rows of machines and bouncers are added or removed, in the store and in memory
	epoch     string
	uploads   *turns       // of bodies that are not small
	large     *turns       // of large ones
	strangers *turns       // of those that anybody may send
	reads     *turns       // of alerts
	inside    atomic.Int64 // requests that are being answered
	most      int64        // of them
	log       *slog.Logger
	now       func() time.Time
	started   time.Time
	soonest   chan struct{} // wakes the clock: something may end earlier than it thinks

	stop context.CancelFunc
	done sync.WaitGroup
}

// Open opens the store, loads what must be in memory, and starts the
// background work. It doesn't listen: agent and bouncer of this process can
// use the server before, and whether or not, Run finds its port free.
func Open(ctx context.Context, conf Config) (*Server, error) {
	if err := conf.complete(); err != nil {
		return nil, err
	}
	s := &Server{
		conf:      conf,
		decisions: decisions.NewLog(conf.MaxDecisions),
		passwords: auth.NewPasswords(conf.passwordCost),
		throttle:  auth.NewThrottle(),
		uploads:   newTurns(uploadTurns, fairUpload),
		large:     newTurns(largeTurns, fairUpload),
		strangers: newTurns(strangerTurns, fairStranger),
		reads:     newTurns(readTurns, fairReading),
		most:      maxRequests,
		log:       conf.Log,
		// The store keeps no monotonic time; so nothing here reckons with it.
		now:     func() time.Time { return conf.Now().Round(0) },
		soonest: make(chan struct{}, 1),
		ruled:   make(chan struct{}, 1),
	}
	s.commits.turn = make(chan struct{}, 1)
	s.started = s.now()
	var err error
	if conf.TLS != nil {
		c := *conf.TLS
		c.Now, c.Warn = conf.Now, func(err error) { conf.Log.Error("changed files are not used", "err", err) }
		if s.tls, err = auth.NewTLS(c); err != nil {
			return nil, err
		}
	}
	r, err := s.loadRules(&conf)
	if err != nil {
		return nil, err
	}
	s.adopt(r)
	s.conf.Policy, s.conf.LoadProfiles, s.conf.LoadNotifications = config.Policy{}, nil, nil
	if s.store, err = conf.OpenStore(ctx); err != nil {
		return nil, err
	}
	if err := s.load(ctx); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	background, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.done.Go(func() { s.clock(background) })
	s.done.Go(func() { s.keepBooks(background) })
	s.done.Go(func() { s.sendNotifications(background) })
	return s, nil
}

// Close ends the background work, writes what is pending and closes the store.
// Run must have returned.
func (s *Server) Close() error {
	s.stop()
	s.done.Wait()
	s.tidy.stop()
	s.pieces.stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return errors.Join(s.writeStamps(ctx, true), s.store.Close())
}

func (c *Config) complete() error {
	if n := len(c.Policy.Token); n > 0 && (n < 32 || n > 255) {
		return fmt.Errorf("cannot use the registration token: it has %d characters, want 32 to 255", n)
	}
	if n := len(c.Secret); n > 0 && n < 64 {
		return errors.New("CS_LAPI_SECRET not strong enough: want at least 64 bytes")
	}
	if c.LoadProfiles == nil {
		c.LoadProfiles = func(h profile.History) (*profile.Profiles, error) { return profile.Default(h), nil }
	}
	c.Policy.MaxAlerts = cmp.Or(c.Policy.MaxAlerts, 5000)
	c.Policy.MaxAlertAge = cmp.Or(c.Policy.MaxAlertAge, 7*24*time.Hour)
	c.Policy.MaxMetricsAge = cmp.Or(c.Policy.MaxMetricsAge, 7*24*time.Hour)
	if c.MaxDecisions == 0 {
		c.MaxDecisions = 2_000_000
	}
	if c.passwordCost == 0 {
		c.passwordCost = auth.Cost
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// load fills what is in memory from the store.
func (s *Server) load(ctx context.Context) error {
	secret := s.conf.Secret
	var err error
	if len(secret) == 0 {
		if secret, err = s.value(ctx, valueSecret, 64); err != nil {
			return fmt.Errorf("cannot prepare the key of the tokens: %w", err)
		}
	}
	s.signer = auth.NewSigner(secret)
	epoch, err := s.value(ctx, valueEpoch, 8)
	if err != nil {
		return fmt.Errorf("cannot prepare the name of the store: %w", err)
	}
	s.epoch = hex.EncodeToString(epoch)

	if s.machines, err = loadMachines(ctx, s.store); err != nil {
		return fmt.Errorf("cannot load the machines: %w", err)
	}
	if s.bouncers, err = loadBouncers(ctx, s.store); err != nil {
		return fmt.Errorf("cannot load the bouncers: %w", err)
	}
	if err := s.loadAllowlists(ctx); err != nil {
		return fmt.Errorf("cannot load the allowlists: %w", err)
	}
	if err := s.usage.load(ctx, s.store); err != nil {
		return err
	}
	now := s.now()
	var last int64
	err = s.store.EachDecision(ctx, now.Add(-decisions.KeepEnded), func(d *decisions.Decision) bool {
		s.decisions.Restore(*d, now)
		last = d.ID
		return true
	})
	if err != nil {
		return fmt.Errorf("cannot load the decisions: %w", err)
	}
	// What a bouncer was told last may have been deleted with its alert.
	s.decisions.Restored(max(last, s.bouncers.lastTold()), now)
	s.decisions.View(func(set *decisions.Set) {
		if refused := set.Refused(); refused > 0 {
			s.log.Error("too many live decisions: some come into force when others end", "refused", refused, "limit", s.conf.MaxDecisions)
		}
	})
	return nil
}

// value returns a random value of the store, made when it isn't there yet.
func (s *Server) value(ctx context.Context, name string, size int) ([]byte, error) {
	v, err := s.store.Value(ctx, name)
	if err == nil && len(v) >= size {
		return v, nil
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	v = make([]byte, size)
	rand.Read(v) // never fails
	return v, s.store.SetValue(ctx, name, v)
}

// clock ends decisions when their time has come, so that those who wait for
// news hear of it at once.
func (s *Server) clock(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait := idleAdvance
		if next := s.decisions.Advance(s.now()); !next.IsZero() {
			wait = min(wait, max(0, next.Sub(s.now())))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.soonest:
		}
	}
}

// keepBooks writes stamps, deletes old alerts, and lets in what had no room.
func (s *Server) keepBooks(ctx context.Context) {
	stamps, idle, retain := time.NewTicker(stampEvery), time.NewTicker(idleStampEvery), time.NewTicker(retainEvery)
	defer stamps.Stop()
	defer idle.Stop()
	defer retain.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return
		case <-idle.C:
			all = true
		case <-stamps.C:
			if err := s.readmit(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("some decisions are not in force", "err", err)
			}
		case <-retain.C:
			if err := s.retain(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("cannot delete old alerts", "err", err)
			}
		}
		if err := s.writeStamps(ctx, all); err != nil && ctx.Err() == nil {
			s.log.Error("cannot write pulls and heartbeats", "err", err)
		}
	}
}

// writeStamps writes what bouncers have been told, and with all also who gave
// a sign of life.
func (s *Server) writeStamps(ctx context.Context, all bool) error {
	var err error
	if all {
		s.usage.keep(s.knows)
		err = errors.Join(s.machines.flush(ctx, s.store), s.usage.flush(ctx, s.store, s.now()))
	}
	return errors.Join(err, s.bouncers.flush(ctx, s.store, all))
}

// wakeClock makes clock look again.
func (s *Server) wakeClock() {
	select {
	case s.soonest <- struct{}{}:
	default:
	}
}

// history answers the expressions of profiles from memory: the decisions in
// force, and those that ended in the last days.
type history struct{ s *Server }

func (h history) Now() time.Time { return h.s.now() }

func (h history) Earlier(value string, f func(*decisions.Decision) bool) {
	p, err := decisions.ParsePrefix(value)
	if err != nil {
		return
	}
	more := true
	h.s.decisions.View(func(set *decisions.Set) {
		set.Covering(p, func(d *decisions.Decision) bool {
			more = f(d)
			return more
		})
	})
	if more {
		h.s.decisions.EndedCovering(p, f)
	}
}

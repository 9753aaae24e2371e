package lapi

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/storage"
	"cs/storage/mem"
)

// counting is a store that notes what is deleted in one transaction, and that
// no alert is read to find old ones.
type counting struct {
	storage.Store
	batches []int
	read    int
}

func (c *counting) DeleteAlerts(ctx context.Context, ids []int64) (int, error) {
	if len(ids) > 0 {
		c.batches = append(c.batches, len(ids))
	}
	return c.Store.DeleteAlerts(ctx, ids)
}

func (c *counting) Alert(ctx context.Context, id int64) (decisions.Alert, error) {
	c.read++
	return c.Store.Alert(ctx, id)
}

func (c *counting) EachAlert(ctx context.Context, f storage.AlertFilter, each func(*decisions.Alert) bool) error {
	c.read++
	return c.Store.EachAlert(ctx, f, each)
}

// onCounting runs a server on a store that counts.
func onCounting(t *testing.T, change func(*Config)) (*Server, *counting) {
	t.Helper()
	c := &counting{Store: mem.New()}
	return open(t, func(conf *Config) {
		change(conf)
		conf.OpenStore = func(context.Context) (storage.Store, error) { return c, nil }
	}), c
}

// alerted stores alerts that were made at a time, each with so many decisions
// of an hour.
func alerted(t *testing.T, s *Server, at time.Time, alerts, each int) {
	t.Helper()
	list := make([]decisions.Alert, alerts)
	for i := range list {
		list[i] = decisions.Alert{UUID: decisions.NewUUID(), MachineID: "m", Created: at, StartAt: at, StopAt: at}
		for j := range each {
			list[i].Decisions = append(list[i].Decisions, decisions.Decision{
				Scope: "x", Type: "ban", Value: fmt.Sprint(i, j), Origin: "cscli", Created: at, Until: at.Add(time.Hour),
			})
		}
	}
	if _, err := s.commit(t.Context(), list); err != nil {
		t.Fatal(err)
	}
}

func remaining(t *testing.T, s *Server) (ids []int64) {
	t.Helper()
	heads, err := s.store.AlertHeads(t.Context(), 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range heads {
		ids = append(ids, h.ID)
	}
	return ids
}

func TestRetentionReadsNoAlerts(t *testing.T) {
	clock, at := clockAtNoon()
	s, c := onCounting(t, func(c *Config) { at(c); c.Policy.MaxAlerts, c.Policy.MaxAlertAge = 10, 24*time.Hour })
	alerted(t, s, clock.Now(), 5, 0)
	alerted(t, s, clock.Now(), 5, 1)
	clock.Add(time.Minute)
	alerted(t, s, clock.Now(), 3, 0)
	// Too many: those without a decision in force go.
	if err := s.retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := remaining(t, s); !slices.Equal(got, []int64{4, 5, 6, 7, 8, 9, 10, 11, 12, 13}) {
		t.Fatal(got)
	}
	alerted(t, s, clock.Now(), 5, 0)
	if n, err := s.flushAlerts(t.Context(), 10, 24*time.Hour); n != 2 || err != nil {
		t.Fatal(n, err) // 6, 7 and 8 have decisions in force
	}
	clock.Add(2 * time.Hour)
	s.decisions.Advance(clock.Now())
	if n, err := s.flushAlerts(t.Context(), 10, 24*time.Hour); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	// Too old.
	clock.Add(23 * time.Hour)
	alerted(t, s, clock.Now(), 1, 0)
	if n, err := s.flushAlerts(t.Context(), 1000, 24*time.Hour); n != 10 || err != nil {
		t.Fatal(n, err, remaining(t, s))
	}
	if got := remaining(t, s); !slices.Equal(got, []int64{19}) {
		t.Fatal(got)
	}
	if c.read != 0 {
		t.Errorf("%d alerts were read to find out that they are old", c.read)
	}
}

func TestRetentionIsDoneInPieces(t *testing.T) {
	clock, at := clockAtNoon()
	s, c := onCounting(t, at)
	alerted(t, s, clock.Now(), 2*headPage, 0)
	alerted(t, s, clock.Now(), 3, deleteDecisionsMost/2+1)
	clock.Add(8 * 24 * time.Hour)
	s.decisions.Advance(clock.Now())
	if n, err := s.flushAlerts(t.Context(), 5000, 7*24*time.Hour); n != 2*headPage+3 || err != nil {
		t.Fatal(n, err)
	}
	if want := 2*headPage/deleteAlertsMost + 3; len(c.batches) != want || slices.Max(c.batches) != deleteAlertsMost {
		t.Errorf("%d transactions: %v, want %d", len(c.batches), c.batches, want)
	}
}

// TestRetentionSparesWhatHasNoRoom: a ban that waits for room in memory is in
// force all the same.
func TestRetentionSparesWhatHasNoRoom(t *testing.T) {
	clock, at := clockAtNoon()
	s := open(t, func(c *Config) { at(c); c.MaxDecisions, c.Policy.MaxAlerts = 1, 1 })
	alerted(t, s, clock.Now(), 3, 1)
	alerted(t, s, clock.Now(), 3, 0)
	if err := s.retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := remaining(t, s); !slices.Equal(got, []int64{1, 2, 3, 6}) {
		t.Fatal(got)
	}
}

// TestRetentionAndTheClock sets the clock back and forth.
func TestRetentionAndTheClock(t *testing.T) {
	clock, at := clockAtNoon()
	s := open(t, at)
	alerted(t, s, clock.Now(), 2, 1)
	clock.Add(-48 * time.Hour)
	alerted(t, s, clock.Now(), 2, 1)
	if err := s.retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	clock.Add(48 * time.Hour)
	fw := bouncer(t, s, "fw")
	fw.want("GET", "/v1/decisions/stream?startup=true&scopes=x", "", 200, "*")
	if err := s.retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := remaining(t, s); len(got) != 4 {
		t.Error(got)
	}
	if n := len(live(s)); n != 2 { // those made in the past have ended
		t.Error(n)
	}
}

func TestSilentAccountsAreDeleted(t *testing.T) {
	clock, at := clockAtNoon()
	s := open(t, func(c *Config) {
		at(c)
		c.Policy.IdleMachines, c.Policy.IdleCertMachines, c.Policy.IdleBouncers, c.Policy.IdleCertBouncers = time.Hour, 2*time.Hour, time.Hour, 2*time.Hour
	})
	ctx, long, longer := t.Context(), clock.Now().Add(-time.Hour), clock.Now().Add(-2*time.Hour)
	machines := []storage.Machine{
		{ID: "silent", AuthType: storage.AuthPassword, IP: "192.0.2.1", LastHeartbeat: long},
		{ID: "alive", AuthType: storage.AuthPassword, IP: "192.0.2.1", LastHeartbeat: long.Add(time.Second)},
		{ID: "never", AuthType: storage.AuthPassword, IP: "192.0.2.1"},
		{ID: "local", AuthType: storage.AuthPassword, IP: "127.0.0.1", LastHeartbeat: longer},
		{ID: "local6", AuthType: storage.AuthPassword, IP: "::1", LastHeartbeat: longer},
		{ID: "m", AuthType: storage.AuthPassword, IP: "192.0.2.1", LastHeartbeat: longer}, // has alerts
		{ID: "cert", AuthType: storage.AuthTLS, IP: "192.0.2.1", LastHeartbeat: long},
		{ID: "silent cert", AuthType: storage.AuthTLS, IP: "192.0.2.1", LastHeartbeat: longer},
	}
	for _, m := range machines {
		if err := s.store.AddMachine(ctx, m); err != nil {
			t.Fatal(err)
		}
		s.machines.set(m.ID, true)
	}
	alerted(t, s, clock.Now(), 1, 0)
	bouncers := []storage.Bouncer{
		{Name: "silent", KeyHash: "k1", AuthType: storage.AuthKey, LastPull: long},
		{Name: "alive", KeyHash: "k2", AuthType: storage.AuthKey, LastPull: long.Add(time.Second)},
		{Name: "never", KeyHash: "k3", AuthType: storage.AuthKey},
		{Name: "alive@192.0.2.9", KeyHash: "k2", AuthType: storage.AuthKey, AutoCreated: true, LastPull: longer},
		{Name: "cert", AuthType: storage.AuthTLS, LastPull: long},
		{Name: "silent cert", AuthType: storage.AuthTLS, LastPull: longer},
	}
	for _, b := range bouncers {
		if err := s.store.AddBouncer(ctx, b); err != nil {
			t.Fatal(err)
		}
		s.bouncers.insert(b)
	}
	if err := s.retain(ctx); err != nil {
		t.Fatal(err)
	}
	var names []string
	rows, err := s.store.Machines(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range rows {
		names = append(names, m.ID)
	}
	slices.Sort(names)
	if got, want := strings.Join(names, ","), "alive,cert,local,local6,m,never"; got != want {
		t.Errorf("machines %s, want %s", got, want)
	}
	names = nil
	for _, b := range s.bouncers.list() {
		names = append(names, b.Name)
	}
	slices.Sort(names)
	if got, want := strings.Join(names, ","), "alive,cert,never"; got != want {
		t.Errorf("bouncers %s, want %s", got, want)
	}
	if s.machines.allowed("silent") || !s.machines.allowed("alive") {
		t.Error("who is let in")
	}
	if kept, err := s.store.Bouncers(ctx); err != nil || len(kept) != 3 {
		t.Error(kept, err)
	}
}

package lapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"cs/storage"
)

// maxPending bounds the machines that registered themselves and wait for an
// operator: anybody who reaches the port may make one. At the bound further
// ones are refused.
const maxPending = 1000

// maxScenarios bounds the text of a machine's scenarios, as upstream's column.
const maxScenarios = 100_000

// machines knows which machines may come in, without asking the store, and
// collects their signs of life.
type machines struct {
	mu      sync.Mutex
	valid   map[string]bool // by ID; false: waits for an operator
	pending int
	stamps  map[string]storage.MachineStamp
}

func loadMachines(ctx context.Context, store storage.Store) (*machines, error) {
	all, err := store.Machines(ctx)
	if err != nil {
		return nil, err
	}
	m := &machines{valid: make(map[string]bool), stamps: make(map[string]storage.MachineStamp)}
	for _, row := range all {
		m.set(row.ID, row.Validated)
	}
	return m, nil
}

// set notes that a machine exists.
func (m *machines) set(id string, valid bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(id)
	m.valid[id] = valid
	if !valid {
		m.pending++
	}
}

// remove notes that a machine is gone.
func (m *machines) remove(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(id)
	delete(m.stamps, id)
}

func (m *machines) drop(id string) {
	if valid, known := m.valid[id]; known && !valid {
		m.pending--
	}
	delete(m.valid, id)
}

// allowed tells whether a machine exists and is validated.
func (m *machines) allowed(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.valid[id]
}

// crowded tells whether too many machines wait for an operator.
func (m *machines) crowded() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pending >= maxPending
}

func (m *machines) heartbeat(id string, now time.Time) {
	m.stamp(id, func(s *storage.MachineStamp) { s.LastHeartbeat = now })
}

func (m *machines) push(id string, now time.Time) {
	m.stamp(id, func(s *storage.MachineStamp) { s.LastPush = now })
}

func (m *machines) stamp(id string, set func(*storage.MachineStamp)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.valid[id]; !known {
		return
	}
	s := m.stamps[id]
	s.ID = id
	set(&s)
	m.stamps[id] = s
}

// seen lays the stamps that are not written yet over a row of the store.
func (m *machines) seen(row *storage.Machine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stamps[row.ID]
	if !s.LastHeartbeat.IsZero() {
		row.LastHeartbeat = s.LastHeartbeat
	}
	if !s.LastPush.IsZero() {
		row.LastPush = s.LastPush
	}
}

// flush writes the stamps. If that fails they are kept for the next time.
func (m *machines) flush(ctx context.Context, store storage.Store) error {
	m.mu.Lock()
	if len(m.stamps) == 0 {
		m.mu.Unlock()
		return nil
	}
	taken := m.stamps
	m.stamps = make(map[string]storage.MachineStamp)
	m.mu.Unlock()

	list := make([]storage.MachineStamp, 0, len(taken))
	for _, s := range taken {
		list = append(list, s)
	}
	err := store.StampMachines(ctx, list)
	if err == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, s := range taken {
		newer := m.stamps[id]
		newer.ID = id
		if newer.LastHeartbeat.IsZero() {
			newer.LastHeartbeat = s.LastHeartbeat
		}
		if newer.LastPush.IsZero() {
			newer.LastPush = s.LastPush
		}
		m.stamps[id] = newer
	}
	return err
}

// addMachine makes a machine with a password.
func (s *Server) addMachine(ctx context.Context, id, password, ip string, validated bool) error {
	hash, err := s.passwords.Hash(ctx, password)
	if err != nil {
		return err
	}
	s.accounts.Lock()
	defer s.accounts.Unlock()
	return s.insertMachine(ctx, storage.Machine{ID: id, PasswordHash: hash, AuthType: storage.AuthPassword, IP: ip, Validated: validated})
}

// insertMachine adds a row. The caller holds s.accounts.
func (s *Server) insertMachine(ctx context.Context, m storage.Machine) error {
	m.Created = s.now()
	m.Updated = m.Created
	err := s.store.AddMachine(ctx, m)
	if err == nil {
		s.machines.set(m.ID, m.Validated)
	}
	return err
}

// replaceMachine gives an existing machine, or a new one, a new password.
func (s *Server) replaceMachine(ctx context.Context, id, password string) error {
	hash, err := s.passwords.Hash(ctx, password)
	if err != nil {
		return err
	}
	s.accounts.Lock()
	defer s.accounts.Unlock()
	err = s.store.UpdateMachine(ctx, id, func(m *storage.Machine) error {
		m.PasswordHash, m.AuthType, m.Validated, m.Updated = hash, storage.AuthPassword, true, s.now()
		return nil
	})
	if errors.Is(err, storage.ErrNotFound) {
		return s.insertMachine(ctx, storage.Machine{ID: id, PasswordHash: hash, AuthType: storage.AuthPassword, Validated: true})
	}
	if err == nil {
		s.machines.set(id, true)
	}
	return err
}

// ensureMachine makes a validated machine without a password, which nobody can
// log in as, unless there is one of that name.
func (s *Server) ensureMachine(ctx context.Context, id string) error {
	if s.machines.allowed(id) {
		return nil
	}
	s.accounts.Lock()
	defer s.accounts.Unlock()
	err := s.insertMachine(ctx, storage.Machine{ID: id, AuthType: storage.AuthPassword, Validated: true})
	if errors.Is(err, storage.ErrExists) {
		return s.setValid(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("cannot add machine %q: %w", id, err)
	}
	return nil
}

func (s *Server) validateMachine(ctx context.Context, id string) error {
	s.accounts.Lock()
	defer s.accounts.Unlock()
	return s.setValid(ctx, id)
}

// setValid lets a machine in. The caller holds s.accounts.
func (s *Server) setValid(ctx context.Context, id string) error {
	err := s.store.UpdateMachine(ctx, id, func(m *storage.Machine) error {
		m.Validated, m.Updated = true, s.now()
		return nil
	})
	if err == nil {
		s.machines.set(id, true)
	}
	return err
}

// deleteMachine makes the tokens of a machine worthless at once.
func (s *Server) deleteMachine(ctx context.Context, id string) error {
	s.accounts.Lock()
	defer s.accounts.Unlock()
	err := s.store.DeleteMachine(ctx, id)
	if err == nil || errors.Is(err, storage.ErrNotFound) {
		s.machines.remove(id)
	}
	return err
}

// loggedIn writes down what a login tells of a machine, if it is news.
func (s *Server) loggedIn(ctx context.Context, m storage.Machine, scenarios []string, ip, version string) error {
	if len(scenarios) == 0 {
		scenarios = m.Scenarios
	}
	scenarios = limitScenarios(scenarios)
	if m.IP == ip && m.Version == version && slices.Equal(m.Scenarios, scenarios) {
		return nil
	}
	return s.store.UpdateMachine(ctx, m.ID, func(m *storage.Machine) error {
		m.IP, m.Version, m.Scenarios, m.Updated = ip, version, scenarios, s.now()
		return nil
	})
}

// limitScenarios cuts a list where its text gets too long.
func limitScenarios(list []string) []string {
	size := 0
	for i, s := range list {
		if size += len(s) + 1; size > maxScenarios {
			return list[:i]
		}
	}
	return list
}

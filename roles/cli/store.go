package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"cs/roles/api"
	"cs/storage"
)

// storeAccounts works on the store while no LAPI runs.
type storeAccounts struct {
	store storage.Store
	now   func() time.Time
}

var (
	_ accounts = (*storeAccounts)(nil)
	_ accounts = (*api.Admin)(nil)
)

// condition gives the store's conditions the names that the socket's client has for them.
func condition(err error) error {
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("%w: %w", api.ErrNotFound, err)
	case errors.Is(err, storage.ErrExists):
		return fmt.Errorf("%w: %w", api.ErrExists, err)
	}
	return err
}

func (a *storeAccounts) Machines(ctx context.Context) ([]api.Machine, error) {
	kept, err := a.store.Machines(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]api.Machine, len(kept))
	for i, m := range kept {
		list[i] = api.Machine{
			Name: m.ID, IP: m.IP, AuthType: m.AuthType, Validated: m.Validated, Version: m.Version,
			OSName: m.OSName, OSVersion: m.OSVersion, OSFamily: m.OSFamily,
			FeatureFlags: m.FeatureFlags, Datasources: m.Datasources, Scenarios: m.Scenarios,
			Created: m.Created, Updated: m.Updated, LastPush: m.LastPush, LastHeartbeat: m.LastHeartbeat,
		}
	}
	return list, nil
}

func (a *storeAccounts) AddMachine(ctx context.Context, name, password string, force bool) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return fmt.Errorf("unable to hash the password: %w", err)
	}
	now := a.now()
	m := storage.Machine{
		ID: name, PasswordHash: string(hash), AuthType: storage.AuthPassword, Validated: true,
		Created: now, Updated: now,
	}
	err = a.store.AddMachine(ctx, m)
	if !force || !errors.Is(err, storage.ErrExists) {
		return condition(err)
	}
	// In one step, so that the machine is never without an account.
	return condition(a.store.UpdateMachine(ctx, name, func(old *storage.Machine) error {
		created := old.Created
		*old = m
		old.Created = created
		return nil
	}))
}

func (a *storeAccounts) ValidateMachine(ctx context.Context, name string) error {
	return condition(a.store.UpdateMachine(ctx, name, func(m *storage.Machine) error {
		m.Validated, m.Updated = true, a.now()
		return nil
	}))
}

func (a *storeAccounts) DeleteMachine(ctx context.Context, name string) error {
	return condition(a.store.DeleteMachine(ctx, name))
}

func (a *storeAccounts) Bouncers(ctx context.Context) ([]api.Bouncer, error) {
	kept, err := a.store.Bouncers(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]api.Bouncer, len(kept))
	for i, b := range kept {
		list[i] = api.Bouncer{
			Name: b.Name, IP: b.IP, AuthType: b.AuthType, Type: b.Type, Version: b.Version,
			OSName: b.OSName, OSVersion: b.OSVersion, OSFamily: b.OSFamily,
			FeatureFlags: b.FeatureFlags, AutoCreated: b.AutoCreated,
			Created: b.Created, Updated: b.Updated, LastPull: b.LastPull,
		}
	}
	return list, nil
}

// AddBouncer keeps only the hash of the key.
func (a *storeAccounts) AddBouncer(ctx context.Context, name, key string) (string, error) {
	if key == "" {
		key = storage.NewKey()
	}
	now := a.now()
	err := a.store.AddBouncer(ctx, storage.Bouncer{
		Name: name, KeyHash: storage.HashKey(key), AuthType: storage.AuthKey, Created: now, Updated: now,
	})
	return key, condition(err)
}

// DeleteBouncer deletes the rows of other addresses with the same key too.
func (a *storeAccounts) DeleteBouncer(ctx context.Context, name string) error {
	all, err := a.store.Bouncers(ctx)
	if err != nil {
		return err
	}
	if err := a.store.DeleteBouncer(ctx, name); err != nil {
		return condition(err)
	}
	for _, b := range all {
		if b.AutoCreated && strings.HasPrefix(b.Name, name+"@") {
			if err := a.store.DeleteBouncer(ctx, b.Name); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}

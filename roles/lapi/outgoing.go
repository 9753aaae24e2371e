package lapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/roles/config"
	"cs/roles/lapi/notify"
	"cs/roles/lapi/profile"
)

// Outgoing is the notifications of this host as its LAPI would send them, for
// operators' commands. It needs no LAPI that runs.
type Outgoing struct {
	instances map[string]*notify.Instance
	profiles  *profile.Profiles
	users     map[string][]string
}

// LoadOutgoing reads the profiles and the notification files. All notifications
// are prepared, whether a profile names them or not.
func LoadOutgoing(env *platform.Env, file *config.File) (*Outgoing, error) {
	o := &Outgoing{profiles: profile.Default(noHistory{})}
	if s := file.API.Server; s != nil && s.ProfilesPath != "" {
		p, err := profile.Load(s.ProfilesPath, noHistory{}, nil)
		if err != nil {
			return nil, err
		}
		o.profiles = p
	}
	o.users = o.profiles.Users()
	dir := file.Paths().NotificationDir
	if dir == "" {
		return o, nil
	}
	names, err := notify.Names(dir)
	if err != nil {
		return nil, err
	}
	if o.instances, err = notify.Load(dir, names, env.LookupEnv, nil); err != nil {
		return nil, fmt.Errorf("cannot prepare the notifications: %w", err)
	}
	return o, nil
}

// List returns the notifications by name.
func (o *Outgoing) List() (list []config.Notification) {
	for _, name := range slices.Sorted(maps.Keys(o.instances)) {
		in := o.instances[name]
		list = append(list, config.Notification{
			Name: in.Name, Type: in.Type, Format: in.Format, Timeout: in.Timeout, Keys: in.Keys, Profiles: o.users[name],
		})
	}
	return list
}

// Test sends an alert to one notification, now and once.
func (o *Outgoing) Test(ctx context.Context, name string, a *decisions.Alert) error {
	in := o.instances[name]
	if in == nil {
		return errors.New("there is no such notification")
	}
	return in.Test(ctx, a, time.Now())
}

// Match tells f of each profile, up to one that ends the search, whether it
// matches an alert and which notifications it names.
func (o *Outgoing) Match(a *decisions.Alert, f func(rule string, matched bool, notify []string, err error)) {
	o.profiles.Match(a, time.Now(), f)
}

// noHistory is for profiles that ask what was decided earlier while no server runs.
type noHistory struct{}

func (noHistory) Earlier(string, func(*decisions.Decision) bool) {}
func (noHistory) Now() time.Time                                 { return time.Now() }

package lapi

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"cs/roles/config"
	"cs/roles/lapi/notify"
	"cs/roles/lapi/profile"
)

// rules are what Reload swaps: whom to believe and what to keep, what is decided about
// alerts, and who is told of them.
type rules struct {
	config.Policy
	profiles *profile.Profiles
	notify   *notify.Broker
}

// loadRules reads the profiles, and prepares the notifications that they name.
func (s *Server) loadRules(conf *Config) (*rules, error) {
	profiles, instances, err := conf.loadRules(history{s})
	if err != nil {
		return nil, err
	}
	return &rules{conf.Policy, profiles, notify.NewBroker(instances, s.log, s.now)}, nil
}

// adopt puts rules into force.
func (s *Server) adopt(r *rules) {
	s.rules.Store(r)
	s.usage.keepFor(r.MaxMetricsAge)
}

// Check loads profiles and notifications as Open would, and returns what is
// wrong with them.
func (c *Config) Check() error {
	if c.LoadProfiles == nil {
		return nil
	}
	_, _, err := c.loadRules(nil)
	return err
}

// loadRules loads the profiles, and the notifications that they name.
func (c *Config) loadRules(h profile.History) (*profile.Profiles, map[string]*notify.Instance, error) {
	profiles, err := c.LoadProfiles(h)
	if err != nil {
		return nil, nil, err
	}
	names := profiles.Notifications()
	if len(names) == 0 {
		return profiles, nil, nil
	}
	if c.LoadNotifications == nil {
		return nil, nil, fmt.Errorf("cannot send the notifications that the profiles name (%s): there is no configuration of them", strings.Join(names, ", "))
	}
	instances, err := c.LoadNotifications(names)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot prepare the notifications: %w", err)
	}
	return profiles, instances, nil
}

// Reload takes the policy of another configuration over, and reads its profiles
// and notifications. With an error what was stays in force. Requests go on
// meanwhile, those that wait among them, and what the old notifications have
// collected is sent.
func (s *Server) Reload(conf Config) error {
	if err := conf.complete(); err != nil {
		return err
	}
	r, err := s.loadRules(&conf)
	if err != nil {
		return err
	}
	s.adopt(r)
	select {
	case s.ruled <- struct{}{}:
	default: // it will see the newest
	}
	return nil
}

// sendNotifications does it until ctx ends.
func (s *Server) sendNotifications(ctx context.Context) {
	for ctx.Err() == nil {
		one, stop := context.WithCancel(ctx)
		var work sync.WaitGroup
		work.Go(func() { s.rules.Load().notify.Run(one) })
		select {
		case <-s.ruled:
		case <-ctx.Done():
		}
		stop()
		work.Wait()
	}
}

package lapi

import (
	"fmt"
	"strings"

	"cs/roles/lapi/notify"
)

// loadNotifications prepares what the profiles name.
func (s *Server) loadNotifications() error {
	var instances map[string]*notify.Instance
	if names := s.profiles.Notifications(); len(names) > 0 {
		if s.conf.LoadNotifications == nil {
			return fmt.Errorf("cannot send the notifications that the profiles name (%s): there is no configuration of them", strings.Join(names, ", "))
		}
		var err error
		if instances, err = s.conf.LoadNotifications(names); err != nil {
			return fmt.Errorf("cannot prepare the notifications: %w", err)
		}
	}
	s.notify = notify.NewBroker(instances, s.log, s.now)
	return nil
}

package config

import "time"

// Notification is a document of a notification file, as operators' commands
// show it. roles/lapi/notify reads the files.
type Notification struct {
	Name, Type, Format string
	Timeout            time.Duration
	Keys               map[string]any // all that was typed
	Profiles           []string       // that name it
}

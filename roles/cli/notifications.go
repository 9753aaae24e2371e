//go:build !edge

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/roles/api"
	"cs/roles/config"
)

// Notifications groups the commands about who is told of alerts.
type Notifications struct {
	List     NotificationsList     `cmd:"" help:"List notifications, and the profiles that use them."`
	Inspect  NotificationsInspect  `cmd:"" help:"Show the settings of a notification."`
	Test     NotificationsTest     `cmd:"" help:"Send a made-up alert."`
	Reinject NotificationsReinject `cmd:"" help:"Send an alert again, to those whom the profiles name."`
}

// notifier opens a session and reads the notifications.
func notifier(env *platform.Env, g *Globals) (*session, Notifier, error) {
	s, err := open(env, g)
	if err != nil {
		return nil, nil, err
	}
	if !s.file.ServesLAPI() {
		s.warn("crowdsec local API is disabled")
		return nil, nil, errNoServer
	}
	n, err := g.Notifier(env, s.file)
	return s, n, err
}

// NotificationsList lists them.
type NotificationsList struct{}

// Run lists.
func (c *NotificationsList) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, n, err := notifier(env, g)
	if err != nil {
		return err
	}
	list := n.List()
	switch s.format {
	case jsonText:
		type entry struct {
			Config   map[string]any `json:"plugin_config"`
			Profiles []string       `json:"associated_profiles"`
		}
		out := make(map[string]entry)
		for _, l := range list {
			out[l.Name] = entry{l.Keys, append([]string{}, l.Profiles...)}
		}
		return s.json(out, " ")
	case raw:
		var rows [][]string
		for _, l := range list {
			rows = append(rows, []string{l.Name, l.Type, strings.Join(l.Profiles, ", ")})
		}
		return s.csv("Name,Type,Profile name", rows)
	}
	t := s.table("Active", "Name", "Type", "Profile name")
	for _, l := range list {
		active := no
		if len(l.Profiles) > 0 {
			active = yes
		}
		t.add(active, l.Name, l.Type, strings.Join(l.Profiles, ", "))
	}
	return s.text(t.light())
}

// find returns the notification of a name.
func find(n Notifier, name string) (config.Notification, error) {
	list := n.List()
	i := slices.IndexFunc(list, func(l config.Notification) bool { return l.Name == name })
	if i < 0 {
		return config.Notification{}, fmt.Errorf("plugin '%s' does not exist or is not active", name)
	}
	return list[i], nil
}

// NotificationsInspect shows one.
type NotificationsInspect struct {
	Name []string `arg:"" optional:"" help:"Name of the notification."`
}

// Run shows it.
func (c *NotificationsInspect) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, n, err := notifier(env, g)
	if err != nil {
		return err
	}
	name, err := exactlyOne(c.Name)
	if err != nil {
		return err
	}
	found, err := find(n, name)
	if err != nil {
		return err
	}
	if s.format == jsonText {
		return s.json(found.Keys, " ")
	}
	var b strings.Builder
	line := func(name string, value any) {
		fmt.Fprintf(&b, " - %15s: %15s\n", plain(name), plainLines(fmt.Sprint(value)))
	}
	line("Type", found.Type)
	line("Name", found.Name)
	line("Timeout", found.Timeout)
	line("Format", found.Format)
	for _, key := range sortedKeys(found.Keys) {
		switch key {
		case "type", "name", "timeout", "format":
		default:
			line(key, found.Keys[key])
		}
	}
	return s.text(b.String())
}

// NotificationsTest sends a made-up alert.
type NotificationsTest struct {
	Name  []string `arg:"" optional:"" help:"Name of the notification."`
	Alert string   `short:"a" placeholder:"JSON" help:"Fields of the alert to replace."`
}

// Run sends it.
func (c *NotificationsTest) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, n, err := notifier(env, g)
	if err != nil {
		return err
	}
	name, err := exactlyOne(c.Name)
	if err != nil {
		return err
	}
	if _, err := find(n, name); err != nil {
		return err
	}
	now := s.now().UTC()
	made := api.Alert{
		Scenario: "test alert", Message: "test alert", Kind: "crowdsec", MachineID: "cscli", Capacity: 0, EventsCount: 1,
		CreatedAt: now.Format(time.RFC3339), StartAt: now.Format(time.RFC3339), StopAt: now.Format(time.RFC3339), Remediation: true,
		Source:    api.Source{Scope: "Ip", Value: "10.10.10.10", IP: "10.10.10.10", Country: "", ASName: "", ASNumber: ""},
		Decisions: []api.Decision{{Duration: "4h", Scope: "Ip", Value: "10.10.10.10", Type: "ban", Scenario: "test alert", Origin: "cscli"}},
	}
	a, err := overlaid(made, c.Alert, now)
	if err != nil {
		return err
	}
	if err := n.Test(ctx, name, a); err != nil {
		return fmt.Errorf("cannot send the notification: %w", err)
	}
	s.info("notification '%s' sent", name)
	return nil
}

// overlaid lays fields in JSON over an alert.
func overlaid(a api.Alert, fields string, now time.Time) (*decisions.Alert, error) {
	if fields != "" {
		if err := json.Unmarshal([]byte(fields), &a); err != nil {
			return nil, fmt.Errorf("cannot read the fields of --alert: %w", err)
		}
	}
	out, err := a.ToDomain(now)
	if err != nil {
		return nil, fmt.Errorf("cannot use the alert: %w", err)
	}
	return &out, nil
}

// NotificationsReinject sends an alert again.
type NotificationsReinject struct {
	ID    []string `arg:"" optional:"" name:"alert-id" help:"Number of the alert."`
	Alert string   `short:"a" placeholder:"JSON" help:"Fields of the alert to replace."`
}

// Run asks the profiles whom to tell, and tells them.
func (c *NotificationsReinject) Run(ctx context.Context, env *platform.Env, g *Globals) (err error) {
	s, n, err := notifier(env, g)
	if err != nil {
		return err
	}
	word, err := exactlyOne(c.ID)
	if err != nil {
		return err
	}
	id, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return fmt.Errorf("bad alert id %s", word)
	}
	l, err := s.lapi(ctx)
	if err != nil {
		return err
	}
	defer l.done(&err)
	found, err := l.alert(ctx, id)
	if err != nil {
		return err
	}
	a, err := overlaid(found, c.Alert, s.now())
	if err != nil {
		return err
	}
	var failed []error
	told := make(map[string]bool)
	n.Match(a, func(profile string, matched bool, notify []string, err error) {
		switch {
		case err != nil:
			s.problem("%v", err)
		case !matched:
			s.info("The profile %s didn't match", profile)
			return
		}
		s.info("The profile %s matched, sending to its configured notification plugins", profile)
		for _, name := range notify {
			if told[name] {
				continue
			}
			told[name] = true
			if err := n.Test(ctx, name, a); err != nil {
				failed = append(failed, fmt.Errorf("cannot send notification '%s': %w", name, err))
			}
		}
	})
	return errors.Join(failed...)
}

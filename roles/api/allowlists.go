package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"
)

// Allowlist is a list on the wire. Times are like "2025-03-06T13:14:42.957Z".
type Allowlist struct {
	ID             string      `json:"allowlist_id,omitempty"` // at the console that manages it
	ConsoleManaged bool        `json:"console_managed,omitempty"`
	Created        string      `json:"created_at"`
	Description    string      `json:"description,omitempty"`
	Items          []AllowItem `json:"items"` // never null; empty unless asked for
	Name           string      `json:"name,omitempty"`
	Updated        string      `json:"updated_at"`
}

// AllowItem is an address or a range on a list. An Expiration in the year 1
// means never.
type AllowItem struct {
	Created     string `json:"created_at"`
	Description string `json:"description,omitempty"`
	Expiration  string `json:"expiration"`
	Value       string `json:"value"`
}

// milli is the layout of the times of allowlists.
const milli = "2006-01-02T15:04:05.000Z"

// FormatMilli writes a time of an allowlist; the zero time means never.
func FormatMilli(t time.Time) string { return t.UTC().Format(milli) }

// AllowlistVerdict answers GET /v1/allowlists/check/{value}; it is empty when
// no list covers the value.
type AllowlistVerdict struct {
	Allowlisted bool   `json:"allowlisted,omitempty"`
	Reason      string `json:"reason,omitempty"` // "192.0.2.0/24 from office (comment), 192.0.2.7 from vip"
}

// AllowlistTargets is the body of POST /v1/allowlists/check, AllowlistMatches
// its answer: those of the targets that a list covers.
type AllowlistTargets struct {
	Targets []string `json:"targets"`
}

// AllowlistMatches see AllowlistTargets.
type AllowlistMatches struct {
	Results []AllowlistMatch `json:"results"`
}

// AllowlistMatch says which items cover a target.
type AllowlistMatch struct {
	Allowlists []string `json:"allowlists"` // "192.0.2.0/24 from office (comment)"
	Target     string   `json:"target"`
}

// Allowlists returns all lists with their items. A server without allowlists
// gives ErrNotFound.
func (c *Client) Allowlists(ctx context.Context) ([]Allowlist, error) {
	var out []Allowlist
	if err := c.call(ctx, asMachine, "GET", PathAllowlists, url.Values{"with_content": {"true"}}, nil, &out); err != nil {
		return nil, fmt.Errorf("cannot list allowlists: %w", err)
	}
	return out, nil
}

// Allowlist returns one list with its items.
func (c *Client) Allowlist(ctx context.Context, name string) (Allowlist, error) {
	var out Allowlist
	if err := c.call(ctx, asMachine, "GET", PathAllowlists+"/"+url.PathEscape(name), url.Values{"with_content": {"true"}}, nil, &out); err != nil {
		return Allowlist{}, fmt.Errorf("cannot read allowlist %q: %w", name, err)
	}
	return out, nil
}

// Allowlisted returns the items that cover an address or a range, "" if none
// does: "192.0.2.0/24 from office (comment)". A server without allowlists
// gives ErrNotFound.
func (c *Client) Allowlisted(ctx context.Context, value string) (reason string, err error) {
	var out AllowlistVerdict
	err = c.call(ctx, asMachine, "GET", PathAllowlistCheck+"/"+url.PathEscape(value), nil, nil, &out)
	if errors.Is(err, io.EOF) {
		return "", nil // no content: upstream's short way to say no
	}
	if err != nil {
		return "", fmt.Errorf("cannot check %q against the allowlists: %w", value, err)
	}
	if !out.Allowlisted {
		return "", nil
	}
	if out.Reason == "" {
		return "an allowlist", nil
	}
	return out.Reason, nil
}

// AllowlistedAll returns those of many addresses and ranges that a list
// covers. A server without allowlists gives ErrNotFound.
func (c *Client) AllowlistedAll(ctx context.Context, values []string) ([]AllowlistMatch, error) {
	var out AllowlistMatches
	if err := c.call(ctx, asMachine, "POST", PathAllowlistCheck, nil, AllowlistTargets{values}, &out); err != nil {
		return nil, fmt.Errorf("cannot check %d values against the allowlists: %w", len(values), err)
	}
	return out.Results, nil
}

package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
)

// allowlistVerdict answers GET /v1/allowlists/check/{value}; it is empty when
// no list covers the value.
type allowlistVerdict struct {
	Allowlisted bool   `json:"allowlisted"`
	Reason      string `json:"reason"`
}

// AllowlistMatch says which items cover a target.
type AllowlistMatch struct {
	Allowlists []string `json:"allowlists"` // "192.0.2.0/24 from office (comment)"
	Target     string   `json:"target"`
}

// Allowlisted returns the items that cover an address or a range, "" if none
// does: "192.0.2.0/24 from office (comment)". A server without allowlists
// gives ErrNotFound.
func (c *Client) Allowlisted(ctx context.Context, value string) (reason string, err error) {
	var out allowlistVerdict
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
	in := struct {
		Targets []string `json:"targets"`
	}{values}
	var out struct {
		Results []AllowlistMatch `json:"results"`
	}
	if err := c.call(ctx, asMachine, "POST", PathAllowlistCheck, nil, in, &out); err != nil {
		return nil, fmt.Errorf("cannot check %d values against the allowlists: %w", len(values), err)
	}
	return out.Results, nil
}

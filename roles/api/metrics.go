package api

import (
	"context"
	"fmt"
	"time"
)

// Metrics is the body of POST /v1/usage-metrics. The sender fills its own
// array with exactly one element.
type Metrics struct {
	RemediationComponents []ComponentMetrics `json:"remediation_components"`
	LogProcessors         []ComponentMetrics `json:"log_processors"`
}

// ComponentMetrics is the report of one log processor or one remediation
// component; the fields of the other kind stay empty.
type ComponentMetrics struct {
	Type         string           `json:"type,omitempty"`
	Name         string           `json:"name,omitempty"`
	Version      string           `json:"version"`
	Startup      int64            `json:"utc_startup_timestamp"`
	OS           *OS              `json:"os,omitempty"`
	FeatureFlags []string         `json:"feature_flags"`
	Datasources  map[string]int64 `json:"datasources,omitempty"`
	HubItems     HubItems         `json:"hub_items,omitempty"`
	Metrics      []UsageWindow    `json:"metrics"`
}

// HubItems is what is installed from the hub, by type ("parsers").
type HubItems map[string][]HubItem

// HubItem is one parser, scenario or the like.
type HubItem struct {
	Name    string `json:"name"`
	Status  string `json:"status"` // "official", "custom", "tainted"
	Version string `json:"version,omitempty"`
}

// OS names an operating system.
type OS struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Family  string `json:"family,omitempty"`
}

// UsageWindow is what was counted in some seconds until a time.
type UsageWindow struct {
	Meta  UsageMeta   `json:"meta"`
	Items []UsageItem `json:"items"`
}

// UsageMeta is the time of a window, in seconds.
type UsageMeta struct {
	Length int64 `json:"window_size_seconds"`
	Now    int64 `json:"utc_now_timestamp"` // since 1970
}

// UsageItem is one number: what was counted since the last report ("dropped",
// "processed", "parsed"), or what there is now ("active_decisions").
type UsageItem struct {
	Name   string            `json:"name"`
	Value  float64           `json:"value"`
	Unit   string            `json:"unit"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Usage is what a sender's reports of the last days come to, as operators'
// commands see it: counts are summed up, of states the last one is told.
type Usage struct {
	Machine string      `json:"machine,omitempty"` // one of the two names
	Bouncer string      `json:"bouncer,omitempty"`
	Since   time.Time   `json:"since"` // of the oldest report
	Items   []UsageItem `json:"items"` // by name, unit and labels
}

// PathAdminUsage is where our server tells of the reports of usage.
const PathAdminUsage = "/admin/v1/usage-metrics"

// Usage returns what bouncers and machines have reported, by name.
func (a *Admin) Usage(ctx context.Context) ([]Usage, error) {
	var out []Usage
	if err := a.c.call(ctx, asNobody, "GET", PathAdminUsage, nil, nil, &out); err != nil {
		return nil, fmt.Errorf("cannot read the reports of usage: %w", err)
	}
	return out, nil
}

// ReportBouncer and ReportMachine send a report of usage. An old server gives
// an *Error with status 404.
func (c *Client) ReportBouncer(ctx context.Context, report ComponentMetrics) error {
	return c.report(ctx, asBouncer, Metrics{RemediationComponents: []ComponentMetrics{report}})
}

func (c *Client) ReportMachine(ctx context.Context, report ComponentMetrics) error {
	return c.report(ctx, asMachine, Metrics{LogProcessors: []ComponentMetrics{report}})
}

func (c *Client) report(ctx context.Context, who identity, m Metrics) error {
	if err := c.call(ctx, who, "POST", PathUsageMetrics, nil, m, nil); err != nil {
		return fmt.Errorf("cannot report usage: %w", err)
	}
	return nil
}

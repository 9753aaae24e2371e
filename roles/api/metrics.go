package api

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
	Metrics      []MetricsWindow  `json:"metrics"`
	Datasources  map[string]int64 `json:"datasources,omitempty"`
}

// OS names an operating system.
type OS struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Family  string `json:"family,omitempty"`
}

// MetricsWindow is what was counted in one span of time.
type MetricsWindow struct {
	Meta struct {
		WindowSize int64 `json:"window_size_seconds"`
		Now        int64 `json:"utc_now_timestamp"`
	} `json:"meta"`
	Items []MetricsItem `json:"items"`
}

// MetricsItem is one counter since the last report, or one gauge.
type MetricsItem struct {
	Name   string            `json:"name"`
	Value  float64           `json:"value"`
	Unit   string            `json:"unit"`
	Labels map[string]string `json:"labels"`
}

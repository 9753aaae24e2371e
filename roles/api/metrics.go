package api

// Metrics is the body of POST /v1/usage-metrics without its counters, whose
// form is checked only. The sender fills its own array with exactly one element.
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
}

// OS names an operating system.
type OS struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Family  string `json:"family,omitempty"`
}

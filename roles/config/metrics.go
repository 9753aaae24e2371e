package config

import (
	"net"
	"strconv"
)

// Metrics is the page for Prometheus.
type Metrics struct {
	Listen string // TCP address; "": there is no page
	Level  string // "full", "aggregated", "none", or what else was typed
}

// metrics completes the section as upstream does: it is off unless it says so,
// and the level has no default.
func (p *Prometheus) metrics() Metrics {
	if p == nil || !p.Enabled {
		return Metrics{}
	}
	host, port := p.ListenAddr, p.ListenPort
	if host == "" {
		host = "127.0.0.1"
	}
	if port == 0 {
		port = 6060
	}
	return Metrics{Listen: net.JoinHostPort(host, strconv.Itoa(port)), Level: p.Level}
}

// MetricsURL is where the page is read: what cscli.prometheus_uri says, or where
// this host serves it; "" if it doesn't.
func (f *File) MetricsURL() string {
	if f.Cscli.PrometheusURI != "" {
		return f.Cscli.PrometheusURI
	}
	if m := f.Prometheus.metrics(); m.Listen != "" {
		return "http://" + reachable(m.Listen) + "/metrics"
	}
	return ""
}

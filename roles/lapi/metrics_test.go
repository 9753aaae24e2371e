package lapi

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"cs/platform/metric"
)

// page returns the metrics of a server.
func page(t *testing.T, s *Server, level string) string {
	t.Helper()
	var w metric.Writer
	s.Metrics(level, "v1")(t.Context(), &w)
	return string(w.Bytes())
}

func TestMetrics(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	m, b := machine(t, s, "m"), bouncer(t, s, "fw")
	manual(t, m, clk.Now(), decisionJSON("ip", "1.1.1.1", "ban", "cscli", "4h"), decisionJSON("ip", "1.1.1.2", "ban", "CAPI", "4h"))
	m.want("POST", "/v1/alerts", "["+alertJSON("Ip", "1.1.1.3", "null", clk.Now())+"]", 201, "*")
	m.want("GET", "/v1/alerts/1", "", 200, "*")
	m.want("GET", "/v1/heartbeat", "", 200, "")
	b.want("GET", "/v1/decisions?ip=1.1.1.1", "", 200, "*")
	b.want("GET", "/v1/decisions?ip=9.9.9.9", "", 200, "null")
	b.want("HEAD", "/v1/decisions/stream", "", 200, "")
	b.want("GET", "/health", "", 200, "*")
	b.want("GET", "/nothing", "", 404, "")
	b.want("PUT", "/v1/alerts", "", 405, "")

	const routes = `# HELP cs_info Information about Crowdsec.
# TYPE cs_info gauge
cs_info{version="v1"} 1
# HELP cs_lapi_route_requests_total Number of calls to each route per method.
# TYPE cs_lapi_route_requests_total counter
cs_lapi_route_requests_total{route="/v1/alerts",method="POST"} 2
cs_lapi_route_requests_total{route="/v1/alerts/:alert_id",method="GET"} 1
cs_lapi_route_requests_total{route="/v1/decisions",method="GET"} 2
cs_lapi_route_requests_total{route="/v1/decisions/stream",method="HEAD"} 1
cs_lapi_route_requests_total{route="/v1/heartbeat",method="GET"} 1
cs_lapi_route_requests_total{route="invalid-endpoint",method="GET"} 1
cs_lapi_route_requests_total{route="invalid-endpoint",method="PUT"} 1
`
	const rest = `# HELP cs_lapi_machine_requests_total Number of calls to each route per method grouped by machines.
# TYPE cs_lapi_machine_requests_total counter
cs_lapi_machine_requests_total{machine="m",route="/v1/alerts",method="POST"} 2
cs_lapi_machine_requests_total{machine="m",route="/v1/alerts/:alert_id",method="GET"} 1
cs_lapi_machine_requests_total{machine="m",route="/v1/heartbeat",method="GET"} 1
# HELP cs_lapi_bouncer_requests_total Number of calls to each route per method grouped by bouncers.
# TYPE cs_lapi_bouncer_requests_total counter
cs_lapi_bouncer_requests_total{bouncer="fw",route="/v1/decisions",method="GET"} 2
cs_lapi_bouncer_requests_total{bouncer="fw",route="/v1/decisions/stream",method="HEAD"} 1
# HELP cs_lapi_decisions_ok_total Number of calls to /decisions that returned non-empty result.
# TYPE cs_lapi_decisions_ok_total counter
cs_lapi_decisions_ok_total{bouncer="fw"} 1
# HELP cs_lapi_decisions_ko_total Number of calls to /decisions that returned empty result.
# TYPE cs_lapi_decisions_ko_total counter
cs_lapi_decisions_ko_total{bouncer="fw"} 1
# HELP cs_active_decisions Number of active decisions.
# TYPE cs_active_decisions gauge
cs_active_decisions{reason="crowdsecurity/ssh-bf",origin="crowdsec",action="ban"} 1
cs_active_decisions{reason="manual",origin="CAPI",action="ban"} 1
cs_active_decisions{reason="manual",origin="cscli",action="ban"} 1
# HELP cs_alerts Number of alerts (excluding CAPI).
# TYPE cs_alerts gauge
cs_alerts{reason="crowdsecurity/ssh-bf"} 1
# HELP cs_machines_last_heartbeat_timestamp Unix timestamp of the last heartbeat received from each machine.
# TYPE cs_machines_last_heartbeat_timestamp gauge
cs_machines_last_heartbeat_timestamp{machine="m"} 1772359220
`
	if got := page(t, s, MetricsAggregated); got != routes {
		t.Errorf("aggregated:\n%s", got)
	}
	if got := page(t, s, MetricsNone); got != "" {
		t.Errorf("none:\n%s", got)
	}
	full := page(t, s, MetricsFull)
	if !strings.Contains(full, `cs_lapi_request_duration_seconds_bucket{endpoint="/v1/alerts",method="POST",le="+Inf"} 2`) {
		t.Errorf("no durations:\n%s", full)
	}
	full = regexp.MustCompile(`(?m)^.*cs_lapi_request_duration_seconds.*\n`).ReplaceAllString(full, "")
	if full != routes+rest {
		t.Errorf("full:\n%s", full)
	}

	manual(t, m, clk.Now(), decisionJSON("ip", "1.1.1.4", "ban", "cscli", "4h"))
	if got := page(t, s, MetricsFull); strings.Contains(got, `cs_alerts{reason=""}`) {
		t.Error("the alerts were counted again at once")
	}
	clk.Add(alertsAge + time.Second)
	if got := page(t, s, MetricsFull); !strings.Contains(got, "cs_alerts{") {
		t.Errorf("no alerts:\n%s", got)
	}
}

func TestCallersAreBounded(t *testing.T) {
	var q requests
	for i := range maxCallers + 50 {
		name := strings.Repeat("b", i%7) + string(rune('0'+i%10)) + time.Duration(i).String()
		q.from(true, name, "/v1/decisions", "GET")
		q.told(name, true)
	}
	if n, m := len(q.callers), len(q.found); n != maxCallers+1 || m != maxCallers+1 {
		t.Fatalf("%d callers and %d findings are counted", n, m)
	}
}

// TestMethodsAreBounded has a stranger invent methods.
func TestMethodsAreBounded(t *testing.T) {
	s := open(t, nil)
	v := visitor{t: t, h: s.handler()}
	for i := range 1000 {
		v.want(fmt.Sprintf("BREW%d", i), "/v1/alerts", "", 405, "")
		v.want(fmt.Sprintf("BREW%d", i), fmt.Sprint("/", i), "", 404, "")
	}
	if n := len(s.requests.routes); n != 1 || !strings.Contains(page(t, s, MetricsFull), `{route="invalid-endpoint",method="other"} 2000`) {
		t.Fatalf("%d routes are counted", n)
	}
}

// TestLongScenariosOnThePage: what machines call their scenarios doesn't fill the page.
func TestLongScenariosOnThePage(t *testing.T) {
	s := open(t, nil)
	m := machine(t, s, "m")
	m.want("POST", "/v1/alerts", strings.Replace("["+alertJSON("Ip", "1.1.1.1", "null", time.Now())+"]", "crowdsecurity/ssh-bf", strings.Repeat("x", 1<<20), 1), 201, "*")
	if got := page(t, s, MetricsFull); len(got) > 64<<10 || !strings.Contains(got, `cs_alerts{reason="`+strings.Repeat("x", 255)+`"} 1`) {
		t.Errorf("the page has %d bytes", len(got))
	}
}

package metric

import (
	"context"
	"io"
	"net/http/httptest"
	"testing"
	"time"
)

func TestText(t *testing.T) {
	h := NewHistogram(5*time.Millisecond, time.Second)
	for _, d := range []time.Duration{time.Millisecond, 5 * time.Millisecond, 6 * time.Millisecond, 2 * time.Second} {
		h.Observe(d)
	}
	srv := httptest.NewServer(Handler(func(_ context.Context, w *Writer) {
		w.Family("cs_alerts", Gauge, "Number of alerts.")
		w.Sample(3, "reason", "a \"b\" \\ c\nd\xff")
		w.Sample(0.25)
		w.HistogramFamily("took_seconds", "How long it took.")
		w.Histogram(h, "method", "GET")
	}))
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	const want = `# HELP cs_alerts Number of alerts.
# TYPE cs_alerts gauge
cs_alerts{reason="a \"b\" \\ c\nd�"} 3
cs_alerts 0.25
# HELP took_seconds How long it took.
# TYPE took_seconds histogram
took_seconds_bucket{method="GET",le="0.005"} 2
took_seconds_bucket{method="GET",le="1"} 3
took_seconds_bucket{method="GET",le="+Inf"} 4
took_seconds_sum{method="GET"} 2.012
took_seconds_count{method="GET"} 4
`
	if err != nil || string(got) != want {
		t.Fatalf("%v\n%s", err, got)
	}
}

// TestHealthz: what sources tell of problems is no error of the process.
func TestHealthz(t *testing.T) {
	var problems []string
	h := Handler(func(_ context.Context, w *Writer) {
		for _, p := range problems {
			w.Problem(p)
		}
	})
	ask := func(want string) {
		t.Helper()
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", "/healthz", nil))
		if rec.Code != 200 || rec.Body.String() != want {
			t.Errorf("got %d, %q, want %q", rec.Code, rec.Body, want)
		}
	}
	ask("ok\n")
	problems = []string{"nothing came", "no line is understood"}
	ask("degraded\nnothing came\nno line is understood\n")
}

func TestServeEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, "127.0.0.1:0") }()
	cancel()
	<-done // whatever it says: it may not have begun
}

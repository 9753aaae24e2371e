package lapi

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/decisions"
	"cs/storage"
	"cs/storage/bolt"
)

// onDisk returns a server whose store is a file.
func onDisk(tb testing.TB) *Server {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "cs.db")
	s, err := Open(tb.Context(), Config{
		OpenStore: func(ctx context.Context) (storage.Store, error) { return bolt.Open(ctx, path) },
		Log:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

// importBody is what cscli sends for a list of n addresses.
func importBody(n int) []byte {
	now := time.Now().UTC().Format(time.RFC3339)
	var b bytes.Buffer
	b.WriteString(`[{"capacity":0,"decisions":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		v := uint32(i+1) * 2654435761
		fmt.Fprintf(&b, `{"duration":"%dh","origin":"cscli-import","scenario":"list %d","scope":"Ip","type":"ban","value":"%d.%d.%d.%d"}`, 24+i%100, i%20, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	fmt.Fprintf(&b, `],"events":[],"events_count":1,"leakspeed":"","message":"","scenario":"import: %d IPs","scenario_hash":"","scenario_version":"",`+
		`"simulated":false,"source":{"scope":"","value":""},"start_at":%[2]q,"stop_at":%[2]q}]`, n, now)
	return b.Bytes()
}

// BenchmarkImport is a list of 100,000 addresses, to the disk.
func BenchmarkImport(b *testing.B) {
	body := importBody(100_000)
	b.SetBytes(int64(len(body)))
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent)) // as Command.Run does
	for b.Loop() {
		b.StopTimer()
		s := onDisk(b)
		if err := s.ensureMachine(b.Context(), "m"); err != nil {
			b.Fatal(err)
		}
		token, _, err := s.signer.Sign("m", s.now())
		if err != nil {
			b.Fatal(err)
		}
		h := s.handler()
		b.StartTimer()
		r := httptest.NewRequest("POST", "/v1/alerts", bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 201 {
			b.Fatal(w.Body)
		}
		s.decisions.View(func(set *decisions.Set) {
			if set.Len() != 100_000 {
				b.Fatal(set.Len())
			}
		})
	}
}

// BenchmarkAlerts is 50 agents that report an attack each, to the disk.
func BenchmarkAlerts(b *testing.B) {
	s := onDisk(b)
	if err := s.ensureMachine(b.Context(), "m"); err != nil {
		b.Fatal(err)
	}
	token, _, err := s.signer.Sign("m", s.now())
	if err != nil {
		b.Fatal(err)
	}
	h := s.handler()
	event := `{"timestamp":"2026-03-01T10:00:00Z","meta":[{"key":"log_type","value":"ssh_failed-auth"},{"key":"service","value":"ssh"},{"key":"source_ip","value":"192.0.2.1"},{"key":"target_user","value":"root"}]}`
	alert := alertJSON("Ip", "192.0.2.1", "null", time.Now())
	alert = strings.Replace(alert, `"events":[`, `"events":[`+strings.Repeat(event+",", 5), 1)
	b.SetParallelism(50 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := httptest.NewRequest("POST", "/v1/alerts", strings.NewReader("["+alert+"]"))
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != 201 {
				b.Error(w.Body)
				return
			}
		}
	})
}

// BenchmarkPoll is a bouncer that asks for changes when there are none, and for
// one address, without the connection.
func BenchmarkPoll(b *testing.B) {
	s := onDisk(b)
	if _, err := s.addBouncer(b.Context(), "fw", "key"); err != nil {
		b.Fatal(err)
	}
	h := s.handler()
	for name, target := range map[string]string{"delta": "/v1/decisions/stream", "live": "/v1/decisions?ip=192.0.2.1"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequest("GET", target, nil)
			r.Header.Set("X-Api-Key", "key")
			r.Header.Set("User-Agent", "crowdsec-firewall-bouncer/v0.0.34")
			w := httptest.NewRecorder()
			for b.Loop() {
				w.Body.Reset()
				clear(w.Header())
				h.ServeHTTP(w, r)
				if w.Code != 200 {
					b.Fatal(w.Body)
				}
			}
		})
	}
}

// BenchmarkBan is a ban by hand, to the disk, while bouncers start all the time:
// one that is sent the whole set as it is, one compressed.
func BenchmarkBan(b *testing.B) {
	for _, n := range []int{100, 100_000, 1_000_000} {
		b.Run(fmt.Sprint("among=", n), func(b *testing.B) {
			s := onDisk(b)
			if err := s.ensureMachine(b.Context(), "m"); err != nil {
				b.Fatal(err)
			}
			token, _, err := s.signer.Sign("m", s.now())
			if err != nil {
				b.Fatal(err)
			}
			h := s.handler()
			post := func(body []byte) {
				r := httptest.NewRequest("POST", "/v1/alerts", bytes.NewReader(body))
				r.Header.Set("Authorization", "Bearer "+token)
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != 201 {
					b.Fatal(w.Body)
				}
			}
			for at := 0; at < n; at += 100_000 {
				post(importBody(min(n-at, 100_000)))
			}
			ctx, stop := context.WithCancel(b.Context())
			var starting sync.WaitGroup
			for _, coding := range []string{"", "gzip"} {
				if _, err := s.addBouncer(ctx, "fw"+coding, "key"+coding); err != nil {
					b.Fatal(err)
				}
				starting.Go(func() {
					for ctx.Err() == nil {
						r := httptest.NewRequestWithContext(ctx, "GET", "/v1/decisions/stream?startup=true", nil)
						r.Header.Set("X-Api-Key", "key"+coding)
						r.Header.Set("Accept-Encoding", coding)
						h.ServeHTTP(discard{http.Header{}}, r)
					}
				})
			}
			var slowest time.Duration
			for i := 0; b.Loop(); i++ {
				began := time.Now()
				post([]byte("[" + alertJSON("Ip", fmt.Sprintf("10.0.%d.%d", byte(i>>8), byte(i)), "null", began) + "]"))
				slowest = max(slowest, time.Since(began))
			}
			b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-ms")
			stop()
			starting.Wait()
		})
	}
}

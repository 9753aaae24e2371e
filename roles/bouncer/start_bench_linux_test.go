package bouncer

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/remediate/nft"
	"cs/remediate/remediatetest"
	"cs/roles/api"
	"cs/roles/config"
)

// BenchmarkStart starts a bouncer in front of an upstream LAPI with many
// bans, and from the set that it saved, until all are in the kernel.
func BenchmarkStart(b *testing.B) {
	const n = 200_000
	var text strings.Builder
	text.WriteString(`{"deleted":[],"new":[`)
	for i := range n {
		a := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
		fmt.Fprintf(&text, `{"duration":"167h30m0s","id":%d,"origin":"CAPI","scenario":"crowdsecurity/ssh-bf","scope":"Ip","type":"ban","value":"%s"},`, i, a)
	}
	body := strings.TrimSuffix(text.String(), ",") + "]}"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("startup") == "true" {
			io.WriteString(w, body)
			return
		}
		io.WriteString(w, `{"new":null,"deleted":null}`)
	}))
	defer server.Close()
	dir := b.TempDir()
	start := func(b *testing.B, feed func() Feed) {
		for b.Loop() {
			ns := remediatetest.Netns(b)
			k, err := nft.New(nft.Config{})
			if err != nil {
				b.Fatal(err)
			}
			bo, err := New(Config{Feed: feed(), Kernel: k, SavedPath: filepath.Join(dir, savedName), ControlPath: filepath.Join(dir, config.BouncerSocketName), Log: slog.New(slog.DiscardHandler), OnStop: Clean})
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			done := make(chan error, 1)
			ns.Do(func() {
				go func() {
					for bo.Stats().Applied < n {
						time.Sleep(time.Millisecond)
					}
					stop()
				}()
				done <- bo.Run(ctx)
			})
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			stop()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/ban")
	}
	b.Run("LAPI", func(b *testing.B) { // and then the saved set is there
		start(b, func() Feed {
			return &remote{Client: api.ClientConfig{URL: server.URL, APIKey: "k"}, Stream: api.StreamConfig{Interval: time.Second}}
		})
	})
	b.Run("saved", func(b *testing.B) { start(b, func() Feed { return away{} }) })
}

// away is a LAPI that does not answer.
type away struct{}

func (away) Next(ctx context.Context) (decisions.Delta, error) {
	<-ctx.Done()
	return decisions.Delta{}, ctx.Err()
}

package metric

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	f := func(page string, want ...Sample) {
		t.Helper()
		var got []Sample
		if err := Parse(strings.NewReader(page), func(s Sample) { got = append(got, s) }); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	type labels = map[string]string
	f("# HELP a b\n\n")
	f("a 1", Sample{Name: "a", Value: 1})
	f("a{} -1e3 1700000000\n", Sample{"a", labels{}, -1000})
	f(`a{b="c",d="e f",} 2`, Sample{"a", labels{"b": "c", "d": "e f"}, 2})
	f(`a{ b = "\"\\\n}" } 2`, Sample{"a", labels{"b": "\"\\\n}"}, 2})
	bad := func(page string) {
		t.Helper()
		if err := Parse(strings.NewReader(page), func(Sample) {}); err == nil {
			t.Errorf("%q is read", page)
		}
	}
	bad("a")
	bad("a x")
	bad(`a{b="c} 1`)
	bad(`a{b} 1`)
	bad(`a{b=c} 1`)
	bad("a " + strings.Repeat("1", maxSampleLine))
}

// What Writer writes, Parse reads.
func FuzzParse(f *testing.F) {
	f.Add(`a{b="c\"d"} 1`, "x\\\n\"")
	f.Fuzz(func(t *testing.T, page, value string) {
		_ = Parse(strings.NewReader(page), func(Sample) {})
		value = strings.ToValidUTF8(value, "")
		if len(value) > 1000 {
			return
		}
		var w Writer
		w.Family("a", Gauge, "A.")
		w.Sample(5, "b", value)
		var got []Sample
		if err := Parse(strings.NewReader(string(w.Bytes())), func(s Sample) { got = append(got, s) }); err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0].Labels["b"] != value || got[0].Value != 5 {
			t.Errorf("%q became %v", value, got)
		}
	})
}

func TestServeSocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no sockets")
	}
	path := filepath.Join(t.TempDir(), "m.sock")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- ServeSocket(ctx, path, func(_ context.Context, w *Writer) {
			w.Family("a", Gauge, "A.")
			w.Sample(7)
		})
	}()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	var value float64
	for value == 0 {
		r, err := client.Get("http://socket/metrics")
		if err != nil {
			select {
			case err := <-ended:
				t.Fatal(err)
			default:
				runtime.Gosched()
				continue
			}
		}
		if err := Parse(r.Body, func(s Sample) { value = s.Value }); err != nil || value != 7 {
			t.Fatal(value, err)
		}
		r.Body.Close()
	}
	client.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

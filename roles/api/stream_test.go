package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/decisions"
)

const oneDecision = `{"duration":"3h59m20s","id":40,"origin":"crowdsec","scenario":"s","scope":"ip","type":"ban","uuid":"u","value":"1.2.3.4"}`

// upstreamStream answers like an old server: it polls, and knows no HEAD.
func upstreamStream(t *testing.T, bodies ...string) (*Stream, *[]string, *[]time.Duration) {
	var asked []string
	_, c, pauses := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "HEAD" {
			w.WriteHeader(405)
			return
		}
		if r.Header.Get(HeaderKey) != "k" {
			t.Errorf("key %q", r.Header.Get(HeaderKey))
		}
		asked = append(asked, r.URL.RawQuery)
		body := bodies[0]
		if len(bodies) > 1 {
			bodies = bodies[1:]
		}
		if body == "503" {
			w.WriteHeader(503)
			return
		}
		io.WriteString(w, body)
	})
	now := time.Now()
	c.now = func() time.Time { return now }
	return c.Stream(StreamConfig{Scopes: []string{"ip", "range"}, Origins: []string{"crowdsec"}}), &asked, pauses
}

func TestStreamOfUpstream(t *testing.T) {
	s, asked, pauses := upstreamStream(t,
		`{"new": [`+oneDecision+`], "deleted": [`+oneDecision+`]}`,
		`{"deleted":[`+oneDecision+`],"new":null}`,
		`{"new": [`+oneDecision, // cut off: the server thinks we know it
		"503",
		`{"new": [], "deleted": []}`)

	d, err := s.Next(t.Context())
	if err != nil || !d.Full || len(d.New) != 1 || d.Deleted != nil {
		t.Fatalf("%+v, %v", d, err)
	}
	first := d.New[0]
	if first.Scope != "Ip" || first.ID == 40 || !first.Until.Equal(s.c.now().Add(3*time.Hour+59*time.Minute+20*time.Second)) {
		t.Fatalf("%+v", first)
	}
	d, err = s.Next(t.Context())
	if err != nil || d.Full || len(d.Deleted) != 1 || d.Deleted[0].ID != first.ID {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err = s.Next(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	var refused *Error
	if _, err = s.Next(t.Context()); !errors.As(err, &refused) || refused.Status != 503 {
		t.Fatal(err)
	}
	if d, err = s.Next(t.Context()); err != nil || !d.Full {
		t.Fatalf("%+v, %v", d, err)
	}
	const base = "origins=crowdsec&scopes=ip%2Crange"
	want := []string{base + "&startup=true", base, base, base + "&startup=true", base + "&startup=true"}
	if strings.Join(*asked, "\n") != strings.Join(want, "\n") {
		t.Fatalf("asked\n%s", strings.Join(*asked, "\n"))
	}
	// Before the second and the third poll; after an error the caller decides.
	if len(*pauses) != 2 || (*pauses)[0] != defaultInterval {
		t.Fatalf("paused %v", *pauses)
	}
}

func TestStreamRefusesWhatIsNoWholeAnswer(t *testing.T) {
	f := func(body string) {
		t.Helper()
		s, _, _ := upstreamStream(t, body)
		if d, err := s.Next(t.Context()); err == nil {
			t.Fatalf("%q: accepted as %+v", body, d)
		}
	}
	f("")
	f("null")
	f("[]")
	f(`{"new": [], "deleted": []`)
	f(`{"new": {}, "deleted": []}`)
	f(`{"new": [` + strings.Replace(oneDecision, "3h59m20s", "soon", 1) + `]}`)
	f(`<html>`)
}

func TestStreamAccepts(t *testing.T) {
	f := func(body string) {
		t.Helper()
		s, _, _ := upstreamStream(t, body)
		if _, err := s.Next(t.Context()); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
	}
	f(`{}`)
	f(`{"deleted":null}`)
	f(`{"more":{"a":[1]},"new":[],"deleted":[]}`)
}

func TestStreamEndsWithItsContext(t *testing.T) {
	_, c, _ := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			<-r.Context().Done()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Stream(StreamConfig{}).Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

// A server that accepts and never answers, or stalls in the middle, is given up,
// and asked for the whole set when it is back.
func TestStreamOfServerThatHangs(t *testing.T) {
	f := func(name string, hang func(http.ResponseWriter)) {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex // of what follows: a request that is given up may still be served
			hanging := true
			var asked []string
			_, c, _ := newFake(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "HEAD" {
					w.WriteHeader(405)
					return
				}
				mu.Lock()
				asked = append(asked, r.URL.RawQuery)
				hangs := hanging
				mu.Unlock()
				if hangs {
					hang(w)
					<-r.Context().Done()
					return
				}
				io.WriteString(w, `{"new": [`+oneDecision+`], "deleted": []}`)
			})
			s := c.Stream(StreamConfig{})
			s.silence = 30 * time.Millisecond
			if _, err := s.Next(t.Context()); !errors.Is(err, errSilent) {
				t.Fatal(err)
			}
			mu.Lock()
			hanging = false
			mu.Unlock()
			if d, err := s.Next(t.Context()); err != nil || !d.Full || len(d.New) != 1 {
				t.Fatalf("%+v, %v", d, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if strings.Join(asked, " ") != "startup=true startup=true" {
				t.Fatalf("asked %q", asked)
			}
		})
	}
	f("never answers", func(http.ResponseWriter) {})
	f("half an answer", func(w http.ResponseWriter) {
		io.WriteString(w, `{"new": [`+oneDecision[:40])
		w.(http.Flusher).Flush()
	})
}

func TestDeniedStream(t *testing.T) {
	_, c, _ := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		io.WriteString(w, `{"message":"access forbidden"}`)
	})
	if _, err := c.Stream(StreamConfig{}).Next(t.Context()); !errors.Is(err, ErrDenied) {
		t.Fatal(err)
	}
}

// TestStreamThatDisagrees follows a server of ours whose tally tells that an
// answer got lost: after a few more the whole set is asked for.
func TestStreamThatDisagrees(t *testing.T) {
	var asked []string
	_, c, _ := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(HeaderWait, "30s")
		w.Header().Set(HeaderCursor, "c")
		w.Header().Set(HeaderTally, "2.0123456789abcdef")
		if r.Method == "GET" {
			asked = append(asked, r.URL.Query().Get("startup"))
			io.WriteString(w, `{"new": [`+oneDecision+`], "deleted": []}`)
		}
	})
	s := c.Stream(StreamConfig{})
	for range 6 {
		if _, err := s.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(asked, ","); got != "true,,,true,," {
		t.Fatalf("asked for the whole set: %q", got)
	}
}

// TestStreamInParts reads a whole set that comes in parts, the second time up to
// where the server falls silent half-way; then it begins anew.
func TestStreamInParts(t *testing.T) {
	const n = 2*partSize + 7
	var body strings.Builder
	body.WriteString(`{"deleted":[` + oneDecision + `],"new":[`)
	for i := range n {
		if i > 0 {
			body.WriteByte(',')
		}
		body.WriteString(strings.Replace(oneDecision, "1.2.3.4", netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String(), 1))
	}
	body.WriteString("]}")
	whole := body.String()
	s, _, _ := upstreamStream(t, whole, whole[:len(whole)/2], whole)
	read := func() (parts int, list []decisions.Decision, err error) {
		for {
			d, err := s.Next(t.Context())
			if err != nil {
				return parts, list, err
			}
			if !d.Full || d.Part != parts || d.Deleted != nil || len(d.New) > partSize {
				t.Fatalf("part %d: %v %d, %d decisions, %d deleted", parts, d.Full, d.Part, len(d.New), len(d.Deleted))
			}
			parts++
			list = append(list, d.New...)
			if !d.More {
				return parts, list, nil
			}
		}
	}
	for i, wantErr := range []error{nil, io.ErrUnexpectedEOF, nil} {
		s.Resync()
		parts, list, err := read()
		if !errors.Is(err, wantErr) {
			t.Fatalf("answer %d: %v", i, err)
		}
		if err != nil {
			if parts != 1 {
				t.Fatalf("%d parts before the end", parts)
			}
			continue
		}
		if parts != 3 || len(list) != n || list[n-1].Value != "10.0.32.6" {
			t.Fatalf("answer %d: %d parts, %d decisions, %+v", i, parts, len(list), list[len(list)-1])
		}
	}
}

func BenchmarkStream(b *testing.B) {
	body := `{"deleted":[],"new":[` + strings.TrimSuffix(strings.Repeat(oneDecision+",", partSize), ",") + "]}"
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var d decisions.Delta
		if _, err := newStreamReader(strings.NewReader(body), time.Time{}, true).read(&d, maxStreamed); err != nil || len(d.New) != partSize {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/partSize, "ns/decision")
}

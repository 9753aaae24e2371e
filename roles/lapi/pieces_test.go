package lapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"cs/decisions"
)

// startup returns the answer to a bouncer that starts and takes a coding.
func (v visitor) startup(query, coding string) (http.Header, []byte) {
	v.t.Helper()
	r := httptest.NewRequestWithContext(v.t.Context(), "GET", "/v1/decisions/stream?startup=true"+query, nil)
	if coding != "" {
		r.Header.Set("Accept-Encoding", coding)
	}
	w := v.send(r)
	if w.Code != 200 {
		v.t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Header(), w.Body.Bytes()
}

func needCodings(t *testing.T) {
	if len(codings) == 0 {
		t.Skip("this build compresses nothing")
	}
}

// unpacked returns what a client makes of a body. Of gzip it must be one
// member: not every client reads on after the first.
func unpacked(t *testing.T, h http.Header, body []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(body)
	switch h.Get("Content-Encoding") {
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		z.Multistream(false)
		r = z
	case "zstd":
		z, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// encoded is the answer to a bouncer that starts as it is without pieces.
func encoded(t *testing.T, s *Server, query string) []byte {
	t.Helper()
	q := parseParams(query)
	f, err := parseDecisionFilter(q, streamScopes)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	a := streamAnswer{news: news{s: s, query: f.query(q.Get("dedup") != "false")}, out: streamWriter{w: w, coding: plain}}
	a.mark()
	if err := a.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w.Body.Bytes()
}

// TestKeptIsTheSame lets decisions come and go, and compares what bouncers get of
// pieces that are kept with what is encoded for this one time.
func TestKeptIsTheSame(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	b, m := bouncer(t, s, "b"), s.Local("m")
	rng := rand.New(rand.NewPCG(1, 2))
	add := func(n int) {
		now := clk.Now()
		a := decisions.Alert{Scenario: "import", StartAt: now, StopAt: now}
		for range n {
			a.Decisions = append(a.Decisions, decisions.Decision{
				Origin: []string{"lists", "cscli"}[rng.IntN(2)], Scenario: fmt.Sprint("s", rng.IntN(3)), Type: "ban", Scope: "Ip",
				Value: fmt.Sprintf("10.0.%d.%d", rng.IntN(32), rng.IntN(256)), Until: now.Add(time.Duration(1+rng.IntN(40)) * time.Minute),
			})
		}
		if err := m.SendAlerts(t.Context(), []decisions.Alert{a}); err != nil {
			t.Fatal(err)
		}
	}
	add(9000)
	steps := 12
	if testing.Short() {
		steps = 4
	}
	for step := range steps {
		switch rng.IntN(3) {
		case 0:
			add(1 + rng.IntN(500))
		case 1:
			all := live(s)
			var ids []int64
			for range 1 + rng.IntN(20) {
				ids = append(ids, all[rng.IntN(len(all))].ID)
			}
			if _, err := s.expire(t.Context(), ids); err != nil {
				t.Fatal(err)
			}
		default:
			// More than pieces serve for: their durations must be those of now.
			clk.Add(pieceAge + time.Duration(rng.IntN(100))*time.Second)
		}
		for _, query := range []string{"", "&dedup=false", "&origins=lists"} {
			want := encoded(t, s, query)
			for _, coding := range []string{"", "gzip", "deflate, gzip;q=0.5", "br, ZSTD, gzip"} {
				packed := coding != "" && len(codings) > 0
				for range plainFrom + 1 {
					if rng.IntN(2) == 0 {
						tendAll(s)
					}
					h, body := b.startup(query, coding)
					if (h.Get("Content-Encoding") != "") != packed || (h.Get("Vary") == "Accept-Encoding") != packed {
						t.Fatalf("%q: answered with %v", coding, h)
					}
					if got := unpacked(t, h, body); !bytes.Equal(got, want) {
						t.Fatalf("step %d, %q, %s: %d bytes differ from the plain %d", step, query, coding, len(got), len(want))
					}
				}
			}
		}
	}
	if n := len(s.pieces.views); n != min(maxViews, 3*(1+len(codings))) {
		t.Fatalf("pieces of %d sets are kept", n)
	}
}

// tendAll does at once what is done each second.
func tendAll(s *Server) {
	s.pieces.mu.Lock()
	views := slices.Collect(maps.Values(s.pieces.views))
	s.pieces.mu.Unlock()
	for _, v := range views {
		s.pieces.tend(v)
	}
}

// TestShelf: what is sent of it is the same as what is encoded, also while it is put
// aside, and neither a disk that fails nor the end of the server leaves one open.
func TestShelf(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	fill(t, s, 0, 2*minPlain)
	n := news{s: s, query: usualQuery, counts: true}
	n.mark()
	var v *view
	for range plainFrom {
		v = s.pieces.view(&n, plain, "")
	}
	s.pieces.tend(v)
	first := v.shelf
	kept := func() (pieces int) { // how many; and they must be right
		t.Helper()
		n.mark()
		for block := range n.blocks {
			if _, sh := v.piece(&n, block); sh != nil {
				sh.leave()
				pieces++
			}
		}
		w := httptest.NewRecorder()
		a := streamAnswer{news: n, kept: v, out: streamWriter{w: w, coding: plain}}
		if err := a.write(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := encoded(t, s, ""); !bytes.Equal(w.Body.Bytes(), want) {
			t.Fatalf("%d bytes differ from %d", w.Body.Len(), len(want))
		}
		return pieces
	}
	want := func(pieces int) {
		t.Helper()
		if got := kept(); got != pieces {
			t.Fatalf("pieces of %d blocks are kept, want %d", got, pieces)
		}
	}
	want(s.decisions.Blocks())
	fill(t, s, 2*minPlain, 1)
	want(s.decisions.Blocks() - 1)
	s.pieces.tend(v)
	want(s.decisions.Blocks())
	if v.shelf != first {
		t.Fatal("a new shelf for one block")
	}

	n.mark()
	var block decisions.Block
	for block = range n.blocks {
		break
	}
	p, reading := v.piece(&n, block)
	clk.Add(pieceAge / 2)
	s.pieces.tend(v)
	want(s.decisions.Blocks())
	if v.shelf == first {
		t.Fatal("no new shelf when the first is half as old as it may get")
	}
	w := httptest.NewRecorder()
	out := streamWriter{w: w, coding: plain, buf: make([]byte, 0, flushOver)}
	if err := out.copy(t.Context(), reading, p); err != nil || int64(w.Body.Len()) != p.length {
		t.Fatalf("who reads from the old one gets %d bytes of %d: %v", w.Body.Len(), p.length, err)
	}
	reading.leave()
	if _, err := reading.file.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("the old one is still open: %v", err)
	}
	for size := v.shelf.size; v.shelf.size <= 2*size; s.pieces.tend(v) {
		if _, err := v.shelf.put(block, p, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		fill(t, s, 0, 1)
	}
	old := v.shelf
	if s.pieces.tend(v); v.shelf == old {
		t.Fatal("no new shelf when half of the last one is out of date")
	}

	last := v.shelf
	last.file.Close() // nothing can be written any more
	fill(t, s, 2*minPlain+1, 1)
	s.pieces.tend(v)
	want(0)
	if last.users.Load() != 0 {
		t.Fatalf("%d use a shelf that has failed", last.users.Load())
	}
	v.failed = false
	n.tally.Count = 1 << 50 // more than any disk has room for
	if _, err := v.newShelf(&n); err == nil || !strings.Contains(err.Error(), "are free, want") {
		t.Fatal("a shelf that leaves the store no room", err)
	}
	s.pieces.tend(v)
	want(s.decisions.Blocks())
	last = v.shelf
	s.pieces.stop()
	s.pieces.tend(v)
	want(0)
	if _, err := last.file.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("a shelf of a set that is forgotten is still open: %v", err)
	}
}

// TestHelperOfOneWhoLeft: what helps a start that has been given up holds no shelf open.
func TestHelperOfOneWhoLeft(t *testing.T) {
	_, turned := clockAtNoon()
	s := open(t, turned)
	fill(t, s, 0, minPlain)
	n := news{s: s, query: usualQuery, counts: true}
	n.mark()
	pack := &coding{name: "copy", pack: func(dst, raw []byte) []byte { return append(dst, raw...) }}
	v := newView(viewKey{coding: "copy"}, pack, &n)
	v.help(t.Context(), &n)()
	sh := v.shelf
	if sh == nil || len(sh.pieces) != s.decisions.Blocks() {
		t.Fatal("not all pieces are made")
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	v.help(gone, &n)()
	v.close()
	if _, err := sh.file.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("the shelf is still open: %v", err)
	}
}

// TestNoRoomForAShelf: bouncers get the set all the same.
func TestNoRoomForAShelf(t *testing.T) {
	var log bytes.Buffer
	s := open(t, func(c *Config) {
		c.Scratch, c.Log = filepath.Join(t.TempDir(), "none"), slog.New(slog.NewTextHandler(&log, nil))
	})
	fill(t, s, 0, minPlain)
	b := bouncer(t, s, "b")
	for _, coding := range []string{"", "gzip"} {
		for range 2 * plainFrom {
			if h, body := b.startup("", coding); bytes.Count(unpacked(t, h, body), []byte(`"id"`)) != minPlain {
				t.Fatalf("%d bytes", len(body))
			}
		}
		tendAll(s)
		tendAll(s)
	}
	if n := strings.Count(log.String(), "cannot keep"); n != 1+min(len(codings), 1) {
		t.Fatalf("it is said %d times: %s", n, log.String())
	}
}

// TestPiecesAreTended: while bouncers start, what has changed is made anew before
// the next one asks; when none has asked for long, nothing is kept.
func TestPiecesAreTended(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	fill(t, s, 0, minPlain)
	b := bouncer(t, s, "b")
	for range plainFrom {
		b.startup("", "")
	}
	var v *view
	for _, v = range s.pieces.views {
	}
	fresh := func() (all bool) {
		n := news{s: s, query: v.query}
		n.mark()
		all = true
		for block := range n.blocks {
			_, sh := v.piece(&n, block)
			if all = all && sh != nil; sh != nil {
				sh.leave()
			}
		}
		return all
	}
	for _, change := range []func(){
		func() {},
		func() { fill(t, s, minPlain, 1) },
		func() { clk.Add(pieceAge - 4) },
	} {
		change()
		s.pieces.tend(v)
		clk.Add(1)
		if !fresh() {
			t.Fatal("a bouncer that starts now would wait for a piece")
		}
	}
	clk.Add(-time.Hour)
	if fresh() {
		t.Fatal("a piece from the future would be sent")
	}
	clk.Add(time.Hour)
	clk.Add(viewLife)
	s.pieces.tend(v)
	if len(s.pieces.views) != 0 {
		t.Fatalf("pieces of %d sets are kept", len(s.pieces.views))
	}
}

// TestPieceOfAnEarlierPlace: what came after the place in the log that a piece was made
// for must be told to the next bouncer, whose place is behind it.
func TestPieceOfAnEarlierPlace(t *testing.T) {
	s := open(t, nil)
	fill(t, s, 0, 10)
	early := news{s: s, query: usualQuery}
	early.mark()
	fill(t, s, 10, 10)
	late := early
	late.mark()
	none := &coding{name: "none", pack: func(dst, raw []byte) []byte { return append(dst, raw...) }}
	v := s.pieces.view(&early, none, "")
	for _, n := range []*news{&early, &late} {
		w := httptest.NewRecorder()
		a := streamAnswer{news: *n, kept: v, out: streamWriter{w: w, coding: none}}
		if err := a.write(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Count(w.Body.String(), `"id":`), int(n.to.ID); got != want {
			t.Errorf("%d decisions up to %d", got, want)
		}
	}
}

func TestOnlyLongAnswersToThoseWhoAskAreCompressed(t *testing.T) {
	needCodings(t)
	s := filled(t, compressFrom-1)
	b := bouncer(t, s, "b")
	f := func(coding, want string) {
		t.Helper()
		h, body := b.startup("", coding)
		if got := h.Get("Content-Encoding"); got != want || len(unpacked(t, h, body)) < 50*compressFrom {
			t.Fatalf("%q: answered in %q, %d bytes", coding, got, len(body))
		}
	}
	f("gzip", "")
	if err := s.Local("m").SendAlerts(t.Context(), []decisions.Alert{{StopAt: time.Now(), Decisions: []decisions.Decision{
		{Scope: "Ip", Value: "192.0.2.1", Type: "ban", Until: time.Now().Add(time.Hour)},
	}}}); err != nil {
		t.Fatal(err)
	}
	f("gzip", "gzip")
	f("", "")
	f("identity", "")
	f("*", "")
	f("deflate", "")
	f("gzip;q=0, zstd; q=0.000", "")
	f("gzip; q=1.0", "gzip")
}

func TestJoinSums(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		a, b := make([]byte, rng.IntN(300)), make([]byte, rng.IntN(300))
		for _, part := range [][]byte{a, b} {
			for i := range part {
				part[i] = byte(rng.Uint32())
			}
		}
		got := joinSums(crc32.ChecksumIEEE(a), crc32.ChecksumIEEE(b), int64(len(b)))
		if want := crc32.ChecksumIEEE(append(a, b...)); got != want {
			t.Fatalf("%d and %d bytes: %08x, want %08x", len(a), len(b), got, want)
		}
	}
}

// blocked is a client that stops taking its answer until goOn is closed.
type blocked struct {
	http.ResponseWriter
	begun chan struct{} // closed when the first bytes come
	goOn  chan struct{}
	once  sync.Once
}

func (w *blocked) Write(b []byte) (int, error) {
	w.once.Do(func() { close(w.begun) })
	<-w.goOn
	return w.ResponseWriter.Write(b)
}

// TestNobodyWaitsForAStart: while the whole set is being compressed for one
// bouncer, and another one doesn't take it, bans come and go, and are told.
func TestNobodyWaitsForAStart(t *testing.T) {
	packing, goOn := make(chan struct{}), make(chan struct{})
	all := codings
	defer func() { codings = all }()
	codings = []*coding{{name: "slow", pack: func(_, raw []byte) []byte {
		select {
		case packing <- struct{}{}:
		case <-goOn:
		}
		<-goOn
		return raw
	}}}
	s := open(t, nil)
	m, fw := machine(t, s, "m"), bouncer(t, s, "fw")
	w := m.do("POST", "/v1/alerts", string(importBody(3*compressFrom)))
	if w.Code != 201 {
		t.Fatal(w.Body)
	}
	fw.want("GET", "/v1/decisions/stream?startup=true", "", 200, "*")
	plain := &blocked{ResponseWriter: httptest.NewRecorder(), begun: make(chan struct{}), goOn: goOn}
	var starting sync.WaitGroup
	starting.Go(func() {
		v := bouncer(t, s, "takes nothing")
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/decisions/stream?startup=true", nil)
		r.RemoteAddr = "192.0.2.1:1"
		r.Header.Set("X-Api-Key", v.key)
		v.h.ServeHTTP(plain, r)
	})
	starting.Go(func() { bouncer(t, s, "compressed").startup("", "slow") })
	<-plain.begun
	<-packing

	for i := range 50 {
		address := fmt.Sprintf("203.0.113.%d", i)
		manual(t, m, time.Now(), decisionJSON("ip", address, "ban", "cscli", "4h"))
		if w := fw.want("GET", "/v1/decisions/stream", "", 200, "*"); !strings.Contains(w.Body.String(), address) {
			t.Fatalf("%s is not in %s", address, w.Body)
		}
		m.want("DELETE", "/v1/decisions?ip="+address, "", 200, `{"nbDeleted":"1"}`)
	}
	close(goOn)
	starting.Wait()
}

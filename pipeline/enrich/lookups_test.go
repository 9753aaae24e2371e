package enrich

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cs/pipeline/enrich/enrichtest"
	"cs/pipeline/event"
)

// enrich runs a method and returns the fields that it set.
func enrich(t testing.TB, l *Lookups, method, input string) map[string]string {
	t.Helper()
	schema := event.NewSchema()
	run, ok, err := l.Method(method, schema)
	if err != nil || !ok {
		t.Fatalf("no method %s: %v", method, err)
	}
	e := event.New(schema)
	e.Reset(event.Line{})
	run(e, input)
	got := map[string]string{}
	for i := range schema.Len() {
		if s := event.Slot(i); e.Has(s) {
			_, name := schema.Name(s)
			got[name] = e.Get(s)
		}
	}
	return got
}

func TestGeoIP(t *testing.T) {
	l := NewLookups(Settings{Dir: enrichtest.Databases(t)})
	if errs := l.Check(); len(errs) != 0 {
		t.Fatal(errs)
	}
	f := func(method, input, want string) {
		t.Helper()
		got := enrich(t, l, method, input)
		var text []string
		for _, k := range slices.Sorted(maps.Keys(got)) {
			text = append(text, k+"="+got[k])
		}
		if s := strings.Join(text, " "); s != want {
			t.Errorf("%s of %s: %s, want %s", method, input, s, want)
		}
	}
	f("GeoIpCity", "1.2.3.4", "IsInEU=true IsoCode=FR Latitude=46.000000 Longitude=2.000000")
	f("GeoIpCity", "::ffff:1.2.3.4", "IsInEU=true IsoCode=FR Latitude=46.000000 Longitude=2.000000")
	f("GeoIpCity", "9.8.8.8", "IsInEU=false IsoCode=US Latitude=0.000000 Longitude=0.000000")
	f("GeoIpCity", "10.0.0.1", "IsInEU=true IsoCode=DE Latitude=0.000000 Longitude=0.000000")
	f("GeoIpCity", "2001:db8:8000::1", "IsInEU=false IsoCode=AU Latitude=-33.494000 Longitude=143.210400")
	f("GeoIpCity", "7.7.7.7", "IsInEU=false IsoCode= Latitude=0.000000 Longitude=0.000000")
	f("GeoIpCity", "8.8.8.8", "")
	f("GeoIpCity", "nobody", "")
	f("GeoIpASN", "1.2.3.4", "ASNNumber=4242 ASNOrg=Crowdsec ASNumber=4242")
	f("GeoIpASN", "9.8.8.8", "ASNNumber=0 ASNOrg= ASNumber=0")
	f("GeoIpASN", "2001:db8::1", "ASNNumber=4200000000 ASNOrg=An organisation with a name beyond 28 ASNumber=4200000000")
	f("IpToRange", "1.2.3.4", "SourceRange=1.2.0.0/16")
	f("IpToRange", "2001:db8::1", "SourceRange=2001:db8::/33")
	f("IpToRange", "2001:db8:8000::1", "")

	if c := l.City(netip.MustParseAddr("1.2.3.4")); c.City.Names["en"] != "Paris" || c.Subdivisions[0].IsoCode != "IDF" || c.Postal.Code != "75001" {
		t.Errorf("%+v", c)
	}
	if c := l.City(netip.MustParseAddr("7.7.7.7")); c == nil || c.Country.IsoCode != "" {
		t.Errorf("%+v", c)
	}
	if _, ok := l.Range(netip.MustParseAddr("7.7.7.7")); ok {
		t.Error("a range without a record")
	}
}

func TestDatabasesAreOptional(t *testing.T) {
	address := netip.MustParseAddr("1.2.3.4")
	none := NewLookups(Settings{Dir: t.TempDir()})
	if errs := none.Check(); len(errs) != 2 {
		t.Error(errs)
	}
	if none.City(address) != nil || none.ASN(address) != nil {
		t.Error("records out of nothing")
	}
	dir := enrichtest.Databases(t)
	if err := os.WriteFile(filepath.Join(dir, CityName), []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	one := NewLookups(Settings{Dir: dir})
	if errs := one.Check(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "cannot open GeoIP database") {
		t.Error(errs)
	}
	for method, want := range map[string]int{"GeoIpCity": 0, "GeoIpASN": 3, "IpToRange": 1} {
		if got := enrich(t, one, method, "1.2.3.4"); len(got) != want {
			t.Errorf("%s without cities: %v", method, got)
		}
		if got := enrich(t, none, method, "1.2.3.4"); len(got) != 0 {
			t.Errorf("%s without databases: %v", method, got)
		}
	}
	if errs := NewLookups(Settings{Dir: ""}).Check(); len(errs) != 2 {
		t.Error(errs)
	}
	if _, ok, _ := none.Method("GeoIPCity", event.NewSchema()); ok {
		t.Error("a method that is none")
	}
}

func TestPlacesAreBounded(t *testing.T) {
	l := NewLookups(Settings{Dir: enrichtest.Databases(t)})
	g := l.databases()
	first := netip.MustParseAddr("1.2.3.4")
	known := g.place(first)
	ip := netip.MustParseAddr("10.0.0.0")
	for range 3 * maxPlaces {
		g.place(ip)
		ip = ip.Next()
		if g.place(first) != known {
			t.Fatal("a place that is asked for all the time was forgotten")
		}
	}
	if n := len(g.recent) + len(g.older); n > maxPlaces {
		t.Errorf("%d places are remembered", n)
	}
}

func TestEnrichingDoesNotAllocate(t *testing.T) {
	l := NewLookups(Settings{Dir: enrichtest.Databases(t)})
	l.names.ptr = func(context.Context, string) ([]string, error) { return []string{"a."}, nil }
	schema := event.NewSchema()
	var methods []Method
	for _, name := range []string{"GeoIpCity", "GeoIpASN", "IpToRange", "reverse_dns"} {
		m, _, err := l.Method(name, schema)
		if err != nil {
			t.Fatal(err)
		}
		methods = append(methods, m)
	}
	e := event.New(schema)
	run := func() {
		e.Reset(event.Line{})
		for _, m := range methods {
			m(e, "1.2.3.4")
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// server is a name server whose answers take a while.
type server struct {
	mu    sync.Mutex
	asked int
	delay time.Duration
	names []string
	err   error
}

func (s *server) answer(ctx context.Context, _ string) ([]string, error) {
	s.mu.Lock()
	s.asked++
	delay := s.delay
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(delay):
	}
	return s.names, s.err
}

func namesFrom(s *server) *names {
	n := newNames(DNS{})
	n.ptr, n.hosts = s.answer, s.answer
	return n
}

func TestNamesAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{delay: time.Second, names: []string{"a.example.", "b.example."}}
		l := &Lookups{names: namesFrom(s)}
		f := func(want string, asked int, took time.Duration) {
			t.Helper()
			start := time.Now()
			got := enrich(t, l, "reverse_dns", "1.2.3.4")
			if got["reverse_dns"] != want || s.asked != asked || time.Since(start) != took {
				t.Errorf("%v after %v, %d queries; want %s after %v, %d", got, time.Since(start), s.asked, want, took, asked)
			}
		}
		f("a.example.", 1, time.Second)
		f("a.example.", 1, 0)
		time.Sleep(keepName - time.Nanosecond)
		f("a.example.", 1, 0)
		time.Sleep(time.Nanosecond)
		s.err = errors.New("no such name")
		f("", 2, time.Second)
		f("", 2, 0)
		time.Sleep(keepNoName)
		s.err = nil
		f("a.example.", 3, time.Second)

		if got := l.Hosts("a.example"); !slices.Equal(got, s.names) {
			t.Error(got)
		}
		if l.Hosts("") != nil || l.Hosts(strings.Repeat("a", 256)) != nil {
			t.Error("what can't be a name has addresses")
		}
		if got := enrich(t, l, "reverse_dns", "a.example"); len(got) != 0 || s.asked != 4 {
			t.Errorf("the name of a name is %v", got)
		}
	})
}

func TestDNSSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{names: []string{"a.example."}}
		n := newNames(DNS{TTL: time.Minute, NegativeTTL: time.Second, Size: 2})
		n.ptr, n.hosts = s.answer, s.answer
		f := func(name string, asked int) {
			t.Helper()
			if n.of(question{name: name}); s.asked != asked {
				t.Errorf("%d queries, want %d", s.asked, asked)
			}
		}
		f("a", 1)
		time.Sleep(time.Minute - 1)
		f("a", 1)
		time.Sleep(time.Nanosecond)
		s.err = errors.New("no such name")
		f("a", 2)
		f("a", 2)
		time.Sleep(time.Second)
		f("a", 3)
		f("b", 4)
		f("c", 5)
		if len(n.answers) != 2 {
			t.Errorf("%d answers are remembered", len(n.answers))
		}
	})
}

func TestSilentNameServersCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := namesFrom(&server{delay: time.Hour})
		start, waited := time.Now(), time.Duration(0)
		for i := range 600 { // a line with another address every 100 ms
			before := time.Now()
			n.of(question{name: fmt.Sprint("host", i)})
			if took := time.Since(before); took > queryTime {
				t.Fatalf("a line waited for %v", took)
			}
			waited += time.Since(before)
			time.Sleep(100 * time.Millisecond)
		}
		if limit := queryTime + time.Since(start)/waitShare; waited > limit || waited < queryTime {
			t.Errorf("lines waited for %v in %v", waited, time.Since(start))
		}
		time.Sleep(queryTime)
		synctest.Wait()
		if n.queries != 0 {
			t.Errorf("%d queries are under way", n.queries)
		}
	})
}

func TestAnswersComeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := namesFrom(&server{delay: 2 * time.Second, names: []string{"a."}})
		n.credit, n.counted = 0, time.Now()
		if got := n.of(question{name: "a"}); got != nil {
			t.Error(got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := n.of(question{name: "a"}); len(got) != 1 {
			t.Error("the answer to a question that nobody waited for is lost")
		}
	})
}

func TestManyAskTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{delay: time.Second, names: make([]string, 100)}
		n := namesFrom(s)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if got := n.of(question{name: "a"}); len(got) != maxTexts {
					t.Errorf("%d texts", len(got))
				}
			})
		}
		all.Wait()
		if s.asked != 1 {
			t.Errorf("%d queries for one name", s.asked)
		}
	})
}

func TestNamesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{names: []string{"a."}}
		n := namesFrom(s)
		for i := range maxNames + 100 {
			n.of(question{name: fmt.Sprint("host", i)})
		}
		if len(n.answers) != maxNames {
			t.Errorf("%d answers are remembered", len(n.answers))
		}
		s.delay = time.Hour
		asked := s.asked
		for i := range 2 * maxQueries {
			n.credit = 0
			n.of(question{name: fmt.Sprint("slow", i)})
		}
		synctest.Wait()
		n.mu.Lock()
		if n.queries != maxQueries || s.asked-asked != maxQueries {
			t.Errorf("%d queries at once", n.queries)
		}
		n.mu.Unlock()
		time.Sleep(queryTime)
		synctest.Wait()
	})
}

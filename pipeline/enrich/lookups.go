package enrich

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"cs/decisions"
	"cs/pipeline/event"
	"cs/pipeline/expr"
)

// Settings say where Lookups looks.
type Settings struct {
	Dir string // of the GeoIP databases; may be ""
	DNS DNS
	CTI CTI
}

// Lookups knows about addresses and names what databases, name servers and
// services in the web say. It is safe for concurrent use, and one for an engine.
// It implements expr.Lookups.
type Lookups struct {
	dir   string
	names *names
	cti   *cti
	web   *web

	open     sync.Once
	geo      *geo
	problems []error
}

// NewLookups returns what looks things up. The databases are opened when the
// first one asks.
func NewLookups(s Settings) *Lookups {
	return &Lookups{dir: s.Dir, names: newNames(s.DNS), cti: newCTI(s.CTI), web: newWeb()}
}

// Check opens the databases and returns why they can't be used.
func (l *Lookups) Check() []error {
	l.databases()
	return l.problems
}

func (l *Lookups) databases() *geo {
	l.open.Do(func() { l.geo, l.problems = newGeo(l.dir) })
	return l.geo
}

// Hosts returns the addresses of a host name, nil when it has none. It waits
// for name servers, three seconds at most.
func (l *Lookups) Hosts(name string) []string {
	if name == "" || len(name) > 255 {
		return nil
	}
	return l.names.of(question{name: strings.Clone(name)})
}

// Names returns the host names of an address, with their final dots, as Hosts
// does.
func (l *Lookups) Names(ip netip.Addr) []string { return l.names.of(question{ip: ip}) }

// ExpectNames asks for the names of an address without waiting: somebody will ask
// for them soon, by Names or the method reverse_dns.
func (l *Lookups) ExpectNames(ip netip.Addr) { l.names.expect(question{ip: ip}) }

// CTI returns what CrowdSec's threat intelligence knows about an address, an
// empty record when it knows nothing. It waits for three seconds at most.
func (l *Lookups) CTI(ip netip.Addr) (*expr.CTI, error) { return l.cti.about(ip) }

// Fetch makes a web request, which takes ten seconds at most and whose answer
// may have 10 MiB.
func (l *Lookups) Fetch(method, url string, header map[string]string, body string) (*expr.Response, error) {
	return l.web.fetch(method, url, header, body)
}

// City returns the record of an address, an empty one when it has none, nil
// without a database.
func (l *Lookups) City(ip netip.Addr) *expr.City { return l.databases().readCity(ip) }

// ASN returns the record of an address as City does.
func (l *Lookups) ASN(ip netip.Addr) *expr.ASN {
	a, _, _ := l.databases().readASN(ip)
	return a
}

// Range returns the network of the autonomous system that has an address.
func (l *Lookups) Range(ip netip.Addr) (p netip.Prefix, ok bool) {
	_, p, ok = l.databases().readASN(ip)
	return p, ok
}

// Method is an enrichment method that content names in a static. It sets
// fields of the Enriched space from what is known about an address; with an
// input that is none, and when nothing is known, it sets nothing.
type Method func(e *event.Event, input string)

// Method returns an enrichment method by its name (spec: engine §2.10). ok is
// false for a name that is none.
func (l *Lookups) Method(name string, schema *event.Schema) (m Method, ok bool, err error) {
	outputs := map[string][]string{
		"GeoIpCity":   {"IsoCode", "IsInEU", "Latitude", "Longitude"},
		"GeoIpASN":    {"ASNNumber", "ASNumber", "ASNOrg"},
		"IpToRange":   {"SourceRange"},
		"reverse_dns": {"reverse_dns"},
	}[name]
	slots := make([]event.Slot, len(outputs))
	for i, field := range outputs {
		if slots[i], err = schema.Intern(event.Enriched, field); err != nil {
			return nil, false, fmt.Errorf("cannot prepare method %s: %w", name, err)
		}
	}
	switch name {
	case "GeoIpCity":
		m = l.located(func(e *event.Event, p *place) {
			if p.isInEU != "" {
				set(e, slots, p.isoCode, p.isInEU, p.latitude, p.longitude)
			}
		})
	case "GeoIpASN":
		m = l.located(func(e *event.Event, p *place) {
			if p.number != "" {
				set(e, slots, p.number, p.number, p.org)
			}
		})
	case "IpToRange":
		m = l.located(func(e *event.Event, p *place) {
			if p.network != "" {
				set(e, slots, p.network)
			}
		})
	case "reverse_dns":
		m = func(e *event.Event, input string) {
			ip, err := decisions.ParseAddr(input)
			if err != nil {
				return
			}
			if found := l.names.of(question{ip: ip}); len(found) > 0 {
				set(e, slots, found[0])
			}
		}
	}
	return m, m != nil, nil
}

// located makes a method of what the databases say about an address.
func (l *Lookups) located(use func(*event.Event, *place)) Method {
	return func(e *event.Event, input string) {
		g := l.databases()
		if g.city == nil && g.asn == nil {
			return
		}
		if ip, err := decisions.ParseAddr(input); err == nil {
			use(e, g.place(ip))
		}
	}
}

func set(e *event.Event, slots []event.Slot, values ...string) {
	for i, v := range values {
		e.Set(slots[i], v)
	}
}

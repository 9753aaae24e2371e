package enrich

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"

	"cs/pipeline/expr"
)

// The databases that GeoIP look-ups use, in the data directory. Both are
// optional, and each is used without the other.
const (
	CityName = "GeoLite2-City.mmdb"
	ASNName  = "GeoLite2-ASN.mmdb"
)

// database is an open MaxMind DB, safe for concurrent use.
type database interface {
	// lookup decodes the record of an address into what v points to. ok is
	// false when there is none; prefix is the network of the record.
	lookup(ip netip.Addr, v any) (prefix netip.Prefix, ok bool, err error)
}

// place is what the enrichment methods tell about an address, as text.
type place struct {
	isoCode, isInEU, latitude, longitude string
	number, org                          string
	network                              string // "" when there is none
}

// maxPlaces bounds the places that are remembered. There is room for the
// attackers of a busy day; with more, those asked for lately stay.
const maxPlaces = 1 << 13

// geo answers from the databases. It remembers places, so that asking again
// allocates nothing.
type geo struct {
	city, asn database // nil when there is none

	mu     sync.Mutex
	recent map[netip.Addr]*place // at most half of maxPlaces
	older  map[netip.Addr]*place
}

// newGeo opens the databases of a directory. The errors name what can't be
// used.
func newGeo(dir string) (*geo, []error) {
	g := &geo{}
	var errs []error
	open := func(name string) database {
		if dir == "" {
			errs = append(errs, fmt.Errorf("cannot open %s: there is no data directory", name))
			return nil
		}
		db, err := openDatabase(filepath.Join(dir, name))
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot open GeoIP database: %w", err))
			return nil
		}
		return db
	}
	g.city, g.asn = open(CityName), open(ASNName)
	return g, errs
}

// place returns what is known about an address.
func (g *geo) place(ip netip.Addr) *place {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.recent[ip]; p != nil {
		return p
	}
	p := g.older[ip]
	if p == nil {
		p = g.read(ip)
	}
	if g.recent == nil || len(g.recent) >= maxPlaces/2 {
		g.recent, g.older = make(map[netip.Addr]*place), g.recent
	}
	g.recent[ip] = p
	return p
}

func (g *geo) read(ip netip.Addr) *place {
	p := &place{}
	if c := g.readCity(ip); c != nil {
		where := c.Where()
		p.isoCode, p.isInEU = where.IsoCode, strconv.FormatBool(where.IsInEuropeanUnion)
		p.latitude = strconv.FormatFloat(c.Location.Latitude, 'f', 6, 64)
		p.longitude = strconv.FormatFloat(c.Location.Longitude, 'f', 6, 64)
	}
	if a, prefix, ok := g.readASN(ip); a != nil {
		p.number, p.org = strconv.FormatInt(a.AutonomousSystemNumber, 10), a.AutonomousSystemOrganization
		if ok {
			p.network = prefix.String()
		}
	}
	return p
}

// readCity returns the record of an address, an empty one when it has none,
// nil without a database.
func (g *geo) readCity(ip netip.Addr) *expr.City {
	if g.city == nil {
		return nil
	}
	c := new(expr.City)
	if _, _, err := g.city.lookup(ip, c); err != nil {
		return nil // the database is damaged here
	}
	return c
}

func (g *geo) readASN(ip netip.Addr) (a *expr.ASN, prefix netip.Prefix, ok bool) {
	if g.asn == nil {
		return nil, prefix, false
	}
	a = new(expr.ASN)
	prefix, ok, err := g.asn.lookup(ip, a)
	if err != nil {
		return nil, prefix, false
	}
	return a, prefix, ok
}

package expr

import "net/netip"

// Lookups gives expressions what is known about addresses and names elsewhere.
// It is safe for concurrent use. Without a database, or when nothing is known,
// the answers are nil.
type Lookups interface {
	// Hosts returns the addresses of a host name. It may take seconds.
	Hosts(name string) []string
	// City returns what the GeoIP database says about an address: an empty
	// record when it says nothing.
	City(ip netip.Addr) *City
	// ASN returns the autonomous system of an address, in the same way.
	ASN(ip netip.Addr) *ASN
	// Range returns the network of the ASN database that has an address.
	Range(ip netip.Addr) (p netip.Prefix, ok bool)
}

// City is a record of a GeoLite2-City database: the tags name its keys there,
// the fields are named as content knows them.
type City struct {
	City struct {
		Names map[string]string `maxminddb:"names"` // by language: "en"
	} `maxminddb:"city"`
	Continent struct {
		Code  string            `maxminddb:"code"`
		Names map[string]string `maxminddb:"names"`
	} `maxminddb:"continent"`
	Country            Country        `maxminddb:"country"`
	RegisteredCountry  Country        `maxminddb:"registered_country"`
	RepresentedCountry Country        `maxminddb:"represented_country"`
	Location           Location       `maxminddb:"location"`
	Subdivisions       []*Subdivision `maxminddb:"subdivisions"` // the largest first
	Postal             struct {
		Code string `maxminddb:"code"`
	} `maxminddb:"postal"`
}

// Country is a country of a City.
type Country struct {
	IsoCode           string            `maxminddb:"iso_code"` // two letters
	IsInEuropeanUnion bool              `maxminddb:"is_in_european_union"`
	Names             map[string]string `maxminddb:"names"`
}

// Location is where a City is, in degrees.
type Location struct {
	Latitude       float64 `maxminddb:"latitude"`
	Longitude      float64 `maxminddb:"longitude"`
	AccuracyRadius int     `maxminddb:"accuracy_radius"` // in km
	TimeZone       string  `maxminddb:"time_zone"`       // "Europe/Paris"
}

// Subdivision is a part of a country.
type Subdivision struct {
	IsoCode string            `maxminddb:"iso_code"` // without the country's
	Names   map[string]string `maxminddb:"names"`
}

// ASN is a record of a GeoLite2-ASN database.
type ASN struct {
	AutonomousSystemNumber       int64  `maxminddb:"autonomous_system_number"`
	AutonomousSystemOrganization string `maxminddb:"autonomous_system_organization"`
}

// place is a name with a code; some have one of the two.
type place struct {
	code  string
	names map[string]string
}

func lookupMembers() []Member {
	return []Member{
		Field("City", func(c *City) place { return place{"", c.City.Names} }),
		Field("Continent", func(c *City) place { return place{c.Continent.Code, c.Continent.Names} }),
		Field("Postal", func(c *City) place { return place{c.Postal.Code, nil} }),
		Field("Country", func(c *City) *Country { return &c.Country }),
		Field("RegisteredCountry", func(c *City) *Country { return &c.RegisteredCountry }),
		Field("RepresentedCountry", func(c *City) *Country { return &c.RepresentedCountry }),
		Field("Location", func(c *City) *Location { return &c.Location }),
		Field("Subdivisions", func(c *City) []*Subdivision { return c.Subdivisions }),

		Field("Code", func(p place) string { return p.code }),
		Field("Names", func(p place) map[string]string { return p.names }),

		Field("IsoCode", func(c *Country) string { return c.IsoCode }),
		Field("IsInEuropeanUnion", func(c *Country) bool { return c.IsInEuropeanUnion }),
		Field("Names", func(c *Country) map[string]string { return c.Names }),

		Field("Latitude", func(l *Location) float64 { return l.Latitude }),
		Field("Longitude", func(l *Location) float64 { return l.Longitude }),
		Field("AccuracyRadius", func(l *Location) int { return l.AccuracyRadius }),
		Field("TimeZone", func(l *Location) string { return l.TimeZone }),

		Field("IsoCode", func(s *Subdivision) string { return s.IsoCode }),
		Field("Names", func(s *Subdivision) map[string]string { return s.Names }),

		Field("AutonomousSystemNumber", func(a *ASN) int64 { return a.AutonomousSystemNumber }),
		Field("AutonomousSystemOrganization", func(a *ASN) string { return a.AutonomousSystemOrganization }),

		Method("String", (*netip.Prefix).String),
	}
}

// Where returns the country that an address is in, else the one that its
// network is registered in, else the one that its users represent.
func (c *City) Where() *Country {
	for _, k := range [...]*Country{&c.Country, &c.RegisteredCountry} {
		if k.IsoCode != "" {
			return k
		}
	}
	return &c.RepresentedCountry
}

package expr

import (
	"net/http"
	"net/netip"
)

// Lookups gives expressions what is known about addresses and names elsewhere.
// It is safe for concurrent use. Without a database, or when nothing is known,
// the answers are nil.
type Lookups interface {
	// Hosts returns the addresses of a host name. It may take seconds.
	Hosts(name string) []string
	// Names returns the host names of an address, which may end with a dot. It
	// may take seconds.
	Names(ip netip.Addr) []string
	// City returns what the GeoIP database says about an address: an empty
	// record when it says nothing.
	City(ip netip.Addr) *City
	// ASN returns the autonomous system of an address, in the same way.
	ASN(ip netip.Addr) *ASN
	// Range returns the network of the ASN database that has an address.
	Range(ip netip.Addr) (p netip.Prefix, ok bool)
	// CTI returns what CrowdSec's threat intelligence knows about an address. An
	// error says that it can't be asked now. It may take seconds.
	CTI(ip netip.Addr) (*CTI, error)
	// Fetch makes a web request. It may take seconds.
	Fetch(method, url string, header map[string]string, body string) (*Response, error)
}

// Response is the answer to a web request, which may be a refusal.
type Response struct {
	StatusCode int
	Body       string
	Headers    http.Header
}

// CTI is a record of CrowdSec's threat intelligence, as its public API tells
// it (GET /v2/smoke/ADDRESS). An address that nobody saw has an empty one.
type CTI struct {
	IP                   string         `json:"ip"`
	IPRange              string         `json:"ip_range"`
	IPRangeScore         int            `json:"ip_range_score"` // 0 to 5
	ASName               string         `json:"as_name"`
	ASNum                int            `json:"as_num"`
	ReverseDNS           string         `json:"reverse_dns"`
	BackgroundNoiseScore int            `json:"background_noise_score"` // 0 to 10
	TargetCountries      map[string]int `json:"target_countries"`       // percent by ISO code
	Behaviors            []CTILabel     `json:"behaviors"`
	AttackDetails        []CTILabel     `json:"attack_details"`
	References           []CTILabel     `json:"references"`
	Location             struct {
		Country   string  `json:"country"` // ISO code
		City      string  `json:"city"`
		Latitude  float64 `json:"latitude"`
		Longitude float64 `json:"longitude"`
	} `json:"location"`
	History struct {
		FirstSeen string `json:"first_seen"` // RFC 3339
		LastSeen  string `json:"last_seen"`
		FullAge   int    `json:"full_age"` // days since FirstSeen
		DaysAge   int    `json:"days_age"` // days since LastSeen
	} `json:"history"`
	Classifications struct {
		FalsePositives  []CTILabel `json:"false_positives"`
		Classifications []CTILabel `json:"classifications"`
	} `json:"classifications"`
	Scores struct {
		Overall   CTIScore `json:"overall"`
		LastDay   CTIScore `json:"last_day"`
		LastWeek  CTIScore `json:"last_week"`
		LastMonth CTIScore `json:"last_month"`
	} `json:"scores"`
}

// CTILabel is a word of a CTI record: "http:scan".
type CTILabel struct {
	Name        string `json:"name"`
	Label       string `json:"label"`
	Description string `json:"description"`
}

// CTIScore has scores from 0 to 5.
type CTIScore struct {
	Aggressiveness int `json:"aggressiveness"`
	Threat         int `json:"threat"`
	Trust          int `json:"trust"`
	Anomaly        int `json:"anomaly"`
	Total          int `json:"total"`
}

// ctiMembers are the methods and fields of a CTI record.
func ctiMembers() []Member {
	names := func(labels []CTILabel) []string {
		l := make([]string, len(labels))
		for i := range labels {
			l[i] = labels[i].Name
		}
		return l
	}
	listed := func(c *CTI) bool {
		for _, l := range c.Classifications.Classifications {
			if l.Name == "community-blocklist" {
				return true
			}
		}
		return false
	}
	type cti = *CTI
	return []Member{
		Method("GetAttackDetails", func(c cti) []string { return names(c.AttackDetails) }),
		Method("GetBehaviors", func(c cti) []string { return names(c.Behaviors) }),
		Method("GetMaliciousnessScore", func(c cti) float64 {
			if listed(c) {
				return 1
			}
			return float64(c.Scores.LastDay.Total) / 10
		}),
		Method("IsPartOfCommunityBlocklist", listed),
		Method("GetBackgroundNoiseScore", func(c cti) int { return c.BackgroundNoiseScore }),
		Method("GetFalsePositives", func(c cti) []string { return names(c.Classifications.FalsePositives) }),
		Method("GetClassifications", func(c cti) []string { return names(c.Classifications.Classifications) }),
		Method("IsFalsePositive", func(c cti) bool { return len(c.Classifications.FalsePositives) > 0 }),

		Field("Ip", func(c cti) string { return c.IP }),
		Field("IpRange", func(c cti) string { return c.IPRange }),
		Field("IpRangeScore", func(c cti) int { return c.IPRangeScore }),
		Field("AsName", func(c cti) string { return c.ASName }),
		Field("AsNum", func(c cti) int { return c.ASNum }),
		Field("ReverseDNS", func(c cti) string { return c.ReverseDNS }),
		Field("BackgroundNoiseScore", func(c cti) int { return c.BackgroundNoiseScore }),
		Field("TargetCountries", func(c cti) map[string]int { return c.TargetCountries }),

		Field("StatusCode", func(r *Response) int { return r.StatusCode }),
		Field("Body", func(r *Response) string { return r.Body }),
		Field("Headers", func(r *Response) http.Header { return r.Headers }),
	}
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

// Package enrichtest writes GeoIP databases for tests. Only tests import it.
package enrichtest

import (
	"encoding/binary"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// mmdbWriter writes small MaxMind DBs of IPv6 (spec 2.0,
// https://maxmind.github.io/MaxMind-DB/), with records of 24 bits.
type mmdbWriter struct {
	nodes [][2]int // a child: 0 nothing, n>0 node n, n<0 the record at -n-1
	data  []byte
}

func (w *mmdbWriter) add(prefix string, record any) {
	if len(w.nodes) == 0 {
		w.nodes = make([][2]int, 1)
	}
	p := netip.MustParsePrefix(prefix)
	addr, bits := p.Addr().As16(), p.Bits()
	if p.Addr().Is4() {
		addr, bits = [16]byte{}, bits+96
		a4 := p.Addr().As4()
		copy(addr[12:], a4[:])
	}
	at := 0
	for i := range bits {
		bit := addr[i/8] >> (7 - i%8) & 1
		if i == bits-1 {
			w.nodes[at][bit] = -len(w.data) - 1
			break
		}
		if w.nodes[at][bit] == 0 {
			w.nodes = append(w.nodes, [2]int{})
			w.nodes[at][bit] = len(w.nodes) - 1
		}
		at = w.nodes[at][bit]
	}
	w.data = appendValue(w.data, record)
}

func (w *mmdbWriter) write(t testing.TB, path string) {
	t.Helper()
	var out []byte
	for _, n := range w.nodes {
		for _, child := range n {
			v := uint32(len(w.nodes)) // nothing
			switch {
			case child > 0:
				v = uint32(child)
			case child < 0:
				v += 16 + uint32(-child-1)
			}
			out = append(out, byte(v>>16), byte(v>>8), byte(v))
		}
	}
	out = append(append(out, make([]byte, 16)...), w.data...)
	out = append(out, "\xab\xcd\xefMaxMind.com"...)
	out = appendValue(out, map[string]any{
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0), "build_epoch": uint64(1),
		"database_type": "Test", "description": map[string]any{}, "ip_version": uint16(6), "languages": []any{},
		"node_count": uint32(len(w.nodes)), "record_size": uint16(24),
	})
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
}

// appendValue encodes a value of the data section.
func appendValue(b []byte, v any) []byte {
	control := func(kind, size int) {
		extended := kind > 7
		first := byte(kind << 5)
		if extended {
			first = 0
		}
		if size >= 29 {
			first |= 29
		} else {
			first |= byte(size)
		}
		b = append(b, first)
		if extended {
			b = append(b, byte(kind-7))
		}
		if size >= 29 {
			b = append(b, byte(size-29)) // no test needs more
		}
	}
	number := func(kind int, n uint64) {
		bytes := binary.BigEndian.AppendUint64(nil, n)
		for len(bytes) > 0 && bytes[0] == 0 {
			bytes = bytes[1:]
		}
		control(kind, len(bytes))
		b = append(b, bytes...)
	}
	switch v := v.(type) {
	case string:
		control(2, len(v))
		b = append(b, v...)
	case float64:
		control(3, 8)
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(v))
	case uint16:
		number(5, uint64(v))
	case uint32:
		number(6, uint64(v))
	case uint64:
		number(9, v)
	case bool:
		control(14, 0)
		if v {
			b[len(b)-2]++ // the size is the value
		}
	case map[string]any:
		control(7, len(v))
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			b = appendValue(appendValue(b, k), v[k])
		}
	case []any:
		control(11, len(v))
		for _, e := range v {
			b = appendValue(b, e)
		}
	default:
		panic("no such type in a test")
	}
	return b
}

// Databases writes GeoLite2-City.mmdb and GeoLite2-ASN.mmdb into a new
// directory, which it returns. 1.2.3.0/24 is in France and of AS4242 Crowdsec,
// 9.0.0.0/8 is registered in the USA, 10.0.0.0/8 represents Germany,
// 2001:db8::/32 is in Australia, and the record of 8.8.8.0/24 is damaged.
func Databases(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	country := func(code string, eu bool) map[string]any {
		return map[string]any{"iso_code": code, "is_in_european_union": eu, "names": map[string]any{"en": "Land of " + code}}
	}
	var city mmdbWriter
	city.add("1.2.3.0/24", map[string]any{
		"city":         map[string]any{"names": map[string]any{"en": "Paris"}},
		"continent":    map[string]any{"code": "EU"},
		"country":      country("FR", true),
		"location":     map[string]any{"latitude": 46.0, "longitude": 2.0, "accuracy_radius": uint16(50), "time_zone": "Europe/Paris"},
		"subdivisions": []any{map[string]any{"iso_code": "IDF"}},
		"postal":       map[string]any{"code": "75001"},
	})
	city.add("9.0.0.0/8", map[string]any{"registered_country": country("US", false), "represented_country": country("DE", true)})
	city.add("10.0.0.0/8", map[string]any{"represented_country": country("DE", true)})
	city.add("2001:db8::/32", map[string]any{"country": country("AU", false), "location": map[string]any{"latitude": -33.494, "longitude": 143.2104}})
	city.add("8.8.8.0/24", "damaged: this is no map")
	city.write(t, filepath.Join(dir, "GeoLite2-City.mmdb"))
	var asn mmdbWriter
	asn.add("1.2.0.0/16", map[string]any{"autonomous_system_number": uint32(4242), "autonomous_system_organization": "Crowdsec"})
	asn.add("2001:db8::/33", map[string]any{"autonomous_system_number": uint32(4_200_000_000), "autonomous_system_organization": "An organisation with a name beyond 28"})
	asn.write(t, filepath.Join(dir, "GeoLite2-ASN.mmdb"))
	return dir
}

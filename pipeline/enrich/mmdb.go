package enrich

import (
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

// mmdb is a MaxMind DB that is mapped into memory, never read as a whole.
type mmdb struct{ r *maxminddb.Reader }

func openDatabase(path string) (database, error) {
	r, err := maxminddb.Open(path)
	if err != nil {
		return nil, err
	}
	return mmdb{r}, nil
}

func (m mmdb) lookup(ip netip.Addr, v any) (netip.Prefix, bool, error) {
	r := m.r.Lookup(ip)
	if err := r.Err(); err != nil || !r.Found() {
		return netip.Prefix{}, false, err
	}
	return r.Prefix(), true, r.Decode(v)
}

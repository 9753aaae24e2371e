package lapi

import (
	"net/url"
	"strings"
)

// params is the query of a bouncer. It reads the same as url.Values, without
// making a map for the one or two keys that there are.
type params []param

type param struct{ key, value string }

func parseParams(raw string) (q params) {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" || strings.Contains(pair, ";") {
			continue // net/url refuses those too
		}
		key, value, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(key)
		if err != nil {
			continue
		}
		if value, err = url.QueryUnescape(value); err != nil {
			continue
		}
		q = append(q, param{key, value})
	}
	return q
}

// Get returns the first value of a key, "" if there is none.
func (q params) Get(key string) string {
	for i := range q {
		if q[i].key == key {
			return q[i].value
		}
	}
	return ""
}

// Has tells whether a key is there.
func (q params) Has(key string) bool {
	for i := range q {
		if q[i].key == key {
			return true
		}
	}
	return false
}

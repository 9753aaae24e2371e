package expr

import (
	"net/url"
	"strings"
)

func urlFuncs() map[string]*function {
	return map[string]*function{
		"PathEscape":    textFrom(func(_ *Ctx, s string) string { return url.PathEscape(s) }),
		"QueryEscape":   textFrom(func(_ *Ctx, s string) string { return url.QueryEscape(s) }),
		"PathUnescape":  memoFrom("pathunescape", func(x *Ctx, s string) string { return x.unescape(s, false) }),
		"QueryUnescape": memoFrom("queryunescape", func(x *Ctx, s string) string { return x.unescape(s, true) }),
		"ParseUri": {params: []param{aString}, build: func(_ *unit, a []value) value {
			f := a[0].str
			return dynamic(textsMapType, func(x *Ctx) any {
				u, err := url.Parse(strings.Clone(f(x)))
				if err != nil {
					return map[string][]string{}
				}
				query, err := url.ParseQuery(u.RawQuery)
				if err != nil { // what could be read of it is no answer, either
					return map[string][]string{}
				}
				return map[string][]string(query)
			})
		}},
		"ParseQuery": {params: []param{aString}, build: func(_ *unit, a []value) value {
			f := a[0].str
			return dynamic(textsMapType, func(x *Ctx) any { return parseQuery(f(x)) })
		}},
		"ExtractQueryParam": {params: []param{aString, aString}, build: func(_ *unit, a []value) value {
			f, g := a[0].str, a[1].str
			return texts(func(x *Ctx) []string {
				uri := f(x)
				name := g(x)
				_, query, _ := strings.Cut(uri, "?")
				start := len(x.strs)
				for query != "" {
					var piece string
					piece, query, _ = strings.Cut(query, "&")
					if piece == "" {
						continue
					}
					key, val, _ := strings.Cut(piece, "=")
					if x.unescapeLax(key) == name {
						x.strs = append(x.strs, x.unescapeLax(val))
					}
				}
				return x.strs[start:len(x.strs):len(x.strs)]
			})
		}},
	}
}

var textsMapType = typ{kind: mapKind, elem: &stringsType}

// unescape undoes percent escapes, and in a query the plus for a blank. Text
// with a bad escape is returned as it is.
func (x *Ctx) unescape(s string, query bool) string {
	if strings.IndexByte(s, '%') < 0 && (!query || strings.IndexByte(s, '+') < 0) {
		return s // most have none
	}
	found := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return s
			}
			found = true
			i += 2
		case s[i] == '+' && query:
			found = true
		}
	}
	if !found {
		return s
	}
	return x.decode(s, query)
}

// unescapeLax undoes the escapes of a query and leaves bad ones.
func (x *Ctx) unescapeLax(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	return x.decode(s, true)
}

// decode copies s to the arena without its good escapes.
func (x *Ctx) decode(s string, query bool) string {
	return x.arena.Built(appendDecoded(x.arena.Build(), s, query))
}

func appendDecoded(b []byte, s string, query bool) []byte {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		case s[i] == '+' && query:
			b = append(b, ' ')
		default:
			b = append(b, s[i])
		}
	}
	return b
}

func isHex(c byte) bool { return c-'0' <= 9 || c|0x20 >= 'a' && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// parseQuery splits a query at & only. Bad escapes stay.
func parseQuery(s string) map[string][]string {
	m := make(map[string][]string)
	for piece := range strings.SplitSeq(s, "&") {
		if piece == "" {
			continue
		}
		key, val, _ := strings.Cut(piece, "=")
		key = string(appendDecoded(nil, key, true))
		m[key] = append(m[key], string(appendDecoded(nil, val, true)))
	}
	return m
}

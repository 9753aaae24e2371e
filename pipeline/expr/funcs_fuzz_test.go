package expr

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"cs/pipeline/event"
)

// FuzzQuery holds the three readers of queries against each other, and against
// net/url where that one takes the text.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"a=1&b=2&a=3", "a=%zz&%41=+", "&&=&a", "a=b=c&;=1", "%&+", "\xff=%ff"} {
		f.Add(s, "a")
	}
	f.Fuzz(func(t *testing.T, query, name string) {
		c := &Compiler{Schema: event.NewSchema()}
		p, err := c.Compile(`ExtractQueryParam("/p?" + evt.Line.Raw, evt.Line.Src)`)
		if err != nil {
			t.Fatal(err)
		}
		e := event.New(c.Schema)
		e.Reset(event.Line{Raw: query, Src: name})
		got, err := p.Any(&Ctx{Event: e})
		want := parseQuery(query)[name]
		if list, _ := got.([]string); err != nil || !slices.Equal(list, want) {
			t.Fatalf("%q has %q for %q, want %q (%v)", query, got, name, want, err)
		}
		if std, err := url.ParseQuery(query); err == nil && !slices.Equal(std[name], want) {
			t.Fatalf("%q has %q for %q, net/url says %q", query, want, name, std[name])
		}
	})
}

func FuzzGlob(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("**", "")
	f.Add("?*?", "\xff\x00")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 12 || len(s) > 24 || strings.Count(pattern, "*") > 4 {
			return // the definition takes exponential time
		}
		if got, want := glob(pattern, s), slowGlob(pattern, s); got != want {
			t.Fatalf("Match(%q, %q) is %v", pattern, s, got)
		}
	})
}

func FuzzParseBot(f *testing.F) {
	f.Add(`{"name": "a", "user_agent": "x", "paths": ["/"], "ips": ["192.0.2.1"], "ranges": ["2001:db8::/32"], "rdns": ["a$"]}`)
	f.Add(`{"name": "a", "rdns": ["("]}`)
	f.Fuzz(func(t *testing.T, row string) {
		b, err := ParseBot(row)
		if err != nil {
			return
		}
		if b.Name == "" || len(b.ips)+len(b.ranges)+len(b.names) == 0 {
			t.Fatalf("%s gives %+v", row, b)
		}
		ip, _ := address("192.0.2.1")
		b.is(testLookups{}, ip, row, row)
	})
}

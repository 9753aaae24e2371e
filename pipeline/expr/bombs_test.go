package expr

import (
	"fmt"
	"strings"
	"testing"

	"cs/pipeline/event"
)

// TestBombs feeds helpers with what is made to be expensive. With more than
// linear time or memory these would not end.
func TestBombs(t *testing.T) {
	n := 300_000
	if testing.Short() {
		n = 100_000
	}
	deep := strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n)
	var wide strings.Builder
	wide.WriteString(`{"k":0`)
	for i := range n {
		fmt.Fprintf(&wide, `,"k%d":[%d]`, i, i)
	}
	wide.WriteString(`}`)
	laughs := `<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;</a>`
	f := func(src, raw string, want any) {
		t.Helper()
		c := &Compiler{Schema: event.NewSchema()}
		p, err := c.Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		e := event.New(c.Schema)
		e.Reset(event.Line{Raw: raw})
		got, err := p.Any(&Ctx{Event: e})
		if err != nil {
			got = "error"
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s of %d bytes: %.100v, want %v", src, len(raw), got, want)
		}
	}
	last := fmt.Sprintf("k%d", n-1)
	f(`JsonExtract(evt.Line.Raw, "a.a.b")`, deep, "")
	f(`JsonExtract(evt.Line.Raw, "b")`, deep, "")
	f(`UnmarshalJSON(evt.Line.Raw, evt.Unmarshaled, "j") == nil`, deep, "error")
	f(`fromJSON(evt.Line.Raw) == nil`, deep, "error")
	f(`JsonExtractObject(evt.Line.Raw, "a") == nil`, deep, true)
	f(`JsonExtract(evt.Line.Raw, "`+last+`[0]")`, wide.String(), n-1)
	f(`JsonExtract(evt.Line.Raw, "none")`, wide.String(), "")
	f(`JsonExtractUnescape(evt.Line.Raw, "none")`, wide.String(), "")
	f(`UnmarshalJSON(evt.Line.Raw, evt.Unmarshaled, "j") == nil && len(evt.Unmarshaled.j) == `+fmt.Sprint(n+1), wide.String(), true)
	f(`JsonExtract(evt.Line.Raw, "a[`+fmt.Sprint(n)+`]")`, `{"a":[`+strings.Repeat("0,", n)+`7]}`, 7)
	f(`JsonExtract(evt.Line.Raw, "a")`, `{"a":"`+strings.Repeat(`\"`, n), "")

	f(`XMLGetNodeValue(evt.Line.Raw, "/a/a")`, strings.Repeat("<a>", n), "")
	f(`XMLGetNodeValue(evt.Line.Raw, "//b")`, "<a>"+strings.Repeat("<b/>", n/8)+"</a>", "")
	f(`XMLGetNodeValue(evt.Line.Raw, "/a")`, laughs, "")
	f(`XMLGetNodeValue(evt.Line.Raw, "//*//*//*//*//c")`, "<a>"+strings.Repeat("<b><b/></b>", 2000)+"</a>", "")
	f(`XMLGetAttributeValue(evt.Line.Raw, "/a", "x")`, "<a "+strings.Repeat("y='' ", n/8)+"x='1'/>", "")

	f(`ParseKV(evt.Line.Raw, evt.Unmarshaled, "k") == nil && len(evt.Unmarshaled.k) == 1`, strings.Repeat(`a="`, n), true)
	f(`ParseKV(evt.Line.Raw, evt.Unmarshaled, "k") == nil`, strings.Repeat(`\"`, n), "error")
	f(`ParseKVLax(evt.Line.Raw, evt.Unmarshaled, "k") == nil && len(evt.Unmarshaled.k) == 1`, strings.Repeat(`a=  `, n), true)
	f(`ParseKVLax(evt.Line.Raw, evt.Unmarshaled, "k") == nil`, strings.Repeat(`a `, n), "error")
	f(`Match("*a*a*a*a*b", evt.Line.Raw)`, strings.Repeat("a", n), false)
	f(`len(ParseQuery(evt.Line.Raw))`, strings.Repeat("a=1&", n), 1)
	f(`len(ExtractQueryParam("?" + evt.Line.Raw, "a"))`, strings.Repeat("a=1&", n), n)
	f(`len(QueryUnescape(evt.Line.Raw))`, strings.Repeat("%41", n), n)

	f(`Join(Split(evt.Line.Raw, ""), evt.Line.Raw)`, strings.Repeat("a", n), "error")
	f(`ReplaceAll(evt.Line.Raw, evt.Parsed.none, evt.Line.Raw)`, strings.Repeat("a", n), "error")
	f(`ReplaceAll(evt.Line.Raw, "a", evt.Line.Raw)`, strings.Repeat("a", n), "error")
	f(`len(ReplaceAll(evt.Line.Raw, "a", "bb"))`, strings.Repeat("a", n), 2*n)
	f(`Sprintf(evt.Line.Raw, 1)`, strings.Repeat("%999999d", n/8), "error")
	f(`Sprintf(evt.Line.Raw, 1, 2)`, strings.Repeat("%*d", n/8), "error")
	f(`Sprintf(evt.Line.Raw, 1)`, "%05d", "00001")
	f(`repeat(evt.Line.Raw, 1000000)`, "aa", "error")
	f(`len(uniq(Split(evt.Line.Raw, ",")))`, strings.Repeat("a,b,", n), 3)
	f(`uniq(map(Split(evt.Line.Raw, ","), len(#)))`, strings.Repeat("a,b,", n), "error")
	f(`len(1..2000000)`, "", "error")
}

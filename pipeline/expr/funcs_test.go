package expr

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/pipeline/event"
)

type rowFiles struct{ testFiles }

func (rowFiles) Rows(name string) ([]map[string]string, bool) {
	row := func(kind, pattern, tag string) map[string]string {
		return map[string]string{"type": kind, "pattern": pattern, "tag": tag}
	}
	return []map[string]string{
		row("equals", "same", "first"), row("equals", "same", "last"),
		row("contains", "bc", "bc"), row("contains", "abc", "abc"), row("contains", "b", "b"), row("contains", "abcd", "late"),
		row("regex", "^x+$", "xs"), row("regex", "^x", "x"),
	}, name == "tags.json"
}

// TestFunctions checks the helpers that the hub does not use and what the
// machine of expr-lang can't tell about the others.
func TestFunctions(t *testing.T) {
	f := func(src string, want any) {
		t.Helper()
		c := &Compiler{Schema: event.NewSchema(), Files: rowFiles{}}
		p, err := c.Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		e := event.New(c.Schema)
		e.Reset(event.Line{Raw: `{"a":{"b":[1,"x\ty",{"c":null}]},"l":[1,"2"],"s":"\u00e9\ud83d\ude00\"","o":{"k":1}}`})
		if slot, ok := c.Schema.Lookup(event.Unmarshaled, "times"); ok {
			at := func(s int) any { return time.Unix(int64(s), 0) }
			e.SetDoc(slot, []any{at(100), at(10), at(40), at(40)})
		}
		said := ""
		x := &Ctx{Event: e, Now: time.Date(2024, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600)), Log: func(m string) { said = m }}
		got, err := p.Any(x)
		if err != nil {
			got = "error"
		}
		if said != "" {
			got = fmt.Sprint(got, " ", said)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v (%v)", src, got, want, err)
		}
	}
	f(`MedianInterval(evt.Unmarshaled.times)`, 30*time.Second)
	f(`AverageInterval(evt.Unmarshaled.times)`, 30*time.Second)
	f(`MedianInterval(evt.Unmarshaled.times[:3]) == duration("45s")`, true)
	f(`MedianInterval(evt.Unmarshaled.times[:1])`, "error")
	f(`MedianInterval([1, 2])`, "error")
	f(`Distance("48.8566", "2.3522", "51.5074", "-0.1278") > 343 && Distance("48.8566", "2.3522", "51.5074", "-0.1278") < 344.5`, true)
	f(`Distance("0", "0", "51.5", "-0.1")`, 0)
	f(`Distance("x", "0", "51.5", "-0.1")`, "error")
	f(`TimeNow()`, "2024-03-01T11:00:00Z")
	f(`now().Hour() == 12 && now().Weekday().String() == "Friday" && now().Format("2006") == "2024"`, true)
	f(`date("2024-01-02") < now()`, true)
	f(`ParseUnix("abc") + ParseUnix("-3") + ParseUnix("0")`, "")
	f(`Atof("x")`, 0)

	f(`LookupFile("same", "tags.json")`, "last")
	f(`LookupFile("zabcd", "tags.json")`, "abc")
	f(`LookupFile("zb abc", "tags.json")`, "b")
	f(`LookupFile("xxx", "tags.json")`, "xs")
	f(`LookupFile("xy", "tags.json")`, "x")
	f(`LookupFile("none", "tags.json")`, "")
	f(`LookupFile("same", "missing.json")`, "")
	f(`FileMap("tags.json")[0].tag + FileMap("tags.json")[1]["tag"]`, "firstlast")

	f(`JsonExtract(evt.Line.Raw, "a.b[1]")`, `x\ty`)
	f(`JsonExtract(evt.Line.Raw, "a.b[2].c")`, "null")
	f(`JsonExtract(evt.Line.Raw, "a.b[3]")`, "")
	f(`JsonExtract('[[7,{"a":[8]}]]', "[0].[1].a.[0]")`, "8")
	f(`JsonExtract(evt.Line.Raw, "o")`, `{"k":1}`)
	f(`JsonExtract('{"a":nul}', "a") + JsonExtract('[::1]', "[0]") + JsonExtract('{"a":yes}', "a")`, "")
	f(`JsonExtract('{"a":[true,false,null,-1,2e3,12x]}', "a[0]") + JsonExtract('[true,false,null,-1,2e3,12x]', "[3]") + JsonExtract('[12x]', "[0]")`, "true-112x")
	f(`JsonExtractUnescape(evt.Line.Raw, "s")`, "\u00e9\U0001f600\"")
	f(`JsonExtractUnescape(evt.Line.Raw, "o")`, "")
	f(`JsonExtractSlice(evt.Line.Raw, "l")`, "[1 2]")
	f(`JsonExtractSlice(evt.Line.Raw, "o") == nil`, true)
	f(`JsonExtractObject(evt.Line.Raw, "o").k`, 1)
	f(`JsonExtractObject(evt.Line.Raw, "l") == nil`, true)
	f(`ToJsonString({"a": [1, nil, "x"]})`, `{"a":[1,null,"x"]}`)
	f(`UnmarshalJSON(evt.Line.Raw, evt.Unmarshaled, "doc") in ["", nil] && evt.Unmarshaled.doc.a.b[0] == 1`, true)
	f(`UnmarshalJSON("{", evt.Unmarshaled, "doc") == nil`, "error")
	f(`UnmarshalJSON("3", evt.Unmarshaled, evt.Line.Module + "doc") == nil && evt.Unmarshaled.doc == 3`, true)

	f(`XMLGetNodeValue("- <e><d a='1'>x&amp;y</d></e>", "/e/d[@a='1']") + XMLGetAttributeValue("<e><d a='1'/></e>", "//d", "a")`, "x&y1")
	f(`XMLGetNodeValue("<e>", "/e") + XMLGetNodeValue("<e>x</e>", "/e[") + XMLGetNodeValue("<e>x</e>", "/f") + XMLGetAttributeValue("<e/>", "/e", "a")`, "")
	f(`XMLGetNodeValue("<e a='p'>/e/b</e>", "/" + XMLGetNodeValue("<a>e</a>", "a"))`, "/e/b")

	f(`ParseUri("http://x/?a=1&b=2&a=3")["a"]`, "[1 3]")
	f(`ParseUri("http://[x")`, "map[]")
	f(`ParseUri("/x?a=1&b=%zz")`, "map[]")
	f(`ParseUri("/x?a=1;b=2&c")`, "map[]")
	f(`ParseQuery("a=1;b&c=%zz+%41&&=x")`, "map[:[x] a:[1;b] c:[%zz A]]")
	f(`ExtractQueryParam("/p?foo=a%20b&x=1&foo=c", "foo")`, "[a b c]")
	f(`ExtractQueryParam("/p", "foo")`, "[]")

	f(`Flatten([1, [2, [3]]], 4, [])`, "[1 2 3 4]")
	f(`Distinct([1, "a", 1, "a", nil])`, "[1 a <nil>]")
	f(`Distinct(3) == nil`, true)
	f(`FlattenDistinct([1, [1, 2]], 2)`, "[1 2]")
	f(`KeyExists("k", JsonExtractObject(evt.Line.Raw, "o"))`, true)
	f(`sort([3, 1, 2], "desc")`, "[3 2 1]")
	f(`keys({"b": 1, "a": 2})`, "[a b]")
	f(`uniq([1, 1.0, "a", "a"])`, "[1 a]")
	f(`max(1, [5, 2.5]) + min(3, 2)`, 7)
	f(`mean([1, 2]) + median(1, 5, 2)`, 3.5)
	f(`reduce(1..4, #acc + #, 10)`, 20)
	f(`sum(1..4)`, 10)
	f(`B64Decode("aGk=")`, "hi")
	f(`B64Decode("?")`, "error")
	f(`LogInfo("%d %s", 1, "x")`, "true 1 x")
	f(`Hostname() != ""`, true)
	f(`IsIP("::ffff:1.2.3.4") && IsIPV4("::ffff:1.2.3.4") && IpInRange("::ffff:1.2.3.4", "1.2.3.0/24")`, true)
	f(`IsIP("fe80::1%eth0") || IsIP("1.2.3") || IpInRange("1.2.3.4", "1.2.3.4")`, false)
	f(`IpToRange("2001:db8:85a3::1", "/64")`, "2001:db8:85a3::/64")
	f(`IpToRange("1.2.3.4", "33")`, "")
	f(`JsonExtractLib(evt.Line.Raw, "s")`, "error")
	f(`GetDecisionsCount("1.2.3.4") + GetDecisionsSinceCount("1.2.3.4", "2d") + GetActiveDecisionsCount("1.2.3.4")`, 0)
	f(`GetActiveDecisionsTimeLeft("1.2.3.4") < duration("1s")`, true)
	f(`SetInStash("a", "b", "c", duration("1h")) == nil`, true)
	f(`Get(["a"], 5) + Get(["a"], 0)`, "a")
	f(`Get(["a"], -1)`, "error")
	f(`Match("", "") && Match("*", "") && !Match("**", "") && Match("a*b?d", "axxbcd") && !Match("a", "ab")`, true)
}

func FuzzParseKV(f *testing.F) {
	for _, s := range []string{`a=1 b="x \"y\" z" c= d==e`, `="a"`, "a=\"b\\\nc\"", `x="a"y=b`, `k="unterminated`, "\xff=\xfe", `a="b\`, `a.b-c=1 _d="x=y" 9e=2`} {
		f.Add(s)
	}
	strict := slowKV(regexp.MustCompile(`([^=\s]+)=(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^=\s]+)|)`))
	f.Fuzz(func(t *testing.T, s string) {
		check := func(name string, parse func(string, func(key, val string)), slow func(...any) (any, error)) {
			got, want := map[string]string{}, map[string]any{}
			parse(s, func(key, val string) { got[key] = val })
			_, err := slow(s, want, "m")
			expect, _ := want["m"].(map[string]string)
			if (err != nil) != (len(got) == 0) || !maps.Equal(got, expect) {
				t.Fatalf("%s(%q) = %q, want %q (%v)", name, s, got, expect, err)
			}
		}
		check("ParseKV", parseKV, strict)
		check("ParseKVLax", parseKVLax, slowKVLax)
	})
}

func FuzzFindJSON(f *testing.F) {
	f.Add(`{"a":{"b":[1,"x",{"c":null}]}}`, "a.b[2].c")
	f.Add(`[[1],{"\u0061":2}]`, "[1].a")
	f.Add(`{"a" : [ ] , "b":{"x":"}"}}`, "b.x")
	f.Add(`{"a":"`, "a")
	f.Fuzz(func(t *testing.T, s, path string) {
		got, _ := findJSON(s, jsonPath(nil, path))
		// what is no JSON may give anything
		if want := slowJSON(s, path); json.Valid([]byte(s)) && got != string(want) {
			t.Fatalf("%q at %q: %q, want %q", s, path, got, want)
		}
	})
}

type testLookups struct{}

func (testLookups) Hosts(name string) []string { return []string{"192.0.2.1", name} }
func (testLookups) Names(ip netip.Addr) []string {
	if ip.Is4() {
		return []string{"liar.example.", "crawl-" + strings.ReplaceAll(ip.String(), ".", "-") + ".bot.example."}
	}
	return nil
}
func (testLookups) CTI(ip netip.Addr) (*CTI, error) {
	if !ip.Is4() {
		return nil, errors.New("it is closed")
	}
	c := &CTI{IP: ip.String(), BackgroundNoiseScore: 7, Behaviors: []CTILabel{{Name: "http:scan"}}, AttackDetails: []CTILabel{{Name: "crowdsecurity/x"}}}
	c.Scores.LastDay.Total = 3
	c.Classifications.Classifications = []CTILabel{{Name: "proxy"}}
	if ip.As4()[3] == 1 {
		c.Classifications.Classifications = []CTILabel{{Name: "community-blocklist"}}
		c.Classifications.FalsePositives = []CTILabel{{Name: "seo"}}
	}
	return c, nil
}
func (testLookups) Fetch(method, url string, header map[string]string, body string) (*Response, error) {
	if url == "" {
		return nil, errors.New("no web address")
	}
	return &Response{StatusCode: 418, Body: method + " " + url + " " + fmt.Sprint(header) + " " + body, Headers: http.Header{"X-A": {"b"}}}, nil
}
func (testLookups) City(ip netip.Addr) *City {
	c := &City{}
	if ip.Is4() {
		c.City.Names = map[string]string{"en": "Paris"}
		c.Country = Country{IsoCode: "FR", IsInEuropeanUnion: true}
		c.Location = Location{Latitude: 46, Longitude: 2}
		c.Subdivisions = []*Subdivision{{IsoCode: "IDF"}}
	}
	return c
}
func (testLookups) ASN(netip.Addr) *ASN {
	return &ASN{AutonomousSystemNumber: 4242, AutonomousSystemOrganization: "Crowdsec"}
}
func (testLookups) Range(ip netip.Addr) (netip.Prefix, bool) {
	return netip.PrefixFrom(ip, 24).Masked(), ip.Is4()
}

func TestLookups(t *testing.T) {
	f := func(look Lookups, src string, want any) {
		t.Helper()
		c := &Compiler{Schema: event.NewSchema(), Lookups: look}
		p, err := c.Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Any(&Ctx{Event: event.New(c.Schema)})
		if err != nil {
			got = "error"
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v (%v)", src, got, want, err)
		}
	}
	known := testLookups{}
	f(known, `GeoIPEnrich("1.2.3.4").Country.IsoCode + GeoIPEnrich("1.2.3.4").City.Names["en"] + GeoIPEnrich("1.2.3.4").City.Names.en`, "FRParisParis")
	f(known, `GeoIPEnrich("1.2.3.4").Location.Latitude == 46 && GeoIPEnrich("1.2.3.4").Country.IsInEuropeanUnion`, true)
	f(known, `GeoIPEnrich("1.2.3.4").Subdivisions[0].IsoCode`, "IDF")
	f(known, `GeoIPEnrich("1.2.3.4").Subdivisions[1].IsoCode`, "error")
	f(known, `GeoIPEnrich("::1").Country.IsoCode`, "")
	f(known, `GeoIPEnrich("nobody") == nil`, true)
	f(known, `GeoIPEnrich("nobody").Country.IsoCode`, "error")
	f(known, `GeoIPASNEnrich("1.2.3.4").AutonomousSystemNumber == 4242 && GeoIPASNEnrich("1.2.3.4").AutonomousSystemOrganization == "Crowdsec"`, true)
	f(known, `GeoIPRangeEnrich("1.2.3.4").String()`, "1.2.3.0/24")
	f(known, `GeoIPRangeEnrich("::1") == nil && GeoIPRangeEnrich("1.2.3.4") != nil`, true)
	f(known, `IPToCountry("1.2.3.4") + IPToCountry("::1") + IPToCountry("nobody")`, "FR")
	f(known, `LookupHost("a")`, "[192.0.2.1 a]")
	f(known, `any(LookupHost("a"), # == "192.0.2.1")`, true)
	f(known, `CrowdsecCTI("1.2.3.4").GetMaliciousnessScore()`, 0.3)
	f(known, `CrowdsecCTI("1.2.3.1").GetMaliciousnessScore()`, 1)
	f(known, `CrowdsecCTI("1.2.3.1").IsPartOfCommunityBlocklist() && CrowdsecCTI("1.2.3.1").IsFalsePositive()`, true)
	f(known, `CrowdsecCTI("1.2.3.4").IsPartOfCommunityBlocklist() || CrowdsecCTI("1.2.3.4").IsFalsePositive()`, false)
	f(known, `CrowdsecCTI("1.2.3.4").GetBehaviors()[0] + Join(CrowdsecCTI("1.2.3.4").GetAttackDetails(), ",")`, "http:scancrowdsecurity/x")
	f(known, `CrowdsecCTI("1.2.3.4").GetBackgroundNoiseScore() > 5 && "proxy" in CrowdsecCTI("1.2.3.4").GetClassifications()`, true)
	f(known, `CrowdsecCTI("1.2.3.1").GetFalsePositives()`, "[seo]")
	f(known, `CrowdsecCTI("1.2.3.4").Ip`, "1.2.3.4")
	f(known, `CrowdsecCTI("::1").Ip`, "error")
	f(known, `CrowdsecCTI("nobody").Ip`, "error")
	f(nil, `CrowdsecCTI("1.2.3.4").Ip`, "error")
	f(known, `HTTPGet("http://a").StatusCode == 418 && HTTPGet("http://a").Headers.Get("x-a") == "b" && HTTPGet("http://a").Headers["X-A"][0] == "b"`, true)
	f(known, `HTTPGet("http://a").Body + HTTPHead("http://b").Body`, "GET http://a map[] HEAD http://b map[] ")
	f(known, `HTTPPost("http://a", "text/plain", "x").Body`, "POST http://a map[Content-Type:text/plain] x")
	f(known, `HTTPRequest("PUT", "http://a", {"A": "b"}, "x").Body`, "PUT http://a map[A:b] x")
	f(known, `HTTPRequest("PUT", "http://a", nil, "x").Body`, "PUT http://a map[] x")
	f(known, `HTTPRequest("PUT", "http://a", {"A": 1}, "x").Body`, "error")
	f(known, `HTTPGet("").Body`, "error")
	f(nil, `HTTPGet("http://a").Body`, "error")
	f(nil, `GeoIPEnrich("1.2.3.4") == nil && GeoIPASNEnrich("1.2.3.4") == nil && GeoIPRangeEnrich("1.2.3.4") == nil`, true)
	f(nil, `IPToCountry("1.2.3.4") == "" && len(LookupHost("a")) == 0`, true)

	_, err := (&Compiler{Lookups: known}).Compile(`GeoIPEnrich("1.2.3.4").Country.ISOCode`)
	if err == nil || !strings.Contains(err.Error(), "did you mean IsoCode?") {
		t.Error(err)
	}
}

// TestPairsAndOrders compares with expr-lang's machine. Maps have one element
// where it gives their elements in the order of Go's maps: any.
func TestPairsAndOrders(t *testing.T) {
	for _, src := range []string{
		`sortBy(["ccc", "a", "bb"], len(#))`,
		`sortBy(["ccc", "a", "bb"], len(#), "desc")`,
		`sortBy(["b", "a"], #)[0] + "x"`,
		`sortBy([3, 1.5, 2], -#)`,
		`sortBy([{"k": 2, "v": "b"}, {"k": 1, "v": "a"}, {"k": 2, "v": "c"}], .k) | map(.v)`,
		`sortBy([{"k": 1}, {"k": "x"}], .k)`,
		`sortBy([{"k": nil}], .k)`,
		`sortBy([1, 2], #, "up")`,
		`sortBy([], #)`,
		`sortBy(evt.Unmarshaled.list, #)`,
		`sortBy(evt.Parsed.a, #)`,
		`sortBy(evt.Unmarshaled.a, #)`,
		`groupBy(["ccc", "a", "b"], len(#))[1]`,
		`groupBy(["ccc", "a", "b"], len(#))[7]`,
		`groupBy(["ccc", "a", "b"], # == "a")`,
		`groupBy([1, 2, 3, 4], # % 2)[0] | sum()`,
		`groupBy(["x", "xy"], #[0:1]).x`,
		`groupBy([1], [#])`,
		`len(groupBy(1..9, # % 3))`,
		`keys(groupBy([1, 1], #))`,
		`groupBy(evt.Unmarshaled.a, #)`,
		`toPairs({"a": 1})`,
		`toPairs({"a": 1})[0][1]`,
		`toPairs({"b": 1, "a": 2}) | sortBy(#[0]) | map(#[1])`,
		`toPairs(groupBy([1], #))`,
		`toPairs(3 > 2 ? evt.Unmarshaled.a : nil)`,
		`fromPairs([["a", 1], ["b", 2]])`,
		`fromPairs([["a", 1], [2, "x"]])[2]`,
		`fromPairs([["a", 1]]).a`,
		`fromPairs([["a", 1]]).b`,
		`fromPairs(toPairs({"a": 1, "b": 2}))["b"]`,
		`fromPairs([["a"]])`,
		`fromPairs(["ab"])`,
		`fromPairs([])`,
		`fromPairs(evt.Unmarshaled.a)`,
		`fromPairs([[[1], 2]])`,
		`keys(fromPairs([[1, 2]]))`,
		`values(fromPairs([[nil, 2]]))`,
		`timezone("Europe/Paris").String()`,
		`timezone("Nowhere/Land")`,
		`date("2024-07-01 12:00:00").In(timezone("Europe/Paris")).Hour()`,
		`date("2024-07-01 12:00:00").In(timezone("UTC")).String()`,
	} {
		c := testCompiler()
		p, err := c.Compile(src)
		o, oerr := oracleCompile(src, nil)
		if (err != nil) != (oerr != nil) {
			t.Errorf("%s: compile: %v, want %v", src, err, oerr)
		}
		if err != nil || oerr != nil {
			continue
		}
		ev := &oracleEvent{Parsed: map[string]string{}, Meta: map[string]string{}, Enriched: map[string]string{},
			Unmarshaled: map[string]any{"list": []any{"b", "a"}}}
		same(t, c, p, o, ev, src)
	}
}

func TestParseIPSources(t *testing.T) {
	f := func(src string, alert bool, want any) {
		t.Helper()
		c := testCompiler()
		p, err := c.Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		x := testCtx(t, c)
		x.Stage = "s01-parse"
		if slot, ok := c.Schema.Lookup(event.Meta, "source_ip"); ok {
			x.Event.Set(slot, "10.1.2.3")
		}
		if alert {
			x.Alert = &decisions.Alert{}
			x.Sources = []string{"192.0.2.1", "a user", "::ffff:127.0.0.1"}
		}
		got, err := p.Any(x)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", src, got, want)
		}
	}
	f(`evt.ParseIPSources()`, false, "[10.1.2.3]")
	f(`evt.ParseIPSources()[0].String() + evt.Stage`, false, "10.1.2.3s01-parse")
	f(`any(evt.ParseIPSources(), #.IsPrivate())`, false, true)
	f(`any(evt.ParseIPSources(), IpInRange(#.String(), "10.0.0.0/8"))`, false, true)
	f(`map(evt.ParseIPSources(), #.String())`, true, "[192.0.2.1 127.0.0.1]")
	f(`any(evt.ParseIPSources(), .IsLoopback())`, true, true)
}

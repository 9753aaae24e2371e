package expr

import (
	"strings"
	"testing"

	"cs/pipeline/event"
	"cs/pipeline/expr/syntax"
)

// signatures are all helpers of the specification (engine §4.2): what they take,
// what they give. A last parameter with dots may repeat or be missing.
const signatures = `
Upper(string) string
Lower(string) string
Fields(string) list of string
Index(string, string) int
IndexAny(string, string) int
Join(list of string, string) string
Split(string, string) list of string
SplitAfter(string, string) list of string
SplitAfterN(string, string, int) list of string
SplitN(string, string, int) list of string
Replace(string, string, string, int) string
ReplaceAll(string, string, string) string
Trim(string, string) string
TrimLeft(string, string) string
TrimRight(string, string) string
TrimPrefix(string, string) string
TrimSuffix(string, string) string
TrimSpace(string) string
Sprintf(string, ...any) string
ToString(any) string
Get(list of string, int) string
LogInfo(string, ...any) bool
Match(string, string) bool
Atof(string) float
FloatApproxEqual(float, float) bool
TimeNow() string
ParseUnix(string) string
AverageInterval(list) duration
MedianInterval(list) duration
Distance(string, string, string, string) float
IsIP(string) bool
IsIPV4(string) bool
IsIPV6(string) bool
IpInRange(string, string) bool
IpToRange(string, string) string
LookupHost(string) list of string
GeoIPEnrich(string) *expr.City
GeoIPASNEnrich(string) *expr.ASN
GeoIPRangeEnrich(string) *netip.Prefix
IPToCountry(string) string
PathEscape(string) string
QueryEscape(string) string
PathUnescape(string) string
QueryUnescape(string) string
ParseUri(string) map
ParseQuery(string) map
ExtractQueryParam(string, string) list of string
JsonExtract(string, string) string
JsonExtractUnescape(string, ...string) string
JsonExtractLib(string, ...string) string
JsonExtractSlice(string, string) list
JsonExtractObject(string, string) map
ToJsonString(any) string
UnmarshalJSON(string, fields, string) nil
ParseKV(string, fields, string) nil
ParseKVLax(string, fields, string) nil
XMLGetAttributeValue(string, string, string) string
XMLGetNodeValue(string, string) string
File(string) list of string
RegexpInFile(string, file) bool
FileMap(file) list of map
LookupFile(string, file) string
Flatten(...any) list
Distinct(any) list
FlattenDistinct(...any) list
KeyExists(string, any) bool
B64Decode(string) string
Hostname() string
LibInjectionIsSQLI(string) bool
LibInjectionIsXSS(string) bool
JA4H(request) string
GetFromStash(string, string) string
SetInStash(string, string, string, duration) nil
CrowdsecCTI(string) *expr.CTI
GetDecisionsCount(string) int
GetDecisionsSinceCount(string, string) int
GetActiveDecisionsCount(string) int
GetActiveDecisionsTimeLeft(string) duration
MatchKnownBot(string, string, string, ...file) bool
HTTPGet(string) *expr.Response
HTTPHead(string) *expr.Response
HTTPPost(string, string, string) *expr.Response
HTTPRequest(string, string, map, string) *expr.Response
`

// TestSignatures calls every helper with arguments of the right types, and then
// each with one of a wrong type, one too few, and one too many.
func TestSignatures(t *testing.T) {
	right := map[string]string{
		"string": "evt.Line.Raw", "int": "evt.ExpectMode", "float": "1.5", "list of string": "Fields(evt.Line.Raw)", "list": "[evt.Time]",
		"any": "evt.Unmarshaled.x", "fields": "evt.Unmarshaled", "file": "'a.txt'", "request": "req", "duration": "duration('1h')", "map": "{'a': 'b'}",
	}
	wrong := map[string]string{
		"string": "1", "int": "'1'", "float": "'x'", "list of string": "'x'", "list": "'x'",
		"fields": "'x'", "file": "1", "request": "1", "duration": "1", "map": "1",
	}
	check := func(src string) (typ, error) {
		c := &Compiler{Schema: event.NewSchema(), Env: NewEnv().Var("req", RequestMembers()...)}
		tree, err := syntax.Parse(src)
		if err != nil {
			t.Fatal(err)
		}
		v, err := (&unit{Compiler: c, src: src}).node(tree)
		return v.typ, err
	}
	names := map[string]bool{}
	for line := range strings.Lines(strings.TrimSpace(signatures)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), "(")
		list, gives, _ := strings.Cut(rest, ") ")
		names[name] = true
		var params, args []string
		repeats := strings.Contains(list, "...")
		if list != "" {
			params = strings.Split(strings.ReplaceAll(list, "...", ""), ", ")
		}
		for _, p := range params {
			args = append(args, right[p])
		}
		call := func(args ...string) string { return name + "(" + strings.Join(args, ", ") + ")" }
		got, err := check(call(args...))
		if err != nil || got.String() != gives {
			t.Errorf("%s gives %s, want %s (%v)", call(args...), got, gives, err)
		}
		for i, p := range params {
			if wrong[p] == "" {
				continue
			}
			bad := append([]string{}, args...)
			bad[i] = wrong[p]
			if _, err := check(call(bad...)); err == nil {
				t.Errorf("%s is taken", call(bad...))
			}
		}
		if repeats {
			if _, err := check(call(append(args, args[len(args)-1])...)); err != nil {
				t.Error(err)
			}
			continue
		}
		if _, err := check(call(append(args, "1")...)); err == nil {
			t.Errorf("%s takes one more argument", name)
		}
		if len(args) > 0 {
			if _, err := check(call(args[1:]...)); err == nil {
				t.Errorf("%s takes one argument less", name)
			}
		}
	}
	if len(names) != 83 {
		t.Errorf("the specification has 83 helpers, these are %d", len(names))
	}
	for name := range functions() {
		if !names[name] {
			t.Errorf("%s is no helper of the specification", name)
		}
	}
}

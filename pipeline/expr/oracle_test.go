package expr

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	oracle "github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"
)

// The oracle is expr-lang's own compiler and virtual machine over an event of
// maps, with the helper functions written a second time as plainly as can be.

type oLine struct {
	Raw, Src, Module string
	Labels           map[string]string
	Time             time.Time
	Process          bool
}

type oSource struct{ IP, Range, Scope, Value, Cn, AsName, AsNumber string }

type oKV struct{ Key, Value string }

type oEvent struct {
	Timestamp string
	Meta      []oKV
}

func (e *oEvent) GetMeta(k string) string {
	for _, kv := range e.Meta {
		if kv.Key == k {
			return kv.Value
		}
	}
	return ""
}

type oAlert struct {
	Remediation bool
	Source      *oSource
	Events      []*oEvent
	Scenario    string
}

func (a *oAlert) GetScope() string    { return a.Source.Scope }
func (a *oAlert) GetValue() string    { return a.Source.Value }
func (a *oAlert) GetScenario() string { return a.Scenario }

type oAppsec struct {
	HasInBandMatches, HasOutBandMatches bool
}

func (oAppsec) GetName() string   { return "" }
func (oAppsec) GetRuleIDs() []int { return []int{} }

type oOverflow struct{ Alert *oAlert }

type oracleEvent struct {
	Type, ExpectMode                      int
	Whitelisted, Process                  bool
	WhitelistReason                       string
	Line                                  oLine
	Parsed, Meta, Enriched                map[string]string
	Unmarshaled                           map[string]any
	Overflow                              oOverflow
	Appsec                                oAppsec
	Time                                  time.Time
	StrTime, StrTimeFormat, MarshaledTime string
}

func (e *oracleEvent) SetMeta(k, v string) bool   { e.Meta[k] = v; return true }
func (e *oracleEvent) SetParsed(k, v string) bool { e.Parsed[k] = v; return true }
func (e *oracleEvent) GetType() string {
	if e.Overflow.Alert != nil {
		return "overflow"
	}
	return "log"
}
func (e *oracleEvent) GetMeta(k string) string {
	if e.Overflow.Alert == nil {
		return e.Meta[k]
	}
	for _, ev := range e.Overflow.Alert.Events {
		if v := ev.GetMeta(k); v != "" {
			return v
		}
	}
	return ""
}

// oracleCompile compiles with upstream's options: the environment and the
// helpers, typed.
func oracleCompile(src string, files testFiles) (*vm.Program, error) {
	opts := []oracle.Option{oracle.Env(map[string]any{"evt": &oracleEvent{}})}
	return oracle.Compile(src, append(opts, oracleHelpers(files)...)...)
}

func helper[F any](name string, f func(p ...any) (any, error)) oracle.Option {
	return oracle.Function(name, f, new(F))
}

func oracleHelpers(files testFiles) []oracle.Option {
	type (
		ss  = func(string) string
		ss2 = func(string, string) string
		sb  = func(string) bool
		sb2 = func(string, string) bool
		kv  = func(string, map[string]any, string) error
	)
	str := func(f func(string) string) func(p ...any) (any, error) {
		return func(p ...any) (any, error) { return f(p[0].(string)), nil }
	}
	str2 := func(f func(string, string) string) func(p ...any) (any, error) {
		return func(p ...any) (any, error) { return f(p[0].(string), p[1].(string)), nil }
	}
	orSame := func(f func(string) (string, error)) func(string) string {
		return func(s string) string {
			if r, err := f(s); err == nil {
				return r
			}
			return s
		}
	}
	ip := func(test func(net.IP) bool) func(p ...any) (any, error) {
		return func(p ...any) (any, error) {
			a := net.ParseIP(p[0].(string))
			return a != nil && test(a), nil
		}
	}
	return []oracle.Option{
		helper[ss]("Upper", str(strings.ToUpper)),
		helper[ss]("Lower", str(strings.ToLower)),
		helper[ss]("TrimSpace", str(strings.TrimSpace)),
		helper[ss2]("TrimPrefix", str2(strings.TrimPrefix)),
		helper[ss2]("TrimSuffix", str2(strings.TrimSuffix)),
		helper[ss2]("Trim", str2(strings.Trim)),
		helper[ss2]("TrimLeft", str2(strings.TrimLeft)),
		helper[ss2]("TrimRight", str2(strings.TrimRight)),
		helper[func(string) []string]("Fields", func(p ...any) (any, error) { return strings.Fields(p[0].(string)), nil }),
		helper[func(string, string) int]("Index", func(p ...any) (any, error) { return strings.Index(p[0].(string), p[1].(string)), nil }),
		helper[func(string, string) int]("IndexAny", func(p ...any) (any, error) { return strings.IndexAny(p[0].(string), p[1].(string)), nil }),
		helper[func([]string, string) string]("Join", func(p ...any) (any, error) { return strings.Join(slowTexts(p[0]), p[1].(string)), nil }),
		helper[func(string, string) []string]("Split", func(p ...any) (any, error) { return strings.Split(p[0].(string), p[1].(string)), nil }),
		helper[func(string, string) []string]("SplitAfter", func(p ...any) (any, error) { return strings.SplitAfter(p[0].(string), p[1].(string)), nil }),
		helper[func(string, string, int) []string]("SplitN", func(p ...any) (any, error) { return strings.SplitN(p[0].(string), p[1].(string), p[2].(int)), nil }),
		helper[func(string, string, int) []string]("SplitAfterN", func(p ...any) (any, error) {
			return strings.SplitAfterN(p[0].(string), p[1].(string), p[2].(int)), nil
		}),
		helper[func(string, string, string, int) string]("Replace", func(p ...any) (any, error) {
			return strings.Replace(p[0].(string), p[1].(string), p[2].(string), p[3].(int)), nil
		}),
		helper[func(string, string, string) string]("ReplaceAll", func(p ...any) (any, error) {
			return strings.ReplaceAll(p[0].(string), p[1].(string), p[2].(string)), nil
		}),
		helper[func(string, ...any) string]("Sprintf", func(p ...any) (any, error) { return fmt.Sprintf(p[0].(string), p[1:]...), nil }),
		helper[func(any) string]("ToString", func(p ...any) (any, error) { s, _ := p[0].(string); return s, nil }),
		helper[func([]string, int) string]("Get", func(p ...any) (any, error) {
			l, i := slowTexts(p[0]), p[1].(int)
			if i >= len(l) {
				return "", nil
			}
			return l[i], nil
		}),
		helper[sb2]("Match", func(p ...any) (any, error) { return slowGlob(p[0].(string), p[1].(string)), nil }),
		helper[func(string) float64]("Atof", func(p ...any) (any, error) {
			f, err := strconv.ParseFloat(p[0].(string), 64)
			if err != nil {
				f = 0
			}
			return f, nil
		}),
		helper[func(float64, float64) bool]("FloatApproxEqual", func(p ...any) (any, error) { return math.Abs(p[0].(float64)-p[1].(float64)) < 1e-6, nil }),
		helper[ss]("ParseUnix", str(func(s string) string {
			n, err := strconv.Atoi(strings.Split(s, ".")[0])
			if err != nil || n <= 0 {
				return ""
			}
			return time.Unix(int64(n), 0).Format(time.RFC3339)
		})),
		helper[sb]("IsIP", ip(func(net.IP) bool { return true })),
		helper[sb]("IsIPV4", ip(func(a net.IP) bool { return a.To4() != nil })),
		helper[sb]("IsIPV6", ip(func(a net.IP) bool { return a.To4() == nil })),
		helper[sb2]("IpInRange", func(p ...any) (any, error) {
			_, n, err := net.ParseCIDR(p[1].(string))
			a := net.ParseIP(p[0].(string))
			return err == nil && a != nil && n.Contains(a), nil
		}),
		helper[ss2]("IpToRange", str2(func(s, mask string) string {
			if a := net.ParseIP(s); a.To4() != nil {
				s = a.To4().String() // a mapped address is the one it maps
			}
			_, n, err := net.ParseCIDR(s + "/" + strings.TrimPrefix(mask, "/"))
			if err != nil {
				return ""
			}
			return n.String()
		})),
		helper[ss]("PathEscape", str(url.PathEscape)),
		helper[ss]("QueryEscape", str(url.QueryEscape)),
		helper[ss]("PathUnescape", str(orSame(url.PathUnescape))),
		helper[ss]("QueryUnescape", str(orSame(url.QueryUnescape))),
		helper[ss2]("JsonExtract", str2(func(s, path string) string {
			raw := slowJSON(s, path)
			if len(raw) > 0 && raw[0] == '"' {
				return string(raw[1 : len(raw)-1])
			}
			return string(raw)
		})),
		helper[func(string, ...string) string]("JsonExtractUnescape", func(p ...any) (any, error) {
			var m map[string]any
			if json.Unmarshal([]byte(p[0].(string)), &m) != nil {
				return "", nil
			}
			s, _ := m[p[1].(string)].(string)
			return s, nil
		}),
		helper[func(any) string]("ToJsonString", func(p ...any) (any, error) {
			b, err := json.Marshal(p[0])
			if err != nil {
				b = nil
			}
			return string(b), nil
		}),
		helper[kv]("UnmarshalJSON", func(p ...any) (any, error) {
			var v any
			if err := json.Unmarshal([]byte(p[0].(string)), &v); err != nil {
				return nil, err
			}
			p[1].(map[string]any)[p[2].(string)] = v
			return nil, nil
		}),
		helper[kv]("ParseKV", slowKV(regexp.MustCompile(`([^=\s]+)=(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^=\s]+)|)`))),
		helper[kv]("ParseKVLax", slowKVLax),
		helper[func(string) []string]("File", func(p ...any) (any, error) {
			if l, ok := files[p[0].(string)]; ok {
				return l, nil
			}
			return []string{}, nil
		}),
		helper[sb2]("RegexpInFile", func(p ...any) (any, error) {
			for _, re := range files[p[1].(string)] {
				if regexp.MustCompile(re).MatchString(p[0].(string)) {
					return true, nil
				}
			}
			return false, nil
		}),
		helper[func(string) (string, error)]("B64Decode", func(p ...any) (any, error) {
			b, err := base64.StdEncoding.DecodeString(p[0].(string))
			return string(b), err
		}),
		helper[ss2]("GetFromStash", str2(func(cache, key string) string { return cache + "/" + key })),
		helper[ss2]("XMLGetNodeValue", str2(func(s, path string) string {
			n := slowXML(s, path)
			if n == nil {
				return ""
			}
			return n.Text
		})),
		helper[func(string, string, string) string]("XMLGetAttributeValue", func(p ...any) (any, error) {
			if n := slowXML(p[0].(string), p[1].(string)); n != nil {
				for _, a := range n.Attrs {
					if a.Name.Local == p[2] {
						return a.Value, nil
					}
				}
			}
			return "", nil
		}),
		helper[ss2]("LookupFile", str2(func(string, string) string { return "" })),
	}
}

// slowNode is an element of a document that encoding/xml decodes.
type slowNode struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Text    string     `xml:",chardata"`
	Nodes   []slowNode `xml:",any"`
}

var slowSegment = regexp.MustCompile(`^(\w+)(?:\[(\d+)\]|\[@(\w+)='([^']*)'\])?$`)

// slowXML follows a path of the forms that the hub uses through all elements.
func slowXML(s, path string) *slowNode {
	at := []slowNode{{}}
	dec := xml.NewDecoder(strings.NewReader(s))
	for {
		var root slowNode
		err := dec.Decode(&root)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil
		}
		at[0].Nodes = append(at[0].Nodes, root)
	}
	for _, segment := range strings.Split(strings.TrimPrefix(path, "/"), "/") {
		want := slowSegment.FindStringSubmatch(segment)
		var next []slowNode
		for _, n := range at {
			count := 0
			for _, c := range n.Nodes {
				if c.XMLName.Local != want[1] {
					continue
				}
				count++
				if want[2] != "" && want[2] != strconv.Itoa(count) {
					continue
				}
				if want[3] == "" || slices.ContainsFunc(c.Attrs, func(a xml.Attr) bool { return a.Name.Local == want[3] && a.Value == want[4] }) {
					next = append(next, c)
				}
			}
		}
		at = next
	}
	if len(at) == 0 {
		return nil
	}
	return &at[0]
}

// slowTexts takes any list of strings, as we do; upstream refuses a []any.
func slowTexts(a any) []string {
	if l, ok := a.([]any); ok {
		texts := []string{}
		for _, e := range l {
			texts = append(texts, e.(string))
		}
		return texts
	}
	return a.([]string)
}

// slowGlob is the definition of Match, by recursion.
func slowGlob(p, s string) bool {
	if s == "" {
		return p == "" || p == "*"
	}
	return globFrom(p, s)
}

func globFrom(p, s string) bool {
	switch {
	case p == "":
		return s == ""
	case p[0] == '*':
		return globFrom(p[1:], s) || s != "" && globFrom(p, s[1:])
	case s == "":
		return false
	}
	return (p[0] == '?' || p[0] == s[0]) && globFrom(p[1:], s[1:])
}

// slowJSON follows a path through the tokens of a decoder.
func slowJSON(s, path string) json.RawMessage {
	if !strings.HasPrefix(path, "[") {
		path = strings.ReplaceAll(path, "[", ".[")
	}
	dec := json.NewDecoder(strings.NewReader(s))
	var raw json.RawMessage
next:
	for _, key := range strings.Split(path, ".") {
		open, err := dec.Token()
		if err != nil {
			return nil
		}
		switch open {
		case json.Delim('{'):
			for dec.More() {
				name, err := dec.Token()
				if err != nil {
					return nil
				}
				if name == key {
					continue next
				}
				if dec.Decode(&raw) != nil {
					return nil
				}
			}
		case json.Delim('['):
			n, err := strconv.Atoi(strings.Trim(key, "[]"))
			if err != nil || n < 0 || !strings.HasPrefix(key, "[") {
				return nil
			}
			for ; dec.More(); n-- {
				if n == 0 {
					continue next
				}
				if dec.Decode(&raw) != nil {
					return nil
				}
			}
		}
		return nil
	}
	if dec.Decode(&raw) != nil {
		return nil
	}
	return bytes.TrimSpace(raw)
}

func slowKV(re *regexp.Regexp) func(p ...any) (any, error) {
	return func(p ...any) (any, error) {
		found := re.FindAllStringSubmatch(p[0].(string), -1)
		if len(found) == 0 {
			return nil, errors.New("no pair")
		}
		return nil, slowPut(p, func(m map[string]string) {
			for _, f := range found {
				m[f[1]] = f[2] + f[3]
			}
		})
	}
}

func slowPut(p []any, fill func(map[string]string)) error {
	docs, key := p[1].(map[string]any), p[2].(string)
	m, ok := docs[key].(map[string]string)
	if !ok && docs[key] != nil {
		return errors.New("something else is there")
	}
	if m == nil {
		m = map[string]string{}
	}
	fill(m)
	docs[key] = m
	return nil
}

func slowKVLax(p ...any) (any, error) {
	s := p[0].(string)
	var keys [][]int
	for _, k := range regexp.MustCompile(`[a-zA-Z_][a-zA-Z0-9_.-]*=`).FindAllStringIndex(s, -1) {
		quotes := 0
		for i := 0; i <= k[0]; i++ {
			if s[i] == '\\' {
				i++
			} else if s[i] == '"' {
				quotes++
			}
		}
		if quotes%2 == 0 {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no pair")
	}
	return nil, slowPut(p, func(m map[string]string) {
		for i, k := range keys {
			end := len(s)
			if i+1 < len(keys) {
				end = keys[i+1][0]
			}
			v := strings.TrimSpace(s[k[1]:end])
			if len(v) > 1 && v[0] == '"' && v[len(v)-1] == '"' {
				v = strings.ReplaceAll(strings.ReplaceAll(v[1:len(v)-1], `\\`, `\`), `\"`, `"`)
			} else if v != "" && v[0] == '"' {
				v = v[1:]
			}
			m[s[k[0]:k[1]-1]] = v
		}
	})
}

//go:build !edge

package explain

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"cs/decisions"
	"cs/pipeline/expr"
)

// Failure is an assertion that does not hold.
type Failure struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Assert string `json:"assert"`
	// Actual names the part of the assertion that was looked at, Expected is
	// what it should be, as the assertion has it, and Value is what it is.
	Actual   string `json:"actual"`
	Expected string `json:"expected"`
	Value    string `json:"value"`
}

// String has the file's place, the assertion and below it what was expected
// beside what came out.
func (f Failure) String() string {
	return fmt.Sprintf("%s:%d: %s\n\texpected %s\n\tactual   %s", f.File, f.Line, f.Assert, f.Expected, f.Value)
}

// maxAssert is what one assertion may have, in bytes. Upstream reads no
// further in a file with a longer one.
const maxAssert = 64 << 10

// asserts evaluates the assertions of one file over results.
type asserts struct {
	file     string // as failures name it
	compiler expr.Compiler
	ctx      expr.Ctx
	// scenarios: a false line without " == " doesn't count, as upstream can't
	// explain it (spec §6.3).
	scenarios bool
}

// parserAsserts returns the evaluation over Record.Parsers.
func parserAsserts(file string, rec *Record) *asserts {
	return newAsserts(file, rec.Parsers, false)
}

// scenarioAsserts returns the evaluation over Record.Overflows, in the order in
// which assertions know them.
func scenarioAsserts(file string, rec *Record) *asserts {
	results := append([]Result(nil), rec.Overflows...)
	// Not a stable sort: assertions were made from what sort.Sort leaves of the
	// order of overflows with the same key.
	sort.Sort(sort.Reverse(byScenario(results)))
	return newAsserts(file, results, true)
}

func newAsserts(file string, results any, scenarios bool) *asserts {
	env := expr.NewEnv().Type(expr.AlertMembers()...).Type(members...).
		VarOf("results", reflect.TypeOf(results)).
		Func("basename", filepath.Base)
	return &asserts{
		file: file, compiler: expr.Compiler{Env: env}, ctx: expr.Ctx{Vars: []any{results}}, scenarios: scenarios,
	}
}

// members are the fields of the results under the names that assertions use.
var members = []expr.Member{
	expr.Field("Success", func(e Entry) bool { return e.Success }),
	expr.Field("Idx", func(e Entry) int { return e.Index }),
	expr.Field("Evt", func(e Entry) *Event { return e.Event }),
	expr.Field("Overflow", func(r Result) *Overflow { return r.Overflow }),

	expr.Field("Parsed", func(e *Event) map[string]string { return e.Parsed }),
	expr.Field("Meta", func(e *Event) map[string]string { return e.Meta }),
	expr.Field("Enriched", func(e *Event) map[string]string { return e.Enriched }),
	expr.Field("Unmarshaled", func(e *Event) map[string]any { return e.Unmarshaled }),
	expr.Field("Whitelisted", func(e *Event) bool { return e.Whitelisted }),
	expr.Field("WhitelistReason", func(e *Event) string { return e.WhitelistReason }),
	expr.Field("Stage", func(e *Event) string { return e.Stage }),
	expr.Field("StrTime", func(e *Event) string { return e.StrTime }),
	expr.Field("StrTimeFormat", func(e *Event) string { return e.StrTimeFormat }),
	expr.Field("MarshaledTime", func(e *Event) string { return e.MarshaledTime }),
	expr.Field("Line", func(e *Event) Line { return e.Line }),
	expr.Field("Process", func(e *Event) bool { return e.Process }),
	expr.Moment("Time", func(e *Event) time.Time { return e.Time }),
	expr.Field("Overflow", (*Event).of),
	expr.Field("Type", func(e *Event) int { return e.Type }),
	expr.Field("ExpectMode", func(e *Event) int { return e.ExpectMode }),
	expr.Method1("GetMeta", (*Event).meta),
	expr.Method("GetType", func(e *Event) string { return [...]string{"log", "overflow"}[e.Type] }),

	// A result is an event, too.
	expr.Field("Parsed", func(r Result) map[string]string { return r.Event.Parsed }),
	expr.Field("Meta", func(r Result) map[string]string { return r.Event.Meta }),
	expr.Field("Enriched", func(r Result) map[string]string { return r.Event.Enriched }),
	expr.Field("Whitelisted", func(r Result) bool { return r.Event.Whitelisted }),
	expr.Field("WhitelistReason", func(r Result) string { return r.Event.WhitelistReason }),
	expr.Field("Stage", func(r Result) string { return r.Event.Stage }),
	expr.Field("StrTime", func(r Result) string { return r.Event.StrTime }),
	expr.Field("StrTimeFormat", func(r Result) string { return r.Event.StrTimeFormat }),
	expr.Field("MarshaledTime", func(r Result) string { return r.Event.MarshaledTime }),
	expr.Field("Line", func(r Result) Line { return r.Event.Line }),
	expr.Field("Process", func(r Result) bool { return r.Event.Process }),
	expr.Field("ExpectMode", func(r Result) int { return r.Event.ExpectMode }),
	expr.Moment("Time", func(r Result) time.Time { return r.Event.Time }),
	expr.Field("Unmarshaled", func(r Result) map[string]any { return r.Event.Unmarshaled }),
	expr.Field("Type", func(Result) int { return 1 }),
	expr.Method1("GetMeta", func(r Result, key string) string { return r.Overflow.meta(key) }),
	expr.Method("GetType", func(Result) string { return "overflow" }),

	expr.Field("Raw", func(l Line) string { return l.Raw }),
	expr.Field("Src", func(l Line) string { return l.Src }),
	expr.Field("Module", func(l Line) string { return l.Module }),
	expr.Field("Labels", func(l Line) map[string]string { return l.Labels }),
	expr.Field("Process", func(l Line) bool { return l.Process }),
	expr.Moment("Time", func(l Line) time.Time { return l.Time }),

	expr.Field("Mapkey", func(o *Overflow) string { return o.Mapkey }),
	expr.Field("Whitelisted", func(o *Overflow) bool { return o.Whitelisted }),
	expr.Field("Reprocess", func(o *Overflow) bool { return o.Reprocess }),
	expr.Field("Alert", (*Overflow).Alert),
	expr.Field("Sources", (*Overflow).Sources),
	expr.Method("GetSources", (*Overflow).SourceNames),
	expr.Field("APIAlerts", func(o *Overflow) []*decisions.Alert {
		l := make([]*decisions.Alert, len(o.Alerts))
		for i := range o.Alerts {
			l[i] = &o.Alerts[i]
		}
		return l
	}),
}

// of returns the overflow that the event is, an empty one for that of a log.
func (e *Event) of() *Overflow {
	if e.overflow == nil {
		return new(Overflow)
	}
	return e.overflow
}

// meta returns a value as upstream's events do.
func (e *Event) meta(key string) string {
	if e.overflow != nil {
		return e.overflow.meta(key)
	}
	return e.Meta[key]
}

// meta returns the first value that is not empty.
func (o *Overflow) meta(key string) string {
	for i := range o.Alerts {
		for _, e := range o.Alerts[i].Events {
			for _, kv := range e.Meta {
				if kv.Key == key && kv.Value != "" {
					return kv.Value
				}
			}
		}
	}
	return ""
}

// byScenario orders results by the scenario and its sources.
type byScenario []Result

func (l byScenario) Len() int      { return len(l) }
func (l byScenario) Swap(i, j int) { l[i], l[j] = l[j], l[i] }
func (l byScenario) Less(i, j int) bool {
	key := func(r Result) string {
		return r.Overflow.Alert().Scenario + strings.Join(r.Overflow.SourceNames(), "@")
	}
	return key(l[i]) < key(l[j])
}

// errNotTrueOrFalse is about an assertion that asserts nothing.
var errNotTrueOrFalse = errors.New("an assertion must be true or false")

// check evaluates the lines of a file, up to the first that can't be evaluated.
func (a *asserts) check(text []byte) (failures []Failure, checked int, err error) {
	n := 0
	for raw := range bytes.Lines(text) {
		n++
		line := strings.TrimRight(string(raw), "\r\n")
		if len(line) >= maxAssert {
			break
		}
		if line == "" {
			continue
		}
		checked++
		f, err := a.line(line)
		if err != nil {
			return failures, checked, fmt.Errorf("%s:%d: %w", a.file, n, err)
		}
		if f != nil {
			f.File, f.Line = a.file, n
			failures = append(failures, *f)
		}
	}
	return failures, checked, nil
}

// compared finds what a comparison is about, and with what it is compared.
var compared = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`([^ =]+) == (.*)`) })

// line evaluates one assertion: nil if it holds.
func (a *asserts) line(line string) (*Failure, error) {
	ok, err := a.holds(line)
	if ok || err != nil {
		return nil, err
	}
	actual, expected := line, "true"
	if m := compared().FindStringSubmatch(line); m != nil {
		actual, expected = m[1], m[2]
	} else if a.scenarios {
		return nil, nil
	}
	p, err := a.compiler.Compile(actual)
	if err != nil {
		return nil, nil // it can't be explained, so upstream takes no notice
	}
	value, err := p.Any(&a.ctx)
	if err != nil {
		return nil, nil
	}
	return &Failure{Assert: line, Actual: actual, Expected: expected, Value: spelt(value)}, nil
}

// spelt writes a value as an assertion would.
func spelt(value any) string {
	if text, ok := value.(string); ok {
		return strconv.Quote(text)
	}
	return fmt.Sprint(value)
}

func (a *asserts) holds(line string) (bool, error) {
	p, err := a.compiler.Compile(rewritten(line))
	if err != nil {
		return false, err
	}
	ok, err := p.Bool(&a.ctx)
	if errors.Is(err, expr.ErrNotBool) {
		return false, errNotTrueOrFalse
	}
	return ok, err
}

// rewritten makes an assertion about the path of the log one about its name:
// the path was that of the author's machine.
func rewritten(line string) string {
	if !strings.Contains(line, "datasource_path") || strings.Contains(line, "basename(") {
		return line
	}
	left, right, ok := strings.Cut(line, " == ")
	if !ok {
		return line
	}
	return "basename(" + left + ") == " + right
}

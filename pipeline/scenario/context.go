package scenario

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"cs/decisions"
	"cs/pipeline/event"
	"cs/pipeline/expr"
	"cs/pipeline/hub"
	"cs/platform/strict"
)

// DefaultContextLength is how long a value of an alert's context may be, in
// bytes, and the most that can be asked for.
const DefaultContextLength = 4000

// contextDoc is the YAML of an installed context. Only the first key matters.
type contextDoc struct {
	Context     map[string][]strict.Text `yaml:"context"`
	Name        string                   `yaml:"name"`
	Author      string                   `yaml:"author"`
	Description string                   `yaml:"description"`
	Version     string                   `yaml:"version"`
	References  []string                 `yaml:"references"`
	Format      strict.Text              `yaml:"format"`
}

// detail is an expression whose values, over all events of an overflow, an alert
// lists under a name.
type detail struct {
	name string
	text string
	prog *expr.Program

	// early: it looks at more of an event than buckets keep, so it is evaluated
	// when the event is poured, and the values are kept.
	early bool

	slot    event.Slot // what it is, if bare
	bare    bool       // it is just a field that buckets keep
	general bool       // it doesn't look at the event
	list    int        // in tellContext, one for each name
}

// keptFields are what expressions may use of an event that was kept.
var keptFields = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\bevt\.(Parsed|Meta|Enriched)\.([A-Za-z_]\w*)`) })

// contextEnv has what contexts see of a web request that a WAF stopped. Overflows
// come from logs: there it is empty.
func contextEnv() *expr.Env {
	return expr.NewEnv().
		VarOf("match", reflect.TypeFor[map[string]any]()).
		Var("req", expr.RequestMembers()...)
}

// contextVars are the values of contextEnv.
func contextVars() []any { return []any{map[string]any{}, &http.Request{URL: &url.URL{}}} }

// AddContext compiles what alerts tell beside their events: an installed context
// or the one of the console. A faulty expression is left out and named by an
// error.
func (c *Compiler) AddContext(item hub.Item) []error {
	docs, err := item.Documents()
	if err != nil {
		return []error{fmt.Errorf("cannot load context: %w", err)}
	}
	var errs []error
	for _, d := range docs {
		var doc contextDoc
		if item.Kind == hub.ConsoleContext {
			err = d.Decode(&doc.Context)
		} else {
			err = d.Decode(&doc)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot load context: %w", err))
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(doc.Context)) {
			for _, t := range doc.Context[name] {
				if err := c.detail(name, t); err != nil {
					errs = append(errs, fmt.Errorf("cannot load context: %w", err))
				}
			}
		}
	}
	return errs
}

func (c *Compiler) detail(name string, t strict.Text) error {
	d := detail{name: name, text: t.Value}
	if slices.ContainsFunc(c.details, func(o detail) bool { return o.name == d.name && o.text == d.text }) {
		return nil
	}
	c.context.Warn = c.expr.Warn
	var err error
	if d.prog, err = c.context.Compile(t.Value); err != nil {
		return t.Place.Errorf("%w", err)
	}
	fields := keptFields().FindAllStringSubmatch(t.Value, -1)
	for _, m := range fields {
		for _, space := range []event.Space{event.Parsed, event.Enriched} { // metas are kept anyway
			if m[1] != space.String() {
				continue
			}
			slot, err := c.expr.Schema.Intern(space, m[2])
			if err != nil {
				return t.Place.Errorf("%w", err)
			}
			if !slices.Contains(c.codec.details, slot) {
				c.codec.details = append(c.codec.details, slot)
			}
		}
	}
	d.early = strings.Contains(keptFields().ReplaceAllString(t.Value, ""), "evt")
	d.general = !strings.Contains(t.Value, "evt") && !strings.Contains(t.Value, "$env")
	if len(fields) == 1 && fields[0][0] == strings.TrimSpace(t.Value) {
		for _, space := range []event.Space{event.Parsed, event.Meta, event.Enriched} {
			if fields[0][1] == space.String() {
				d.slot, d.bare = c.expr.Schema.Lookup(space, fields[0][2])
			}
		}
	}
	c.details = append(c.details, d)
	return nil
}

// appendDetails appends the values of the early details of the event. Unlike the
// late ones they cost something for each event that is poured.
func (r *Runner) appendDetails(b []byte) []byte {
	for _, i := range r.set.early {
		r.context.Event, r.context.Alert = r.Expr.Event, r.Expr.Alert
		b = r.appendDetail(b, i)
	}
	return b
}

func (r *Runner) appendDetail(b []byte, i int) []byte {
	r.evalDetail(&r.set.details[i], func(v string) { b = appendText(b, firstContext+uint64(i), v) })
	return b
}

// evalDetail evaluates a detail of the event in r.context.
func (r *Runner) evalDetail(d *detail, add func(string)) {
	r.context.Stash, r.context.Now = r.Expr.Stash, r.Expr.Now
	a, err := d.prog.Any(&r.context)
	if err != nil {
		if r.Failed != nil {
			r.Failed("context "+d.name, err)
		}
		return
	}
	values(a, add)
}

// tellContext gives alerts their context: for each name the values, without
// repetitions, over all events that the bucket in r.overflow kept, whose text it is.
func (r *Runner) tellContext(o *Overflow, text string) {
	details, names := r.set.details, r.set.contexts
	if len(details) == 0 || len(o.Alerts) == 0 {
		return
	}
	if r.kept == nil {
		r.kept = event.New(r.set.codec.schema)
		r.lists = make([][]string, len(names))
	}
	add := func(d *detail, v string) {
		if v = clean(v); v != "" && !slices.Contains(r.lists[d.list], v) {
			r.lists[d.list] = append(r.lists[d.list], v)
		}
	}
	for i := range r.overflow.Len() {
		n := len(r.overflow.Record(i))
		r.kept.Reset(event.Line{})
		r.set.codec.each(text[:n], func(number uint64, text string) {
			switch {
			case number >= firstPart:
			case number >= firstContext:
				add(&details[number-firstContext], text)
			case number >= uint64(firstSlot):
				r.kept.Set(event.Slot(number-uint64(firstSlot)), text)
			}
		})
		text = text[n:]
		r.context.Event, r.context.Alert = r.kept, nil
		for j := range details {
			switch d := &details[j]; {
			case d.early, d.general && i > 0: // known
			case d.bare:
				if v := r.kept.Get(d.slot); v != "" {
					add(d, v)
				}
			default:
				r.evalDetail(d, func(v string) { add(d, strings.Clone(v)) }) // it may lie where the next event will
			}
		}
	}
	r.kept.Release()
	r.context.Event = nil
	var meta []decisions.KeyValue
	for i, list := range r.lists {
		if len(list) == 0 {
			continue
		}
		if v := contextValue(list, r.set.contextLength); v != "" {
			meta = append(meta, decisions.KeyValue{Key: names[i], Value: v})
		}
		clear(list)
		r.lists[i] = list[:0]
	}
	for i := range o.Alerts {
		o.Alerts[i].Meta = meta
	}
}

// values tells the texts in the result of an expression.
func values(a any, add func(string)) {
	switch v := a.(type) {
	case nil:
	case string:
		if v != "" {
			add(v)
		}
	case []string:
		for _, s := range v {
			if s != "" {
				add(s)
			}
		}
	case int:
		add(strconv.Itoa(v))
	case int64:
		add(strconv.FormatInt(v, 10))
	case []int:
		for _, i := range v {
			add(strconv.Itoa(i))
		}
	default:
		if !reflect.ValueOf(a).IsZero() {
			add(fmt.Sprint(a))
		}
	}
}

// contextValue returns a list as JSON of limit bytes at most: the last values
// that don't fit are left out, and the first is cut to a half, a quarter … if it
// alone does not. "" if not even that helps.
func contextValue(list []string, limit int) string {
	b := []byte{'['}
	for i, s := range list {
		text := jsonText(s)
		if i > 0 {
			text = "," + text
		}
		if len(b)+len(text)+1 > limit {
			break
		}
		b = append(b, text...)
	}
	if len(b) > 1 {
		return string(append(b, ']'))
	}
	s := list[0]
	for n := len(s) / 2; n > 0; n /= 2 {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		if text := jsonText(s[:n] + "..."); n > 0 && len(text)+2 <= limit {
			return "[" + text + "]"
		}
	}
	return ""
}

func jsonText(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`"\<>&`, r) }) {
		return `"` + s + `"`
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic("BUG: a text is no JSON: " + err.Error())
	}
	return string(b)
}

package expr

import (
	"encoding/xml"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	oracle "github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
	"go.yaml.in/yaml/v3"

	"cs/decisions"
	"cs/pipeline/event"
	"cs/platform/sharedtest"
)

// hubExpr is an expression of the public hub.
type hubExpr struct{ file, key, src string }

// hubExprs collects the expressions of all parsers, scenarios and
// post-overflows.
func hubExprs(t testing.TB) []hubExpr {
	root := filepath.Join(sharedtest.Dir(t), "hub")
	var out []hubExpr
	seen := map[string]bool{}
	add := func(file, key, src string) {
		if !seen[src] {
			seen[src] = true
			out = append(out, hubExpr{file, key, src})
		}
	}
	var collect func(file string, v any)
	collect = func(file string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				s, isText := e.(string)
				switch {
				case isText && (k == "filter" || k == "groupby" || k == "distinct" || k == "expression" || k == "cancel_on"):
					add(file, k, s)
				case isText && (k == "condition" || k == "overflow_filter"):
					add(file, k, s)
				case k == "expression":
					l, _ := e.([]any)
					for _, s := range l {
						if s, ok := s.(string); ok {
							add(file, "whitelist", s)
						}
					}
				default:
					collect(file, e)
				}
			}
		case []any:
			for _, e := range v {
				collect(file, e)
			}
		}
	}
	for _, area := range []string{"parsers", "scenarios", "postoverflows"} {
		err := filepath.WalkDir(filepath.Join(root, area), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".yaml") && !strings.HasSuffix(path, ".yml") {
				return err
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			dec := yaml.NewDecoder(f)
			for {
				var doc any
				if err := dec.Decode(&doc); err != nil {
					return nil // the end, or what the node loader will complain about
				}
				collect(path[len(root)+1:], doc)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(out) < 1000 {
		t.Fatalf("the hub has more than %d expressions", len(out))
	}
	sort.Slice(out, func(i, j int) bool { return out[i].src < out[j].src })
	return out
}

// notYet are the reasons for which an expression of the hub may be refused.
var notYet = []string{"unknown name queue", "unknown name leaky", "unknown name signal", "unknown name results"}

// TestHub compares every expression of the hub with expr-lang's machine, on
// events made of the expression's own words.
func TestHub(t *testing.T) {
	exprs := hubExprs(t)
	files := testFiles{}
	reasons := map[string]int{}
	compiled, compared := map[string]int{}, 0
	rounds := 16
	if testing.Short() {
		rounds = 5
	}
	verdicts := map[string]int{}
	for n, e := range exprs {
		words := wordsOf(t, e.src)
		for _, w := range words.texts { // data files of the expression's own words
			if strings.HasSuffix(w, ".txt") || strings.HasSuffix(w, ".regex") || strings.HasSuffix(w, ".data") {
				files[w] = []string{"/admin", "1.2.3.0/24", "google.com.", ".git", "1.2.3.4", `{"uri":"/x","cve":"CVE-1"}`}
			}
		}
		c := &Compiler{Schema: event.NewSchema(), Files: files}
		p, err := c.Compile(e.src)
		if err != nil {
			known := false
			for _, r := range notYet {
				if i := strings.Index(err.Error(), r); i >= 0 {
					known = true
					reasons[strings.SplitN(err.Error(), "\n", 2)[0]]++
				}
			}
			if !known {
				t.Errorf("%s: %s: %v", e.file, e.key, err)
			}
			reasons["total refused"]++
			continue
		}
		compiled[e.key]++
		o, err := oracleCompile(e.src, files)
		if err != nil {
			t.Errorf("%s: the oracle refuses %s: %v", e.file, e.src, err)
			continue
		}
		rng := rand.New(rand.NewPCG(uint64(n), 7))
		for range rounds {
			ev := words.event(rng)
			compared++
			verdicts[same(t, c, p, o, ev, e.src)]++
			if t.Failed() {
				return
			}
		}
	}
	t.Logf("compiled: %v; compared %d runs: %v", compiled, compared, verdicts)
	for _, r := range slices.Sorted(maps.Keys(reasons)) {
		t.Logf("%4d %s", reasons[r], r)
	}
	if verdicts["true"] < 100 || verdicts["text"] < 100 {
		t.Fatalf("the events hit too little: %v", verdicts)
	}
}

// same runs both on one event and compares; it returns a word for what came
// out.
func same(t *testing.T, c *Compiler, p *Program, o *vm.Program, ev *oracleEvent, src string) string {
	t.Helper()
	x := ctxOf(c, ev)
	got, err := p.Any(x)
	want, oerr := oracle.Run(o, map[string]any{"evt": ev})
	if (err != nil) != (oerr != nil) {
		t.Errorf("%s\n on %+v\n got %v, %v\nwant %v, %v", src, ev, got, err, want, oerr)
		return "different"
	}
	if err != nil {
		return "error"
	}
	if !alike(got, want) {
		t.Errorf("%s\n on %+v\n got %#v\nwant %#v", src, ev, got, want)
		return "different"
	}
	for name, v := range ev.Meta { // effects
		if slot, ok := c.Schema.Lookup(event.Meta, name); ok && x.Event.Get(slot) != v {
			t.Errorf("%s leaves %s %q, want %q", src, name, x.Event.Get(slot), v)
		}
	}
	for name, v := range ev.Unmarshaled {
		if slot, ok := c.Schema.Lookup(event.Unmarshaled, name); ok && !alike(x.Event.Doc(slot), v) {
			t.Errorf("%s leaves %s %v, want %v", src, name, x.Event.Doc(slot), v)
		}
	}
	text, ok, err := p.Text(ctxOf(c, ev))
	wantText, wantOK, wantErr := staticText(want)
	if ok != wantOK || text != wantText || (err != nil) != wantErr {
		if _, isBool := want.(bool); !isBool || err == nil { // effects may have changed a condition
			t.Errorf("%s: text %q %v %v, want %q %v %v", src, text, ok, err, wantText, wantOK, wantErr)
		}
	}
	switch want := want.(type) {
	case bool:
		b, err := p.Bool(x)
		if err == nil && b != want && !strings.Contains(src, "evt.Set") {
			t.Errorf("%s: Bool gives %v, Any gave %v", src, b, want)
		}
		return fmt.Sprint(want)
	case string:
		if want == "" {
			return "no text"
		}
		return "text"
	}
	return "other"
}

// staticText is the rule of engine §2.5.
func staticText(a any) (text string, ok, fails bool) {
	switch a := a.(type) {
	case string:
		return a, true, false
	case int:
		return fmt.Sprint(a), true, false
	case float64, float32:
		return fmt.Sprintf("%f", a), true, false
	case nil, map[string]any, []any:
		return "", false, false
	}
	return "", false, true
}

// alike compares results whatever the Go types of their lists.
func alike(a, b any) bool {
	if la, lb := listLen(a), listLen(b); la >= 0 && lb >= 0 {
		if la != lb {
			return false
		}
		for i := range la {
			if !alike(element(a, i), element(b, i)) {
				return false
			}
		}
		return true
	}
	if f, ok := a.(float64); ok && f != f {
		g, ok := b.(float64)
		return ok && g != g
	}
	return reflect.DeepEqual(a, b)
}

// ctxOf makes the event of slots that is the same as one of maps.
func ctxOf(c *Compiler, ev *oracleEvent) *Ctx {
	e := event.New(c.Schema)
	e.Reset(event.Line{Raw: ev.Line.Raw, Src: ev.Line.Src, Module: ev.Line.Module, Labels: ev.Line.Labels, Time: ev.Line.Time})
	e.Time, e.StrTime, e.StrTimeFormat, e.MarshaledTime = ev.Time, ev.StrTime, ev.StrTimeFormat, ev.MarshaledTime
	e.Whitelisted, e.WhitelistReason = ev.Whitelisted, ev.WhitelistReason
	for space, m := range map[event.Space]map[string]string{event.Parsed: ev.Parsed, event.Meta: ev.Meta, event.Enriched: ev.Enriched} {
		for k, v := range m {
			if slot, ok := c.Schema.Lookup(space, k); ok {
				e.Set(slot, v)
			}
		}
	}
	for k, v := range ev.Unmarshaled {
		if slot, ok := c.Schema.Lookup(event.Unmarshaled, k); ok {
			e.SetDoc(slot, clone(v))
		}
	}
	x := &Ctx{Event: e, Stash: testStash{}}
	if a := ev.Overflow.Alert; a != nil {
		x.Alert = &decisions.Alert{Remediation: a.Remediation, Scenario: a.Scenario}
		s := a.Source
		x.Alert.Source = decisions.Source{IP: s.IP, Range: s.Range, Scope: s.Scope, Value: s.Value, Country: s.Cn}
		for _, e := range a.Events {
			var m []decisions.KeyValue
			for _, kv := range e.Meta {
				m = append(m, decisions.KeyValue{Key: kv.Key, Value: kv.Value})
			}
			x.Alert.Events = append(x.Alert.Events, decisions.Event{Meta: m})
		}
	}
	return x
}

type testStash struct{}

func (testStash) Set(_, _, _ string, _ time.Duration) {}

func (testStash) Get(cache, key string) string { return cache + "/" + key }

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for k, e := range v {
			m[k] = clone(e)
		}
		return m
	case map[string]string:
		return maps.Clone(v)
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = clone(e)
		}
		return l
	}
	return v
}

// words is what an expression mentions: fields, paths and constants.
type words struct {
	texts  []string
	fields map[event.Space][]string
	paths  [][]string // below evt.Unmarshaled
	ints   []int
	near   map[string][]string // texts that a field is compared with, by its path
}

func wordsOf(t testing.TB, src string) *words {
	tree, err := parser.Parse(src)
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	w := &words{fields: map[event.Space][]string{}, near: map[string][]string{}}
	ast.Walk(&tree.Node, w)
	return w
}

// Visit collects from one node.
func (w *words) Visit(n *ast.Node) {
	switch n := (*n).(type) {
	case *ast.StringNode:
		w.texts = append(w.texts, n.Value)
	case *ast.IntegerNode:
		w.ints = append(w.ints, n.Value)
	case *ast.BinaryNode:
		left := n.Left
		if call, ok := left.(*ast.CallNode); ok && len(call.Arguments) == 1 {
			left = call.Arguments[0]
		}
		path := strings.Join(pathOfMember(left), ".")
		right := []ast.Node{n.Right}
		if l, ok := n.Right.(*ast.ArrayNode); ok {
			right = l.Nodes
		}
		for _, r := range right {
			if s, ok := r.(*ast.StringNode); ok && path != "" && n.Operator != "!=" {
				w.near[path] = append(w.near[path], s.Value)
			}
		}
	case *ast.MemberNode:
		path := pathOfMember(n)
		if len(path) < 3 || path[0] != "evt" {
			return
		}
		if s, ok := spaceOf(path[1]); ok {
			w.fields[s] = append(w.fields[s], path[2])
			if s == event.Unmarshaled {
				w.paths = append(w.paths, path[2:])
			}
		}
	}
}

// pathOfMember gives evt.a.b["c"][0] as its words; indexes are "[n]".
func pathOfMember(n ast.Node) []string {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return []string{n.Value}
	case *ast.ChainNode:
		return pathOfMember(n.Node)
	case *ast.MemberNode:
		base := pathOfMember(n.Node)
		if base == nil {
			return nil
		}
		switch p := n.Property.(type) {
		case *ast.StringNode:
			return append(base, p.Value)
		case *ast.IntegerNode:
			return append(base, "[]")
		}
	}
	return nil
}

var commonTexts = []string{"", "a", "GET", "/index.php?id=1%27", "404", "42", "-7", "3.5", "1.2.3.4", "2001:db8::1", "::ffff:1.2.3.4",
	"key=val other=\"x y\" empty=", `{"a": {"b": [1, "x", null]}, "action": "block", "n": 3.0}`, "é%C3", "ſtraße", "%41%zz", "a b+c",
	"2024-01-02T03:04:05Z", "1700000000.5", "true", "\x80\xff"}

// text makes a text that has something to do with the expression.
func (w *words) text(r *rand.Rand) string {
	pick := func() string {
		if len(w.texts) > 0 && r.IntN(4) > 0 {
			return w.texts[r.IntN(len(w.texts))]
		}
		return commonTexts[r.IntN(len(commonTexts))]
	}
	s := pick()
	if strings.HasPrefix(s, "/Event/") {
		s = "- " + xmlAt(strings.Split(s[1:], "/"), pick())
	}
	switch r.IntN(12) {
	case 0:
		s = strings.ToUpper(s)
	case 1:
		s = strings.ToLower(s)
	case 2:
		s = "x" + s
	case 3:
		s += "y"
	case 4:
		s += pick()
	case 5:
		s = pick() + " " + s + " " + pick()
	case 6:
		s = s[:r.IntN(len(s)+1)]
	}
	return s
}

// xmlAt writes an XML document with a text at a path.
func xmlAt(path []string, text string) string {
	name, filter, _ := strings.Cut(path[0], "[")
	attrs := " SystemTime='&#" + fmt.Sprint('0'+len(text)%10) + ";'"
	if attr, ok := strings.CutPrefix(strings.TrimSuffix(filter, "]"), "@"); ok {
		attrs = " " + attr
	}
	var inside strings.Builder
	if len(path) > 1 {
		inside.WriteString(xmlAt(path[1:], text))
	} else {
		_ = xml.EscapeText(&inside, []byte(text))
	}
	return "<" + name + attrs + ">" + inside.String() + "</" + name + "><" + name + "/>"
}

// doc makes a value that something may be looked up in.
func (w *words) doc(r *rand.Rand, path []string) any {
	if len(path) > 0 && r.IntN(12) > 0 {
		if path[0] == "[]" {
			return []any{w.doc(r, path[1:]), w.doc(r, nil)}
		}
		return map[string]any{path[0]: w.doc(r, path[1:])}
	}
	switch r.IntN(10) {
	case 0:
		return nil
	case 1:
		return float64(r.IntN(500))
	case 2:
		return r.Float64() * 1e7
	case 3:
		return r.IntN(2) == 0
	case 4:
		return []any{w.text(r), w.text(r), 3.0}
	case 5:
		return map[string]any{"key": w.text(r), "value": map[string]any{"login": w.text(r)}}
	case 6:
		if len(w.ints) > 0 {
			return float64(w.ints[r.IntN(len(w.ints))])
		}
	}
	return w.text(r)
}

// merge joins documents so that all paths of an expression may exist.
func merge(a, b any) any {
	m, ok := a.(map[string]any)
	n, ok2 := b.(map[string]any)
	if !ok || !ok2 {
		return b
	}
	for k, v := range n {
		if old, ok := m[k]; ok {
			v = merge(old, v)
		}
		m[k] = v
	}
	return m
}

// event makes a random event.
func (w *words) event(r *rand.Rand) *oracleEvent {
	ev := &oracleEvent{
		Process: true,
		Line: oLine{Raw: w.text(r), Src: w.text(r), Module: w.text(r), Process: true,
			Labels: map[string]string{"type": w.text(r), "program": w.text(r)}, Time: time.Unix(int64(r.IntN(1e9)), 0)},
		Parsed: map[string]string{}, Meta: map[string]string{}, Enriched: map[string]string{}, Unmarshaled: map[string]any{},
		StrTime: w.text(r), StrTimeFormat: w.text(r), MarshaledTime: w.text(r), Time: time.Unix(int64(r.IntN(1e9)), 0).UTC(),
	}
	for s, m := range []map[string]string{event.Parsed: ev.Parsed, event.Meta: ev.Meta, event.Enriched: ev.Enriched} {
		for _, name := range w.fields[event.Space(s)] {
			near := w.near["evt."+event.Space(s).String()+"."+name]
			switch {
			case len(near) > 0 && r.IntN(8) > 0:
				m[name] = near[r.IntN(len(near))]
				for r.IntN(3) == 0 { // several conditions on one field
					m[name] += near[r.IntN(len(near))]
				}
			case r.IntN(8) > 0:
				m[name] = w.text(r)
			}
		}
	}
	for _, p := range w.paths {
		if r.IntN(8) > 0 {
			if d := w.doc(r, p[1:]); d != nil {
				ev.Unmarshaled[p[0]] = merge(ev.Unmarshaled[p[0]], d)
			}
		}
	}
	if r.IntN(3) == 0 {
		a := &oAlert{Remediation: r.IntN(2) == 0, Scenario: w.text(r), Source: &oSource{IP: w.text(r), Range: w.text(r), Scope: w.text(r), Value: w.text(r)}}
		for range r.IntN(3) {
			a.Events = append(a.Events, &oEvent{Meta: []oKV{{"service", w.text(r)}, {"http_user_agent", w.text(r)}, {"http_path", w.text(r)}}})
		}
		ev.Overflow.Alert = a
	}
	return ev
}

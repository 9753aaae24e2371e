package expr

import (
	"math/rand/v2"
	"reflect"
	"regexp"
	"testing"
	"time"

	oracle "github.com/expr-lang/expr"
)

// What follows compares the whole language with expr-lang's machine, over
// variables of all kinds. Programs are made of templates: <int> is any
// expression that gives an integer, <bool#> one that stands in a predicate.

var templates = map[string][]string{
	"nil": {"nil", "n", "m.none", "ma?.none?.x"},
	"bool": {"true", "false", "b", "o.Yes", "<bool> && <bool>", "<bool> || <bool>", "<bool> and <bool>", "<bool> or <bool>", "not <bool>", "!<bool>", "<bool> ? <bool> : <bool>",
		"<num> < <num>", "<num> <= <num>", "<num> > <num>", "<num> >= <num>", "<num> == <num>", "<num> != <num>", "<num> < <num> < <num>", "<num> >= <num> > <num>", "<str> == <str>", "<str> != <str>", "<str> < <str>", "<str> >= <str>",
		"<str> contains <str>", "<str> startsWith <str>", "<str> endsWith <str>", "<str> not contains <str>", "<str> matches <re>", "<str> not matches <re>",
		"<any> == <any>", "<any> != <any>", "<any> == nil", "nil != <any>", "<list> == <list>", "<map> == <map>", "<time> < <time>", "<time> == <time>", "<dur> > <dur>", "<dur> == <dur>",
		"<num> in <nums>", "<str> in <strs>", "<any> in <list>", "<str> in <map>", "<any> not in <list>", "<int> in <int>..<int>", "<str> in [<str>, <str>]", "<num> in [1, 2.5]", "<str> in ['a', 'b']", "<any> in ['a', 'b']", "<any> in [1, 2, 3]", "<str> in o", "<any> in <map>",
		"any(<list>, <bool#>)", "all(<nums>, # > <int#>)", "none(<strs>, # == <str#>)", "one(<list>, <bool#>)", "all(<list>, {<bool#>})", "any(<objs>, .Yes)", "any(<objs>, .Name == <str#>)", "any(<objs>, {#.Size > <int#>})",
		"hasPrefix(<str>, <str>)", "hasSuffix(<str>, <str>)", "if <bool> {<bool>} else {<bool>}", "<any> > <any>", "<any> <= <num>", "o.Is(<str>)", "t.After(<time>)", "t.Before(<time>)", "t.Equal(<time>)", "t.IsZero()", "<bool>; <bool>"},
	"int": {"0", "1", "2", "-1", "7", "i", "j", "o.Size", "len(<str>)", "len(<list>)", "len(<map>)", "<int> + <int>", "<int> - <int>", "<int> * <int>", "<int> % <int>", "-<int>", "+<int>", "<bool> ? <int> : <int>", "count(<list>, <bool#>)", "count(<nums>, {# > <int#>})", "count([<bool>, <bool>])",
		"int(<num>)", "int(<str>)", "indexOf(<str>, <str>)", "lastIndexOf(<str>, <str>)", "bitand(<int>, <int>)", "bitor(<int>, <int>)", "bitxor(<int>, <int>)", "bitnand(<int>, <int>)", "bitshl(<int>, <int>)", "bitshr(<int>, <int>)", "bitushr(<int>, <int>)", "bitnot(<int>)",
		"abs(<int>)", "ints[<int>]", "mi.a", "mi[<str>]", "mi['b']", "sum(ints)", "sum(<objs>, .Size)", "max(<int>, <int>)", "min(<int>, <int>)", "t.Hour()", "t.Year()", "t.YearDay()", "0x1F", "1_000", "0b11", "let v = <int>; v + v", "if <bool> {<int>} else {<int>}", "(findIndex(<nums>, # > <int#>) ?? 9)", "(<int> ?? <int>)", "reduce(ints, # + #acc)", "reduce(ints, #acc * #, 1)", "len(keys(<map>))", "o.Sum(<int>, <int>)"},
	"num":   {"<int>", "<int>", "<float>"},
	"float": {"0.5", "2.0", "f", "1e3", ".25", "<num> / <num>", "<num> ** <int>", "<num> ^ 2", "<float> + <num>", "<num> - <float>", "<num> * <float>", "-<float>", "float(<num>)", "float(<str>)", "ceil(<num>)", "floor(<num>)", "round(<num>)", "abs(<float>)", "floats[<int>]", "o.Part", "mean(<nums>)", "median(<nums>)", "<bool> ? <float> : <float>", "sum(floats)", "d.Seconds()"},
	"str": {"''", "'a'", "'ab'", `"x\n\x41\u00e9"`, "`raw`", "'GET'", "'1'", "'é'", "s", "u", "o.Name", "<str> + <str>", "<str>[<int>:<int>]", "<str>[<int>:]", "<str>[:<int>]", "upper(<str>)", "lower(<str>)", "trim(<str>)", "trim(<str>, <str>)", "trimPrefix(<str>, <str>)", "trimSuffix(<str>, <str>)", "trimPrefix(<str>)",
		"replace(<str>, <str>, <str>)", "replace(<str>, <str>, <str>, <int>)", "repeat(<str>, <int>)", "join(<strs>)", "join(<strs>, <str>)", "string(<any>)", "string(<int>)", "string(<float>)", "type(<any>)", "type(<list>)", "strs[<int>]", "ms.a", "ms[<str>]", "<bool> ? <str> : <str>", "<bool> ? <str> : nil", "toBase64(<str>)", "fromBase64(<str>)", "toJSON(<any>)", "<strs>[0]", "(first(strs) ?? '')", "(strs | last()) ?? 'z'",
		"let v = <str>; v + '!'", "if <bool> {<str>} else if <bool> {<str>} else {<str>}", "d.String()", "t.Format('2006-01-02')", "t.Weekday().String()", "o.Named(<str>)", "o.Next.Name", "o.Next?.Name", "(p?.Name ?? <str>)", "string(t.Weekday())", "t.Month().String()", "(<str> ?? <str>)", "reduce(<strs>, #acc + #, '')", "<str> /* so */", "Upper(<str>)", "<str> | Lower() | upper()", "$env.s", "$env['s']", "<str>; <str>"},
	"re":   {"'^a'", "'(?i)A'", "'[0-9]+$'", "<str>", "'('", "''"},
	"strs": {"strs", "['a', 'b']", "['a']", "split(<str>, <str>)", "split(<str>, <str>, <int>)", "splitAfter(<str>, <str>)", "[<str>, <str>]", "map(<list>, <str#>)", "map(<strs>, upper(#))", "filter(<strs>, # != <str#>)", "map(<objs>, .Name)", "sort(<strs>)", "reverse(<strs>)", "uniq(<strs>)", "keys({'k': <any>})", "keys(ms)", "<strs>[<int>:]", "take(<strs>, <int>)", "<bool> ? <strs> : <strs>", "concat(<strs>, <strs>)", "sortBy(<strs>, len(#))", "flatten([<strs>])", "Split(<str>, <str>)"},
	"nums": {"ints", "floats", "[1, 2, 3]", "[<int>, <int>]", "[1, 2.5]", "<int>..<int>", "map(<nums>, # + <int#>)", "map(<list>, #index)", "filter(ints, # > <int#>)", "sort(ints)", "sort(ints, 'desc')", "map(<objs>, .Size)", "reverse(ints)", "ints[<int>:<int>]", "take(ints, <int>)", "concat(ints, [<int>])", "sortBy(ints, -#)", "values(mi)"},
	"objs": {"objs", "filter(objs, .Yes)", "[o]", "objs[1:]", "sortBy(objs, .Size)", "reverse(objs)", "take(objs, 1)", "filter(objs, {.Size > <int#>})", "concat(objs, [o])"},
	"list": {"<strs>", "<nums>", "list", "[]", "[1, 'a', nil]", "[<any>, <any>]", "map(<list>, <any#>)", "filter(<list>, <bool#>)", "filter(<list>, {# == <any#>})", "map(<list>, [#, #index])", "reverse(<list>)", "uniq(<list>)", "concat(<list>, <list>)", "flatten(<list>)", "<list>[<int>:<int>]", "take(<list>, <int>)", "list[:<int>]", "ma.l", "toPairs({'a': <any>})[0][:1]", "values({'a': <any>})", "map(<nums>, {# > 1 ? # : nil})", "fromJSON('[1, {\"a\": null}]')", "map(<strs>, {let v = #; v + v})", "map(1..3, map(1..#, # * 2))", "any(<list>, true) ? [] : <list>"},
	"map":  {"ma", "ms", "mi", "{}", "{'a': <any>}", "{a: <int>, 'b': <str>}", "{(<str>): 1}", "ma.m", "groupBy(<strs>, len(#))", "groupBy(ints, # % 2)", "fromPairs([['a', <any>]])", "fromJSON('{\"a\": [1, 2]}')", "<bool> ? <map> : {}"},
	"time": {"t", "now0", "date('2024-03-01')", "date('2024-03-01 10:11:12', '2006-01-02 15:04:05')", "t + <dur>", "t - <dur>", "<dur> + t", "t.Add(<dur>)", "t.UTC()", "t.In(timezone('Europe/Paris'))", "date(<str>)", "t.Truncate(<dur>)", "t.AddDate(0, <int>, <int>)"},
	"dur":  {"d", "duration('1h')", "duration('1m30s')", "t - now0", "<time> - <time>", "t.Sub(<time>)", "<dur> + <dur>", "<dur> - <dur>", "duration(<str>)", "<dur> * <int>", "<int> * <dur>", "d.Round(<dur>)", "d.Abs()"},
	"any": {"<nil>", "<bool>", "<int>", "<float>", "<str>", "<list>", "<map>", "a", "a", "n", "ma.s", "ma.n", "ma.m", "ma.l", "ma.m.x", "ma.none.x", "ma.none?.x", "ma?.m?.x.y", "ma[<str>]", "ma['l'][<int>]", "get(<list>, <int>)", "get(<map>, <str>)", "get(<map>, 'a')", "list[<int>]", "first(list)", "last(list)", "last(ints)", "find(<list>, <bool#>)", "find(<nums>, # > <int#>)",
		"findIndex(<list>, <bool#>)", "<any> ?? <any>", "<bool> ? <any> : <any>", "max(<nums>)", "min(<nums>)", "max(<num>, <num>)", "sum(<nums>)", "sum(<list>, <num#>)", "reduce(<list>, <any#>)", "reduce(<nums>, #acc + #)", "reduce(<list>, #index, <any>)", "fromJSON(<str>)", "let v = <any>; v", "let v = <list>; v[0]", "if <bool> {<any>} else {<any>}", "<map>.a", "<map>['a']",
		"<list>[<int>]", "<list>[-1]", "<any>[<int>]", "<any>.a", "<any>?.a", "<any>?.[<int>]", "<any>[<int>:]", "abs(<any>)", "-<any>", "<any> + <any>", "<any> * <num>", "<any> - <any>", "<any> % <int>", "len(<any>)", "int(<any>)", "float(<any>)", "upper(<any>)", "<time>", "<dur>", "o.Name", "p?.Name ?? a", "p.Name", "(p?.Next.Name) ?? n", "objs[<int>].Name", "[objs[0]?.Next?.Size]", "o.Next?.Named('x')", "[p?.Next]", "map(<any>, #)", "filter(<any>, true)", "groupBy(<list>, type(#))", "sort(list)", "sortBy(<list>, <any#>)", "mean(<list>)", "<bool> ?: <any>", "{'a': 1}.b", "b'x\\x01'", "<any>; <any>", "find(objs, .Yes).Name", "find(objs, .Size > 100)?.Name", "first(objs).Size", "toJSON(<map>)", "len(keys(<any>))", "len(values(<any>))", "len(toPairs(<any>))", "reverse(<any>)", "uniq(<any>)", "[t.Unix()]", "sort([<int>, <num>])"},
}

// inPredicate stands beside the templates where there is a current element.
var inPredicate = map[string][]string{
	"bool": {"# == <any#>", "# in <list#>", "#index > 0", "<any#> == #"},
	"int":  {"#index", "#index + 1"},
	"str":  {"#", "type(#)", "string(#)"},
	"any":  {"#", "#", "#index", "[#]", "{'a': #}", "#?.a"},
	"num":  {"#", "#index"},
	"list": {"[#]", "#"},
}

var hole = regexp.MustCompile(`<(\w+)(#?)>`)

// program makes an expression of a kind. Some parts of a wild one don't fit.
func program(r *rand.Rand, kind string, depth int, inside, wild bool) string {
	if wild && r.IntN(15) == 0 {
		kinds := []string{"nil", "bool", "int", "float", "str", "list", "map", "any", "time", "dur", "objs"}
		kind = kinds[r.IntN(len(kinds))]
	}
	choices := templates[kind]
	if inside {
		choices = append(choices[:len(choices):len(choices)], inPredicate[kind]...)
		choices = append(choices, inPredicate[kind]...)
	}
	t := choices[r.IntN(len(choices))]
	for tries := 0; depth <= 0 && hole.MatchString(t) && tries < 30; tries++ {
		t = choices[r.IntN(len(choices))]
	}
	if depth < -3 {
		return "n"
	}
	s := hole.ReplaceAllStringFunc(t, func(h string) string {
		m := hole.FindStringSubmatch(h)
		return program(r, m[1], depth-1, inside || m[2] == "#", wild)
	})
	if len(s) > 3 && r.IntN(8) > 0 {
		return "(" + s + ")"
	}
	return s
}

// thing is a struct with pointers and methods.
type thing struct {
	Name string
	Size int
	Part float64
	Yes  bool
	Next *thing
}

func (o *thing) Is(name string) bool      { return o.Name == name }
func (o *thing) Named(more string) string { return o.Name + more }
func (o *thing) Sum(a, b int) int         { return o.Size + a + b }

// variables are the environment of the machine.
type variables struct {
	I      int               `expr:"i"`
	J      int               `expr:"j"`
	F      float64           `expr:"f"`
	S      string            `expr:"s"`
	U      string            `expr:"u"`
	B      bool              `expr:"b"`
	N      any               `expr:"n"`
	A      any               `expr:"a"`
	Ints   []int             `expr:"ints"`
	Floats []float64         `expr:"floats"`
	Strs   []string          `expr:"strs"`
	List   []any             `expr:"list"`
	MS     map[string]string `expr:"ms"`
	MI     map[string]int    `expr:"mi"`
	MA     map[string]any    `expr:"ma"`
	M      map[string]any    `expr:"m"`
	T      time.Time         `expr:"t"`
	Now    time.Time         `expr:"now0"`
	D      time.Duration     `expr:"d"`
	O      *thing            `expr:"o"`
	P      *thing            `expr:"p"`
	Objs   []*thing          `expr:"objs"`
}

// names returns the variables in their order.
func (v *variables) each(f func(name string, t reflect.Type, val any)) {
	s := reflect.ValueOf(v).Elem()
	for i := range s.NumField() {
		f(s.Type().Field(i).Tag.Get("expr"), s.Type().Field(i).Type, s.Field(i).Interface())
	}
}

func randomVariables(r *rand.Rand) *variables {
	text := func() string { return []string{"", "a", "b", "ab", "GET", "1", "42", "é", "x y", "a,b"}[r.IntN(10)] }
	anything := func() any {
		return []any{nil, text(), r.IntN(4), 1.5, true, []any{text(), 1, nil}, map[string]any{"a": text()}, []string{text()}, map[string]string{"a": text()}}[r.IntN(9)]
	}
	obj := func(next *thing) *thing {
		return &thing{Name: text(), Size: r.IntN(5), Part: 0.5, Yes: r.IntN(2) == 0, Next: next}
	}
	v := &variables{
		I: r.IntN(5) - 1, J: r.IntN(100), F: float64(r.IntN(8)) / 2, S: text(), U: text(), B: r.IntN(2) == 0, A: anything(),
		Ints: []int{3, 1, r.IntN(4)}[:r.IntN(4)], Floats: []float64{0.5, 2, float64(r.IntN(3))}[:r.IntN(4)], Strs: []string{text(), text(), "a"}[:r.IntN(4)],
		List: []any{anything(), anything(), "a"}[:r.IntN(4)], MS: map[string]string{"a": text()}, MI: map[string]int{"a": r.IntN(5)},
		MA: map[string]any{"s": text(), "n": r.IntN(5), "m": map[string]any{"x": anything()}, "l": []any{anything(), text()}}, M: map[string]any{},
		T: time.Date(2024, 3, 1+r.IntN(3), 10, 11, 12, 0, time.UTC), Now: time.Date(2024, 3, 2, 0, 0, 0, 0, time.UTC), D: time.Duration(r.IntN(3)) * time.Hour,
		O: obj(obj(nil)),
	}
	if r.IntN(2) == 0 {
		v.P = obj(nil)
	}
	v.Objs = []*thing{v.O, obj(nil), obj(v.O)}[:r.IntN(4)]
	return v
}

func languageCompiler() *Compiler {
	env := NewEnv().Type(
		Field("Name", func(o *thing) string { return o.Name }),
		Field("Size", func(o *thing) int { return o.Size }),
		Field("Part", func(o *thing) float64 { return o.Part }),
		Field("Yes", func(o *thing) bool { return o.Yes }),
		Field("Next", func(o *thing) *thing { return o.Next }),
		Method1("Is", (*thing).Is),
		Method1("Named", (*thing).Named),
		Method2("Sum", (*thing).Sum),
	)
	new(variables).each(func(name string, t reflect.Type, _ any) { env.VarOf(name, t) })
	return &Compiler{Env: env}
}

// stricter are the reasons for which we alone refuse a program: what can't but
// fail when it runs, and what expr-lang loses the types of.
var stricter = regexp.MustCompile(`this is duration|argument of date|a key of a map must be a string|list of int|cannot sum up string`)

// TestLanguage compares random programs: whether they compile, whether they
// fail, and what they give.
func TestLanguage(t *testing.T) {
	n := 2_000
	if testing.Short() {
		n = 1_000
	}
	kinds := []string{"bool", "int", "float", "str", "list", "map", "any", "any", "time", "dur"}
	counts := map[string]int{}
	options := append(oracleHelpers(nil), oracle.Env(&variables{}))
	c := languageCompiler()
	x := &Ctx{}
	for seed := range n {
		r := rand.New(rand.NewPCG(uint64(seed), 21))
		wild := seed%4 == 0
		src := program(r, kinds[r.IntN(len(kinds))], 3, false, wild)
		p, err := c.Compile(src)
		o, oerr := oracle.Compile(src, options...)
		switch {
		case err != nil && oerr != nil:
			counts["both refuse"]++
			continue
		case err != nil:
			counts["only we refuse"]++
			if !wild && !stricter.MatchString(err.Error()) {
				t.Errorf("only we refuse: %s: %v", src, err)
			}
			continue
		case oerr != nil: // it knows the types of what may be nil, and compares them with others
			counts["only the oracle refuses"]++
			continue
		}
		for range 3 {
			v := randomVariables(r)
			x.Vars = x.Vars[:0]
			v.each(func(_ string, _ reflect.Type, val any) { x.Vars = append(x.Vars, val) })
			got, err := runProgram(t, p, x)
			want, oerr := oracle.Run(o, v)
			switch {
			case wild:
				counts["wild"]++
			case (err == nil) != (oerr == nil):
				t.Errorf("%s\n on %+v: got %v, %v; want %v, %v", src, v, got, err, want, oerr)
			case err != nil:
				counts["both fail"]++
			case !sameResult(got, want):
				t.Errorf("%s\n on %+v: got %#v, want %#v", src, v, got, want)
			default:
				counts["equal"]++
			}
		}
	}
	t.Log(counts)
	if counts["equal"] < n || counts["both fail"] < n/20 || counts["both refuse"] < n/50 || counts["only the oracle refuses"] > n/20 {
		t.Error("the programs have lost their variety: ", counts)
	}
}

// sameResult compares results whatever the size of their integers.
func sameResult(a, b any) bool {
	if la, lb := listLen(a), listLen(b); la >= 0 && lb >= 0 {
		same := la == lb
		for i := 0; same && i < la; i++ {
			same = sameResult(element(a, i), element(b, i))
		}
		return same
	}
	if m, ok := a.(map[string]any); ok {
		o, ok := b.(map[string]any)
		same := ok && len(m) == len(o)
		for k, v := range m {
			w, found := o[k]
			same = same && found && sameResult(v, w)
		}
		return same
	}
	if m, ok := a.(map[any]any); ok {
		o, ok := b.(map[any]any)
		same := ok && len(m) == len(o)
		for k, v := range m {
			w, found := o[k]
			same = same && found && sameResult(v, w)
		}
		return same
	}
	if i, ok := toInt(a); ok && isWhole(a) {
		j, ok := toInt(b)
		return ok && isWhole(b) && i == j
	}
	if t, ok := a.(time.Time); ok {
		u, ok := b.(time.Time)
		return ok && t.Equal(u) && t.String() == u.String()
	}
	return alike(a, b)
}

// runProgram names the program that panics.
func runProgram(t *testing.T, p *Program, x *Ctx) (any, error) {
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("%s: PANIC %v", p, r)
		}
	}()
	return p.Any(x)
}

package expr

import (
	"reflect"
	"time"

	"cs/pipeline/event"
)

// kind tells which closure of a value computes it.
type kind uint8

const (
	anyKind      kind = iota // known at run time only; closure any
	nilKind                  // closure any
	boolKind                 // closure bool
	stringKind               // closure str
	intKind                  // closure int
	floatKind                // closure float
	durationKind             // closure int, nanoseconds
	timeKind                 // closure any, a time.Time
	listKind                 // closure list if the elements are strings, else any
	mapKind                  // closure any
	fieldsKind               // a space of the event's fields: no closure but any
	objectKind               // closure any, see object
	evtKind                  // the event itself: no closure
)

// typ is the static type of an expression.
type typ struct {
	kind  kind
	elem  *typ        // of lists and maps; nil: anything
	obj   *object     // the members of objects; other kinds may have methods, too
	space event.Space // of fields
	loose bool        // a list of strings that is a []any outside, as literals and filter's results are
}

var (
	stringType  = typ{kind: stringKind}
	stringsType = typ{kind: listKind, elem: &stringType}
	looseType   = typ{kind: listKind, elem: &stringType, loose: true}
	intType     = typ{kind: intKind}
	intsType    = typ{kind: listKind, elem: &intType}
	timeType    = typ{kind: timeKind}
	anysType    = typ{kind: listKind}
	anyMapType  = typ{kind: mapKind}
	textMapType = typ{kind: mapKind, elem: &stringType}
)

// String names the type as error messages do.
func (t typ) String() string {
	switch t.kind {
	case listKind:
		if t.elem != nil {
			return "list of " + t.elem.String()
		}
		return "list"
	case objectKind:
		if t.obj != nil {
			return t.obj.name
		}
	case fieldsKind:
		return "evt." + t.space.String()
	}
	return [...]string{"any", "nil", "bool", "string", "int", "float", "duration", "time", "list", "map", "fields", "object", "evt"}[t.kind]
}

// elemType is the type of an element of a list or a map.
func (t typ) elemType() typ {
	if t.elem == nil {
		return typ{}
	}
	return *t.elem
}

// same tells whether two types are one.
func (t typ) same(o typ) bool {
	if t.kind != o.kind || t.obj != o.obj || t.space != o.space || t.loose != o.loose || (t.elem == nil) != (o.elem == nil) {
		return false
	}
	return t.elem == nil || t.elem.same(*o.elem)
}

func (t typ) isNumber() bool { return t.kind == intKind || t.kind == floatKind }
func (t typ) isAny() bool    { return t.kind == anyKind }
func (t typ) isStrings() bool {
	return t.kind == listKind && t.elem != nil && t.elem.kind == stringKind
}

// value is a compiled expression: its static type and the closure that
// computes it. Exactly one closure is set, the one that its kind names.
type value struct {
	typ   typ
	bool  func(*Ctx) bool
	str   func(*Ctx) string
	int   func(*Ctx) int64
	float func(*Ctx) float64
	list  func(*Ctx) []string
	any   func(*Ctx) any

	// Cheaper ways than any, or nil. Lists are valid for one evaluation, and whoever asks
	// for times may change them.
	text  func(*Ctx) (string, bool)          // to Program.Text
	entry func(key string) func(*Ctx) string // of a map of texts: to one of them
	anys  func(*Ctx) []any                   // of a list: to its elements
	time  func(*Ctx) time.Time               // of a time
	times func(*Ctx) []time.Time             // of a list of times

	key     string            // of a text: names the expression, so that its memos can be shared
	slot    *event.Slot       // of a text: the field that it is
	source  func(*Ctx) string // of a text that was put into a local: computes it
	folds   *value            // of a text: what Upper or Lower made it of
	clues   []clue            // of a condition: what must hold for it to be true
	exact   bool              // of a condition: its one clue holds if and only if it is true
	and     []conjunct        // of a condition: those that must all be true; nil: it itself
	each    *each             // what it gives for every element of a fixed list
	anyOf   *anyOf            // of a condition: it compares something with every element
	refused string            // why a function can't be built from its arguments
	konst   bool              // the same for every event: the closure works without a Ctx
	risky   bool              // may fail, or has an effect
}

func boolean(f func(*Ctx) bool) value       { return value{typ: typ{kind: boolKind}, bool: f} }
func text(f func(*Ctx) string) value        { return value{typ: stringType, str: f} }
func integer(f func(*Ctx) int64) value      { return value{typ: intType, int: f} }
func number(f func(*Ctx) float64) value     { return value{typ: typ{kind: floatKind}, float: f} }
func texts(f func(*Ctx) []string) value     { return value{typ: stringsType, list: f} }
func dynamic(t typ, f func(*Ctx) any) value { return value{typ: t, any: f} }

func (v value) asRisky() value { v.risky = true; return v }

// constant makes the value of something known while loading.
func constant(a any) value {
	var v value
	switch a := a.(type) {
	case nil:
		v = dynamic(typ{kind: nilKind}, func(*Ctx) any { return nil })
	case bool:
		v = boolean(func(*Ctx) bool { return a })
	case string:
		v = text(func(*Ctx) string { return a })
	case int:
		v = integer(func(*Ctx) int64 { return int64(a) })
	case int64:
		v = integer(func(*Ctx) int64 { return a })
	case float64:
		v = number(func(*Ctx) float64 { return a })
	case time.Duration:
		v = integer(func(*Ctx) int64 { return int64(a) })
		v.typ.kind = durationKind
	case []string:
		v = texts(func(*Ctx) []string { return a })
	case []any:
		v = dynamic(anysType, func(*Ctx) any { return a })
	default:
		v = dynamic(typ{}, func(*Ctx) any { return a })
	}
	v.konst = true
	return v
}

// constText returns the text of a constant.
func (v value) constText() (string, bool) {
	if v.konst && v.typ.kind == stringKind {
		return v.str(nil), true
	}
	return "", false
}

// generally forgets the cheaper ways: any is about to do more than they know of.
func (v *value) generally() { v.text, v.entry, v.anys, v.time, v.times = nil, nil, nil, nil, nil }

// asTime returns the closure that gives a time as such.
func (v value) asTime() func(*Ctx) time.Time {
	if v.time != nil {
		return v.time
	}
	f := v.any
	return func(x *Ctx) time.Time { t, _ := f(x).(time.Time); return t }
}

// listed makes a list of a closure that gives its elements, for one evaluation.
func listed(t typ, f func(*Ctx) []any) value {
	v := dynamic(t, func(x *Ctx) any { return append([]any{}, f(x)...) }) // an empty list is not nil
	v.anys = f
	return v
}

// boxInt gives an integer the type that expr-lang's have.
func boxInt(i int64) any {
	if int64(int(i)) == i {
		return int(i)
	}
	return i // 32-bit platforms
}

// boxed returns the closure that gives the value as an any.
func (v value) boxed() func(*Ctx) any {
	switch {
	case v.any != nil:
		return v.any
	case v.bool != nil:
		f := v.bool
		return func(x *Ctx) any { return f(x) }
	case v.str != nil:
		f := v.str
		return func(x *Ctx) any { return f(x) }
	case v.int != nil && v.typ.kind == durationKind:
		f := v.int
		return func(x *Ctx) any { return time.Duration(f(x)) }
	case v.int != nil && v.typ.obj != nil: // a number with a name: a weekday
		f, t := v.int, v.typ.obj.goType
		return func(x *Ctx) any { return reflect.ValueOf(f(x)).Convert(t).Interface() }
	case v.int != nil:
		f := v.int
		return func(x *Ctx) any { return boxInt(f(x)) }
	case v.float != nil:
		f := v.float
		return func(x *Ctx) any { return f(x) }
	case v.list != nil && v.typ.loose:
		f := v.list
		return func(x *Ctx) any {
			texts := f(x)
			l := make([]any, len(texts))
			for i, s := range texts {
				l[i] = s
			}
			return l
		}
	case v.list != nil:
		f := v.list
		return func(x *Ctx) any { return f(x) }
	}
	return func(*Ctx) any { return nil } // evt itself
}

// unboxed turns an any closure into a value of a scalar type that is sure.
func unboxed(t typ, f func(*Ctx) any) value {
	switch t.kind {
	case boolKind:
		return boolean(func(x *Ctx) bool { b, _ := f(x).(bool); return b })
	case stringKind:
		return text(func(x *Ctx) string { s, _ := f(x).(string); return s })
	case intKind:
		v := integer(func(x *Ctx) int64 { n, _ := toInt(f(x)); return n })
		v.typ = t
		return v
	case floatKind:
		return number(func(x *Ctx) float64 { n, _ := toFloat(f(x)); return n })
	case durationKind:
		v := integer(func(x *Ctx) int64 { d, _ := f(x).(time.Duration); return int64(d) })
		v.typ = t
		return v
	case listKind:
		if t.isStrings() {
			return texts(func(x *Ctx) []string { l, _ := f(x).([]string); return l })
		}
	}
	return dynamic(t, f)
}

// run returns a closure that computes the value for its effects.
func (v value) run() func(*Ctx) {
	switch {
	case v.bool != nil:
		f := v.bool
		return func(x *Ctx) { f(x) }
	case v.str != nil:
		f := v.str
		return func(x *Ctx) { f(x) }
	case v.int != nil:
		f := v.int
		return func(x *Ctx) { f(x) }
	case v.float != nil:
		f := v.float
		return func(x *Ctx) { f(x) }
	case v.list != nil:
		f := v.list
		return func(x *Ctx) { f(x) }
	case v.any != nil:
		f := v.any
		return func(x *Ctx) { f(x) }
	}
	return func(*Ctx) {}
}

// after makes v run something first.
func (v value) after(first func(*Ctx)) value {
	v.generally()
	v.konst, v.clues, v.each, v.anyOf = false, nil, nil, nil
	v.key, v.slot, v.source, v.folds = "", nil, nil, nil
	v.exact, v.and = false, nil
	switch {
	case v.bool != nil:
		f := v.bool
		v.bool = func(x *Ctx) bool { first(x); return f(x) }
	case v.str != nil:
		f := v.str
		v.str = func(x *Ctx) string { first(x); return f(x) }
	case v.int != nil:
		f := v.int
		v.int = func(x *Ctx) int64 { first(x); return f(x) }
	case v.float != nil:
		f := v.float
		v.float = func(x *Ctx) float64 { first(x); return f(x) }
	case v.list != nil:
		f := v.list
		v.list = func(x *Ctx) []string { first(x); return f(x) }
	case v.any != nil:
		f := v.any
		v.any = func(x *Ctx) any { first(x); return f(x) }
	}
	return v
}

// folded turns a value whose parts are all constants into a constant. A value
// that fails stays as it is and fails at run time, as upstream's does.
func (v value) folded() value {
	if v.typ.kind == fieldsKind || v.typ.kind == evtKind {
		return v
	}
	x := &Ctx{}
	x.begin(&Program{})
	a := v.boxed()(x)
	if x.failed() {
		return v
	}
	if l, ok := a.([]any); ok && v.list != nil { // loose
		list := make([]string, len(l))
		for i, e := range l {
			list[i], _ = e.(string)
		}
		a = list
	}
	out := constant(keep(a, true))
	out.typ = v.typ
	if out.boxedKind() != v.boxedKind() { // an object or a map: keep its type
		return v
	}
	return out
}

// boxedKind names the closure that is set.
func (v value) boxedKind() int {
	for i, set := range [...]bool{v.bool != nil, v.str != nil, v.int != nil, v.float != nil, v.list != nil, v.any != nil} {
		if set {
			return i
		}
	}
	return -1
}

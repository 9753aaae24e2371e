package expr

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"cs/decisions"
	"cs/pipeline/expr/syntax"
)

// object is a type with named members.
type object struct {
	name    string
	goType  reflect.Type
	members map[string]Member
}

// Member is a named part of a variable: a field or a method.
type Member struct {
	name   string
	of     reflect.Type // what it is a member of
	gives  reflect.Type
	takes  []reflect.Type // arguments; nil for a field
	method bool
	get    func(of any, args []any) any

	// Cheaper ways than get, or nil.
	str  func(of any) string                  // of a text
	num  func(of any) int                     // of a number
	text func(key string) func(of any) string // of a map of texts, or of a method with a constant: to one text
	time func(of any) time.Time               // of a time
}

// Texts makes a member that is a map of texts, as long as it is used as a map:
// one of them, as in Meta.service, is asked for by its key, for which text
// returns a function while content loads.
func Texts[T any](name string, get func(T) map[string]string, text func(key string) func(T) string) Member {
	m := Field(name, get)
	m.text = keyed(text)
	return m
}

// TextOf makes a method that is called with the key of a text: event.GetMeta("service").
func TextOf[T any](name string, text func(key string) func(T) string) Member {
	m := Method1(name, func(t T, key string) string { return text(key)(t) })
	m.text = keyed(text)
	return m
}

func keyed[T any](text func(key string) func(T) string) func(string) func(any) string {
	return func(key string) func(any) string {
		get := text(key)
		return func(of any) string {
			t, ok := of.(T)
			if !ok {
				return ""
			}
			return get(t)
		}
	}
}

// Text makes a member that is a text.
func Text[T any](name string, get func(T) string) Member {
	m := Field(name, get)
	m.str = func(of any) string {
		t, ok := of.(T)
		if !ok {
			return ""
		}
		return get(t)
	}
	return m
}

// Int makes a member that is a number.
func Int[T any](name string, get func(T) int) Member {
	m := Field(name, get)
	m.num = func(of any) int {
		t, ok := of.(T)
		if !ok {
			return 0
		}
		return get(t)
	}
	return m
}

// Moment makes a member that is a time.
func Moment[T any](name string, get func(T) time.Time) Member {
	m := Field(name, get)
	m.time = func(of any) time.Time {
		t, ok := of.(T)
		if !ok {
			return time.Time{}
		}
		return get(t)
	}
	return m
}

// Field makes a member that is read: Alert.Remediation.
func Field[T, V any](name string, get func(T) V) Member {
	return Member{
		name: name, of: reflect.TypeFor[T](), gives: reflect.TypeFor[V](),
		get: func(of any, _ []any) any {
			t, ok := of.(T)
			if !ok {
				return nil
			}
			return get(t)
		},
	}
}

// Boxed makes a member that is read, of a type that its values have already: what is
// read often need not be boxed each time.
func Boxed[T, V any](name string, get func(T) any) Member {
	m := Field(name, func(T) (v V) { return v })
	m.get = func(of any, _ []any) any {
		t, ok := of.(T)
		if !ok {
			return nil
		}
		return get(t)
	}
	return m
}

// BoxedMethod is Boxed for a member that is called without arguments.
func BoxedMethod[T, V any](name string, call func(T) any) Member {
	m := Boxed[T, V](name, call)
	m.method = true
	return m
}

// Method makes a member that is called without arguments: Alert.GetScope().
func Method[T, V any](name string, call func(T) V) Member {
	m := Field(name, call)
	m.method = true
	return m
}

// Method1 makes a member that is called with one argument:
// event.GetMeta("service").
func Method1[T, A, V any](name string, call func(T, A) V) Member {
	return Member{
		name: name, of: reflect.TypeFor[T](), gives: reflect.TypeFor[V](), method: true,
		takes: []reflect.Type{reflect.TypeFor[A]()},
		get: func(of any, args []any) any {
			t, ok := of.(T)
			a, ok2 := args[0].(A)
			if !ok || !ok2 {
				return nil
			}
			return call(t, a)
		},
	}
}

// Method2 makes a member that is called with two arguments.
func Method2[T, A, B, V any](name string, call func(T, A, B) V) Member {
	m := Field(name, func(T) (v V) { return v })
	m.method, m.takes = true, []reflect.Type{reflect.TypeFor[A](), reflect.TypeFor[B]()}
	m.get = func(of any, args []any) any {
		t, ok := of.(T)
		a, okA := args[0].(A)
		b, okB := args[1].(B)
		if !ok || !okA && args[0] != nil || !okB && args[1] != nil {
			return nil
		}
		return call(t, a, b)
	}
	return m
}

// Env is a table of names that expressions may use beside those built in.
// It is filled before the first expression is compiled.
type Env struct {
	vars  []variable
	types map[reflect.Type]*object
	funcs map[string]*function
}

type variable struct {
	name string
	val  value
}

// NewEnv returns an empty table.
func NewEnv() *Env {
	return &Env{types: make(map[reflect.Type]*object), funcs: make(map[string]*function)}
}

// Var adds a variable with its members, whose type is that of the members'
// first. Its value is found in Ctx.Vars, in the order of the Var and VarOf
// calls. A dotted name hangs it below evt: "evt.Appsec".
func (e *Env) Var(name string, members ...Member) *Env {
	t := typ{}
	if len(members) > 0 {
		e.Type(members...)
		t = e.typeOf(members[0].of)
	}
	return e.addVar(name, t)
}

// VarOf adds a variable of a Go type: a map or a list, say, of what Type has
// added members to.
func (e *Env) VarOf(name string, t reflect.Type) *Env { return e.addVar(name, e.typeOf(t)) }

func (e *Env) addVar(name string, t typ) *Env {
	i := len(e.vars)
	e.vars = append(e.vars, variable{name, unboxed(t, func(x *Ctx) any {
		if i >= len(x.Vars) {
			return nil
		}
		return x.Vars[i]
	}).asRisky()})
	return e
}

// Type adds members to types that variables lead to.
func (e *Env) Type(members ...Member) *Env {
	for _, m := range members {
		o := e.types[m.of]
		if o == nil {
			o = &object{name: m.of.String(), goType: m.of, members: make(map[string]Member)}
			e.types[m.of] = o
		}
		o.members[m.name] = m
	}
	return e
}

// Func adds a function: a Go function of texts, numbers, booleans and lists
// that gives one value, or a value and an error. It is not for the hot path:
// it is called through reflection, and not with constants while compiling.
// Anything else is a mistake of the caller, and panics.
func (e *Env) Func(name string, fn any) *Env {
	v := reflect.ValueOf(fn)
	t := v.Type()
	if t.Kind() != reflect.Func || t.NumOut() < 1 || t.NumOut() > 2 || t.NumOut() == 2 && t.Out(1) != reflect.TypeFor[error]() {
		panic(fmt.Sprintf("BUG: %s is no function for expressions: %s", name, t))
	}
	gives := t.NumOut()
	f := &function{variadic: t.IsVariadic(), varying: true, risky: true}
	var takes []reflect.Type
	for in := range t.Ins() {
		if t.IsVariadic() && len(takes) == t.NumIn()-1 {
			in = in.Elem()
		}
		takes = append(takes, in)
		f.params = append(f.params, paramOf(e.typeOf(in)))
	}
	f.build = func(_ *unit, a []value) value {
		args := boxes(a)
		return unboxed(e.typeOf(t.Out(0)), func(x *Ctx) any {
			in := make([]reflect.Value, len(args))
			for i, arg := range args {
				in[i] = x.goValue(arg(x), takes[min(i, len(takes)-1)], name)
			}
			if x.failed() {
				return nil
			}
			out := v.Call(in)
			if gives == 2 && !out[1].IsNil() {
				x.fail("%s: %w", name, out[1].Interface().(error))
				return nil
			}
			return out[0].Interface()
		})
	}
	e.funcs[name] = f
	return e
}

// goValue converts an argument to the type that a Go function takes.
func (x *Ctx) goValue(a any, t reflect.Type, name string) reflect.Value {
	if a == nil {
		return reflect.Zero(t)
	}
	v := reflect.ValueOf(a)
	switch {
	case v.Type().AssignableTo(t):
		return v
	case v.CanInt() && v.CanConvert(t) && t.Kind() != reflect.String, v.CanFloat() && v.CanConvert(t):
		return v.Convert(t)
	}
	x.fail("an argument of %s must be %s, not %s", name, t, typeName(a))
	return reflect.Zero(t)
}

var (
	goTime     = reflect.TypeFor[time.Time]()
	goDuration = reflect.TypeFor[time.Duration]()
)

// typeOf gives the static type of a Go type.
func (e *Env) typeOf(t reflect.Type) typ {
	switch t {
	case goTime:
		return timeType
	case goDuration:
		return typ{kind: durationKind}
	}
	o := e.object(t)
	switch t.Kind() {
	case reflect.Bool:
		return typ{kind: boolKind}
	case reflect.String:
		return stringType
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return typ{kind: intKind, obj: o}
	case reflect.Float32, reflect.Float64:
		return typ{kind: floatKind}
	case reflect.Slice, reflect.Array:
		elem := e.typeOf(t.Elem())
		return typ{kind: listKind, elem: &elem, obj: o}
	case reflect.Map:
		elem := e.typeOf(t.Elem())
		return typ{kind: mapKind, elem: &elem, obj: o}
	}
	if o != nil {
		return typ{kind: objectKind, obj: o}
	}
	return typ{}
}

// object finds the members of a Go type: in e, or among those that are always there.
func (e *Env) object(t reflect.Type) *object {
	if e != nil && e.types[t] != nil {
		return e.types[t]
	}
	return known().types[t]
}

func (e *Env) variable(name string) (value, bool) {
	if e != nil {
		for _, v := range e.vars {
			if v.name == name {
				return v.val, true
			}
		}
	}
	return value{}, false
}

func (e *Env) names() []string {
	var names []string
	if e != nil {
		for _, v := range e.vars {
			names = append(names, v.name)
		}
	}
	return names
}

// known describes the alert below evt.Overflow, the records of Lookups, the
// findings of a WAF, and web requests.
var known = sync.OnceValue(func() *Env {
	return NewEnv().
		Type(AlertMembers()...).
		Type(appsecMembers()...).
		Type(RequestMembers()...).
		Type(addressMembers()...).
		Type(lookupMembers()...).
		Type(ctiMembers()...)
})

// overflow is evt.Overflow, which a log event has, too: an empty one, whose
// Alert is nil.
var overflow = dynamic(typ{kind: objectKind, obj: &object{
	name: "evt.Overflow",
	members: map[string]Member{
		"Mapkey":      Field("Mapkey", func(x *Ctx) string { return x.Mapkey }),
		"BucketId":    Field("BucketId", func(x *Ctx) string { return x.Mapkey }),
		"Whitelisted": Field("Whitelisted", func(x *Ctx) bool { return x.Alert != nil && x.Event.Whitelisted }),
		"Reprocess":   Field("Reprocess", func(x *Ctx) bool { return x.Reprocess }),
		"Alert":       Field("Alert", func(x *Ctx) *decisions.Alert { return x.Alert }),
		"APIAlerts":   Field("APIAlerts", (*Ctx).alerts),
		"Sources": Field("Sources", func(x *Ctx) map[string]*decisions.Source {
			m := make(map[string]*decisions.Source, len(x.Sources))
			for i, a := range x.alerts() {
				if i < len(x.Sources) {
					m[x.Sources[i]] = &a.Source
				}
			}
			return m
		}),
		"GetSources": Method("GetSources", func(x *Ctx) []string { return x.Sources }),
	},
}}, func(x *Ctx) any { return x })

// alerts are those of an overflow, one for each source.
func (x *Ctx) alerts() []*decisions.Alert {
	if len(x.Alerts) == 0 && x.Alert != nil {
		return []*decisions.Alert{x.Alert}
	}
	l := make([]*decisions.Alert, len(x.Alerts))
	for i := range l {
		l[i] = &x.Alerts[i]
	}
	return l
}

// AlertMembers are the members of an alert that content and profiles use, for
// Env.Var: the fields of the LAPI model under their names there.
func AlertMembers() []Member {
	type (
		alert  = *decisions.Alert
		source = *decisions.Source
		ev     = *decisions.Event
		pair   = decisions.KeyValue

		decision = *decisions.Decision
	)
	meta := func(l []pair, key string) string {
		for _, kv := range l {
			if kv.Key == key {
				return kv.Value
			}
		}
		return ""
	}
	return []Member{
		Field("Remediation", func(a alert) bool { return a.Remediation }),
		Field("Simulated", func(a alert) bool { return a.Simulated }),
		Field("Scenario", func(a alert) string { return a.Scenario }),
		Field("ScenarioHash", func(a alert) string { return a.ScenarioHash }),
		Field("ScenarioVersion", func(a alert) string { return a.ScenarioVersion }),
		Field("Message", func(a alert) string { return a.Message }),
		Field("Kind", func(a alert) string { return a.Kind }),
		Field("MachineID", func(a alert) string { return a.MachineID }),
		Field("UUID", func(a alert) string { return a.UUID }),
		Field("ID", func(a alert) int64 { return a.ID }),
		Field("Capacity", func(a alert) int32 { return a.Capacity }),
		Field("Leakspeed", func(a alert) string { return a.Leakspeed }),
		Field("EventsCount", func(a alert) int32 { return a.EventsCount }),
		Field("CreatedAt", func(a alert) string { return a.Created.UTC().Format(time.RFC3339) }),
		Field("StartAt", func(a alert) string { return a.StartAt.Format(time.RFC3339Nano) }),
		Field("StopAt", func(a alert) string { return a.StopAt.Format(time.RFC3339Nano) }),
		Field("Source", func(a alert) source { return &a.Source }),
		Field("Events", func(a alert) []ev {
			l := make([]ev, len(a.Events))
			for i := range a.Events {
				l[i] = &a.Events[i]
			}
			return l
		}),
		Field("Meta", func(a alert) []pair { return a.Meta }),
		Field("Labels", func(alert) []string { return nil }), // of the LAPI model; nothing fills it
		Field("Decisions", func(a alert) []*decisions.Decision {
			l := make([]*decisions.Decision, len(a.Decisions))
			for i := range l {
				l[i] = &a.Decisions[i]
			}
			return l
		}),
		Method2("FormatAsStrings", func(a alert, machine string, _ any) []string { return describe(a, machine) }),
		Method("GetScope", func(a alert) string { return a.Source.Scope }),
		Method("GetValue", func(a alert) string { return a.Source.Value }),
		Method("GetScenario", func(a alert) string { return a.Scenario }),
		Method("GetEventsCount", func(a alert) int32 { return a.EventsCount }),
		Method1("GetMeta", func(a alert, key string) string { return meta(a.Meta, key) }),

		Field("IP", func(s source) string { return s.IP }),
		Field("Range", func(s source) string { return s.Range }),
		Field("AsNumber", func(s source) string { return s.ASNumber }),
		Field("AsName", func(s source) string { return s.ASName }),
		Field("Cn", func(s source) string { return s.Country }),
		Field("Scope", func(s source) string { return s.Scope }),
		Field("Value", func(s source) string { return s.Value }),
		Field("Latitude", func(s source) float32 { return s.Latitude }),
		Field("Longitude", func(s source) float32 { return s.Longitude }),
		Method("GetScope", func(s source) string { return s.Scope }),
		Method("GetValue", func(s source) string { return s.Value }),
		Method("GetAsNumberName", func(s source) string { return s.ASNumber + " " + s.ASName }),
		Method("String", func(s source) string { return s.Scope + ":" + s.Value }),

		Field("Timestamp", func(e ev) string { return e.Timestamp }),
		Field("Meta", func(e ev) []pair { return e.Meta }),
		Method1("GetMeta", func(e ev, key string) string { return meta(e.Meta, key) }),

		Field("ID", func(d decision) int64 { return d.ID }),
		Field("UUID", func(d decision) string { return d.UUID }),
		Field("Origin", func(d decision) string { return d.Origin }),
		Field("Scenario", func(d decision) string { return d.Scenario }),
		Field("Scope", func(d decision) string { return d.Scope }),
		Field("Type", func(d decision) string { return d.Type }),
		Field("Value", func(d decision) string { return d.Value }),
		Field("Simulated", func(d decision) bool { return d.Simulated }),
		Field("Duration", func(d decision) string { return d.Until.Sub(d.Created).String() }),
		Field("Until", func(d decision) string { return d.Until.UTC().Format(time.RFC3339) }),

		Field("Key", func(p pair) string { return p.Key }),
		Field("Value", func(p pair) string { return p.Value }),
	}
}

// describe words an alert as the log of upstream does, a line for each decision.
func describe(a *decisions.Alert, machine string) []string {
	src := &a.Source
	about := "by " + strings.ToLower(src.Scope) + " " + src.Value
	if src.Country != "" {
		about += " (" + strings.TrimSuffix(src.Country+"/"+src.ASNumber, "/") + ")"
	}
	about = "(" + machine + "/" + a.Kind + ") " + a.Scenario + " " + about
	if len(a.Decisions) == 0 {
		return []string{about}
	}
	var lines []string
	for i := range a.Decisions {
		d := &a.Decisions[i]
		lines = append(lines, fmt.Sprintf("%s : %s %s on %s %s", about, d.Until.Sub(d.Created), d.Type, d.Scope, d.Value))
	}
	return lines
}

// objectMember is a field of an object.
func (u *unit) objectMember(n *syntax.Member, base value, name string) (value, error) {
	if base.typ.obj == lineType {
		if v, ok := lineFields[name]; ok {
			v.key = "evt.Line." + name
			return v, nil
		}
		return value{}, u.errorf(n, "unknown field evt.Line.%s%s", name, suggest(name, mapKeys(lineFields)))
	}
	m, ok := base.typ.obj.members[name]
	if !ok {
		return value{}, u.errorf(n, "%s has no field %s%s", base.typ, name, suggest(name, mapKeys(base.typ.obj.members)))
	}
	if m.method {
		return value{}, u.errorf(n, "%s is a method: write %s(…)", name, name)
	}
	if base.typ.obj == overflow.typ.obj && (name == "Mapkey" || name == "BucketId") {
		u.asksMapkey = true
	}
	return u.access(base, m, nil, n.Optional), nil
}

// hasMember is name in object, which asks for a field.
func (u *unit) hasMember(n *syntax.Binary, a, b value) (value, error) {
	if a.typ.kind != stringKind && a.typ.kind != anyKind {
		return a, u.mismatch(n, a, b)
	}
	f, g, members := a.boxed(), b.boxed(), b.typ.obj.members
	return boolean(func(x *Ctx) bool {
		k := f(x)
		of := g(x)
		name, ok := k.(string)
		if !ok {
			x.fail("a field has a string for its name, not %s", typeName(k))
		}
		if isNil(of) {
			return false
		}
		m, ok := members[name]
		return ok && !m.method
	}).asRisky(), nil
}

// access reads a member of an object. What is nil has none: that is an error
// at run time, or with ?. the end of the chain.
func (u *unit) access(base value, m Member, args []value, optional bool) value {
	f, fs := base.boxed(), boxes(args)
	optional = optional && u.chains > 0
	isPointer := m.of.Kind() == reflect.Pointer
	owner := func(x *Ctx) (of any, ok bool) {
		of = f(x)
		switch {
		case x.cut:
			return nil, false
		case of != nil && (!isPointer || !isNil(of)):
			return of, true
		case optional:
			x.cut = true
		default:
			x.fail("cannot get %s of nil", m.name)
		}
		return nil, false
	}
	pointer := m.gives.Kind() == reflect.Pointer
	get := func(x *Ctx) any {
		of, ok := owner(x)
		if !ok {
			return nil
		}
		vals := make([]any, len(fs))
		for i, f := range fs {
			vals[i] = f(x)
		}
		if x.failed() {
			return nil
		}
		r := m.get(of, vals)
		if pointer && isNil(r) {
			return nil
		}
		return r
	}
	t := u.Env.typeOf(m.gives)
	if u.chains > 0 && neverNil(value{typ: t}) {
		t = typ{} // the chain may have ended
	}
	v := unboxed(t, get).asRisky()
	entry := func(key string) func(*Ctx) string {
		text := m.text(key)
		return func(x *Ctx) string {
			of, ok := owner(x)
			if !ok {
				return ""
			}
			return text(of)
		}
	}
	switch {
	case m.text != nil && !m.method:
		v.entry = entry
	case m.text != nil && v.str != nil:
		if key, ok := args[0].constText(); ok {
			v.str = entry(key)
		}
	case m.str != nil && v.str != nil:
		v.str = func(x *Ctx) string {
			of, ok := owner(x)
			if !ok {
				return ""
			}
			return m.str(of)
		}
	case m.num != nil && v.int != nil:
		v.int = func(x *Ctx) int64 {
			of, ok := owner(x)
			if !ok {
				return 0
			}
			return int64(m.num(of))
		}
	case m.time != nil && v.typ.kind == timeKind:
		v.time = func(x *Ctx) time.Time {
			of, ok := owner(x)
			if !ok {
				return time.Time{}
			}
			return m.time(of)
		}
	}
	return v
}

// has is true for what can have the member: lists and maps have methods even
// when they are nil.
func (m Member) has(of any) bool {
	return of != nil && (m.of.Kind() != reflect.Pointer || !isNil(of))
}

// dynamicCall calls a method of what has no static type.
func (u *unit) dynamicCall(base value, name string, args []value, optional bool) value {
	f, fs := base.any, boxes(args)
	optional = optional && u.chains > 0
	return dynamic(typ{}, func(x *Ctx) any {
		of := f(x)
		switch {
		case x.cut:
			return nil
		case optional && isNil(of):
			x.cut = true
			return nil
		}
		vals := make([]any, len(fs))
		for i, f := range fs {
			vals[i] = f(x)
		}
		m, ok := x.memberOf(of, name)
		if !ok || !m.method || !m.has(of) || len(m.takes) != len(vals) {
			x.fail("%s has no method %s with %s", typeName(of), name, plural(len(vals)))
		}
		if x.failed() {
			return nil
		}
		return m.get(of, vals)
	}).asRisky()
}

// memberOf finds a member of what has no static type.
func (x *Ctx) memberOf(a any, name string) (m Member, ok bool) {
	if a == nil {
		return m, false
	}
	if o := x.env.object(reflect.TypeOf(a)); o != nil {
		m, ok = o.members[name]
	}
	return m, ok
}

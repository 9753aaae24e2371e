// Package expr compiles the expressions of content and of configuration to
// typed closures. The language is expr-lang's (its grammar is in syntax); types
// are checked while content loads, so a misspelt field or a comparison of a
// text with a number is a load error with its place, and at run time a filter
// is a handful of function calls over the slots of an event which allocate
// nothing.
//
// It knows the event and the helper functions of content (funcs_*.go, one file
// a theme). It reads no file and no network: lists come through Files, the
// stash through Stash, what others know about an address through Lookups.
// Callers: pipeline/node, pipeline/scenario and roles/lapi/profile, which
// brings its own variables in an Env.
package expr

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"cs/decisions"
	"cs/pipeline/event"
	"cs/pipeline/expr/syntax"
	"cs/pipeline/match"
)

// Compiler compiles the expressions of one engine. It is used while content
// loads, by one goroutine. The programs it makes are immutable and shared by
// all workers.
type Compiler struct {
	Schema *event.Schema // where evt's fields get their slots; nil: there is no evt
	Env    *Env          // more names; may be nil
	Files  Files         // the lists of File, RegexpInFile …; nil: there are none

	// Lookups answers GeoIPEnrich, LookupHost …; nil: nothing is known.
	Lookups Lookups

	// Warn is told what is doubtful but no error, for example the name of a
	// data file that is not there. May be nil.
	Warn func(message string)

	regexps     map[string]*match.Program
	regexpFiles map[string]*match.Any
	memos       map[string]int // slots of Ctx.memo by the text of the expression
	questions   int            // slots of Ctx.verdicts
	asksMapkey  bool
}

// AsksMapkey tells whether an expression that was compiled wants to know the name of
// the bucket behind an overflow.
func (c *Compiler) AsksMapkey() bool { return c.asksMapkey }

// Files gives expressions the data files of content, which are loaded before
// anything is compiled and never change.
type Files interface {
	// Lines returns the lines of a file of type string, without the empty
	// ones and comments. ok is false when there is no such file.
	Lines(name string) (lines []string, ok bool)
	// Regexps returns the expressions of a file of type regexp.
	Regexps(name string) (exprs []string, ok bool)
	// Rows returns the rows of a file of type map.
	Rows(name string) (rows []map[string]string, ok bool)
	// Bots returns the rows of a file of type bots.
	Bots(name string) (bots []*Bot, ok bool)
}

// Stash is the memory that outlives events (spec: engine §2.8).
type Stash interface {
	// Get returns the value of a key, "" when it is absent or expired.
	Get(cache, key string) string
	// Set remembers a value for a time, if there is such a cache.
	Set(cache, key, value string, ttl time.Duration)
}

// Ctx is what expressions see at run time. It belongs to one worker, which
// keeps it: it holds the scratch memory that makes evaluation free of
// allocations. The zero value with the fields that the programs need is ready.
type Ctx struct {
	Event   *event.Event     // evt
	Machine *match.Machine   // scratch of regular expressions; made on first use when nil
	Alert   *decisions.Alert // evt.Overflow.Alert: not nil makes evt an overflow event
	Sources []string         // whom the overflow is about, for ParseIPSources
	Stage   string           // evt.Stage: where the event is in the parsers
	Now     time.Time        // what TimeNow and now() tell; zero asks the system
	Stash   Stash            // what GetFromStash reads; may be nil

	// The rest of evt.Overflow: all its alerts, whose sources have the keys
	// Sources; the name of its bucket; whether it comes back as an event.
	Alerts    []decisions.Alert
	Mapkey    string
	Reprocess bool

	Appsec *Appsec // evt.Appsec; nil: the event has nothing to do with a WAF

	// Log gets what LogInfo says; may be nil.
	Log func(message string)

	// Vars holds the variables of an Env in the order of its Var calls.
	Vars []any

	err    error
	cut    bool // an optional chain (?.) ended early
	locals []local
	memo   []memo
	parsed parsed

	verdicts []*verdicts // by question
	epoch    uint64      // counts lines: a memo of another epoch is void
	seen     *event.Event
	line     uint32
	arena    *event.Event // Event, or a scratch one that lends its arena
	strs     []string     // lists made by Split and the like, valid for one evaluation
	anys     []any        // likewise by filter and map
	times    []time.Time  // likewise
	sorted   byTime       // times that are being sorted
	diffs    []time.Duration
	sets     []uint64 // a stack of the sets that indexes work with
	res      map[string]*match.Program
	xml      *documents // made on first use
	env      *Env       // of the program that runs
}

// maxStrs bounds what Ctx.strs keeps from one evaluation to the next.
const maxStrs = 1 << 14

// local is a variable of let, or the current element of a loop.
type local struct {
	b   bool
	s   string
	i   int64 // also the index of a loop
	f   float64
	l   []string // the list that a loop walks, when it is one of strings
	a   any
	src any // the list that a loop walks; nil: list
	acc any // what reduce has so far

	list []any // a list, or one that a loop walks
}

// Program is a compiled expression, safe for concurrent use.
type Program struct {
	src    string
	val    value
	text   func(*Ctx) (string, bool)
	env    *Env
	locals int
	memos  int
	acts   bool // it may change the event

	failure atomic.Pointer[evalError] // the last one with a constError
}

// ErrNotBool is the error of Bool when an expression without a static type
// gives something else.
var ErrNotBool = errors.New("the result is not a boolean")

// Compile compiles src. Unknown names and type errors are reported here, with
// their place in src and a suggestion.
func (c *Compiler) Compile(src string) (*Program, error) {
	p, err := c.compile(src)
	if err != nil {
		return nil, fmt.Errorf("cannot compile expression: %w", err)
	}
	return p, nil
}

// CompileBool compiles a condition: an expression that can't be a boolean is
// an error, too.
func (c *Compiler) CompileBool(src string) (*Program, error) {
	p, err := c.Compile(src)
	if err != nil {
		return nil, err
	}
	if k := p.val.typ.kind; k != boolKind && k != anyKind {
		return nil, fmt.Errorf("cannot compile expression: a condition gives a bool, this gives %s: %s", p.val.typ, src)
	}
	return p, nil
}

func (c *Compiler) compile(src string) (*Program, error) {
	tree, err := syntax.Parse(src)
	if err != nil {
		return nil, err
	}
	u := &unit{Compiler: c, src: src}
	v, err := u.node(tree)
	if err != nil {
		return nil, err
	}
	return &Program{src: src, val: v, text: textOf(v), env: c.Env, locals: u.maxLocals, memos: len(c.memos), acts: u.acts}, nil
}

// unit is the compilation of one expression.
type unit struct {
	*Compiler
	src       string
	lets      []let
	loops     []*loop
	chains    int
	acts      bool
	nlocals   int
	maxLocals int
}

// let is a name that the expression declares.
type let struct {
	name string
	val  value
}

// errorf makes a load error that shows its place.
func (u *unit) errorf(n syntax.Node, format string, args ...any) error {
	return syntax.ErrorAt(u.src, n.Where().Pos, format, args...)
}

// written returns a node as it stands in the source, for errors at run time.
func (u *unit) written(n syntax.Node) string { return n.Where().Text(u.src) }

// local reserves a place in Ctx.locals until release.
func (u *unit) local() int {
	u.nlocals++
	u.maxLocals = max(u.maxLocals, u.nlocals)
	return u.nlocals - 1
}

func (u *unit) release() { u.nlocals-- }

// String returns the source.
func (p *Program) String() string { return p.src }

// Field returns the field that the expression names, if it is no more than that.
func (p *Program) Field() (event.Slot, bool) {
	if p.val.slot == nil {
		return 0, false
	}
	return *p.val.slot, true
}

// Acts tells whether the expression may change the event.
func (p *Program) Acts() bool { return p.acts }

// Bool evaluates a condition.
func (p *Program) Bool(x *Ctx) (bool, error) {
	x.begin(p)
	var b bool
	switch {
	case p.val.bool != nil:
		b = p.val.bool(x)
	case p.val.any != nil:
		a := p.val.any(x)
		var ok bool
		if b, ok = a.(bool); !ok && x.err == nil {
			x.err = ErrNotBool
		}
	default:
		x.err = ErrNotBool
	}
	if x.err != nil {
		return false, p.failed(x)
	}
	return b, nil
}

// Text evaluates to the text of a static (spec: engine §2.5): ok is false when
// there is nothing to set, because the result is nil or of a kind that is
// skipped. A result that must end the parsing of the event gives a StaticError.
// The text is valid until the event's next Reset.
func (p *Program) Text(x *Ctx) (text string, ok bool, err error) {
	x.begin(p)
	if p.val.str != nil {
		text, ok = p.val.str(x), true
	} else {
		text, ok = p.text(x)
	}
	if x.err != nil {
		return "", false, p.failed(x)
	}
	if x.Event == nil {
		text = strings.Clone(text) // the scratch arena is used again at the next evaluation
	}
	return text, ok, nil
}

// Any evaluates to whatever the expression gives. Texts in it are valid until
// the event's next Reset.
func (p *Program) Any(x *Ctx) (any, error) {
	x.begin(p)
	a := p.val.boxed()(x)
	if x.err != nil {
		return nil, p.failed(x)
	}
	return keep(a, x.Event == nil), nil
}

// failed words the error of a run.
func (p *Program) failed(x *Ctx) error {
	err := x.err
	x.err = nil
	if c, ok := err.(constError); ok {
		if e := p.failure.Load(); e != nil && e.cause == c {
			return e
		}
		e := &evalError{p.src, c}
		p.failure.Store(e)
		return e
	}
	return &evalError{p.src, err}
}

// constError is a cause that an expression may fail for with each line, because
// something is not installed: it costs no allocation.
type constError string

func (e constError) Error() string { return string(e) }

// evalError says which expression failed. Some fail for each line: it is not worded
// before somebody reads it.
type evalError struct {
	src   string
	cause error
}

func (e *evalError) Error() string { return "cannot evaluate " + e.src + ": " + e.cause.Error() }
func (e *evalError) Unwrap() error { return e.cause }

// begin makes the scratch memory ready for one evaluation. All but the first
// for a line find everything in place.
func (x *Ctx) begin(p *Program) {
	x.strs, x.cut = x.strs[:0], false
	if len(x.anys)+len(x.times) > 0 {
		x.forgetLists()
	}
	if x.env != p.env {
		x.env = p.env
	}
	if x.Event == nil || x.seen != x.Event || x.line != x.Event.Lines() || len(x.locals) < p.locals || len(x.memo) < p.memos {
		x.prepare(p)
	}
}

// prepare is begin for another line, or for a program that needs more memory
// than those before it.
func (x *Ctx) prepare(p *Program) {
	if x.strs == nil || cap(x.strs) > maxStrs {
		x.strs = make([]string, 0, 16) // never nil: an empty list is not nil
	}
	if len(x.locals) < p.locals {
		x.locals = append(x.locals, make([]local, p.locals-len(x.locals))...)
	}
	if len(x.memo) < p.memos {
		x.memo = append(x.memo, make([]memo, p.memos-len(x.memo))...)
	}
	if x.Machine == nil {
		x.Machine = new(match.Machine)
	}
	if x.Event == nil {
		if x.arena == nil || x.seen != nil {
			x.seen, x.arena = nil, event.New(event.NewSchema())
		}
		x.arena.Reset(event.Line{})
		x.epoch++
	} else if n := x.Event.Lines(); x.seen != x.Event || x.line != n {
		x.seen, x.arena, x.line = x.Event, x.Event, n
		x.epoch++
	}
}

// list returns room for a list of n elements that is valid for this evaluation.
func (x *Ctx) list(n int) []any {
	at := len(x.anys)
	if at+n > maxStrs {
		return make([]any, n)
	}
	x.anys = slices.Grow(x.anys, n)[:at+n]
	return x.anys[at : at+n : at+n]
}

// moments is list for times.
func (x *Ctx) moments(n int) []time.Time {
	at := len(x.times)
	if at+n > maxStrs {
		return make([]time.Time, n)
	}
	x.times = slices.Grow(x.times, n)[:at+n]
	return x.times[at : at+n : at+n]
}

// forgetLists makes room for those of the next evaluation.
func (x *Ctx) forgetLists() {
	clear(x.anys) // or documents of a line live as long as nobody makes a list as long
	x.anys, x.times = x.anys[:0], x.times[:0]
}

// Forget makes memos void, as another line does: texts that variables lead to
// were changed in place.
func (x *Ctx) Forget() { x.epoch++ }

// fail records the first error of an evaluation, which goes on with zero
// values: cheaper than an error result on every closure. Functions with
// effects look at failed before they act.
func (x *Ctx) fail(format string, args ...any) {
	if x.err == nil {
		x.err = fmt.Errorf(format, args...)
	}
}

func (x *Ctx) failed() bool { return x.err != nil }

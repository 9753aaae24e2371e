package node

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gaissmai/bart"

	"cs/decisions"
	"cs/pipeline/enrich"
	"cs/pipeline/event"
	"cs/pipeline/expr"
	"cs/pipeline/grok"
	"cs/pipeline/hub"
	"cs/platform/strict"
)

// document is the YAML of a node. Keys that only describe are
// known, so that they are no mistakes.
type document struct {
	Name          strict.Text    `yaml:"name"`
	Author        string         `yaml:"author"`
	Description   string         `yaml:"description"`
	References    []string       `yaml:"references"`
	Format        strict.Text    `yaml:"format"`
	Debug         bool           `yaml:"debug"`
	Profiling     bool           `yaml:"profiling"`
	Stage         string         `yaml:"stage"`
	Filter        strict.Text    `yaml:"filter"`
	OnSuccess     strict.Text    `yaml:"onsuccess"`
	PatternSyntax strict.Map     `yaml:"pattern_syntax"`
	Grok          grokDoc        `yaml:"grok"`
	Stash         []stashDoc     `yaml:"stash"`
	Nodes         []document     `yaml:"nodes"`
	Statics       []staticDoc    `yaml:"statics"`
	Whitelist     whitelistDoc   `yaml:"whitelist"`
	Data          []hub.DataFile `yaml:"data"`

	// Upstream's cscli writes these, empty, when it makes a parser of the
	// override_statics of a hub test.
	EnrichFunctions map[string]any `yaml:"enrichfunctions"`
}

type grokDoc struct {
	Name       strict.Text `yaml:"name"`
	Pattern    strict.Text `yaml:"pattern"`
	ApplyOn    strict.Text `yaml:"apply_on"`
	Expression strict.Text `yaml:"expression"`
	Statics    []staticDoc `yaml:"statics"`
}

type staticDoc struct {
	Method     strict.Text `yaml:"method"`
	Meta       strict.Text `yaml:"meta"`
	Parsed     strict.Text `yaml:"parsed"`
	Enriched   strict.Text `yaml:"enriched"`
	Target     strict.Text `yaml:"target"`
	Value      strict.Text `yaml:"value"`
	Expression strict.Text `yaml:"expression"`

	RuntimeValue strict.Text `yaml:"runtimevalue"` // see document.EnrichFunctions
}

type stashDoc struct {
	Name     strict.Text   `yaml:"name"`
	Key      strict.Text   `yaml:"key"`
	Value    strict.Text   `yaml:"value"`
	TTL      time.Duration `yaml:"ttl"`
	Size     int           `yaml:"size"`
	Strategy string        `yaml:"strategy"`
}

type whitelistDoc struct {
	Reason     string        `yaml:"reason"`
	IP         []strict.Text `yaml:"ip"`
	CIDR       []strict.Text `yaml:"cidr"`
	Expression []strict.Text `yaml:"expression"`
}

// Compiler compiles the parsers of one engine, in loading order: they share
// the name space of Grok.
type Compiler struct {
	Expr    *expr.Compiler
	Grok    *grok.Library
	Files   *hub.Files
	Stashes *Stashes
	Lookups *enrich.Lookups // of enrichment methods; nil: nothing is known

	// Warn is told what is doubtful but no error. May be nil.
	Warn func(message string)

	stages  map[string][]*Node
	checked bool // Lookups have been
	names   bool // a static asks for those of an address
	stashes bool // there are stashes
}

// Add compiles the documents of a parser. A faulty one is left out and named
// by an error, the others are used.
func (c *Compiler) Add(item hub.Item) []error {
	docs, err := item.Documents()
	if err != nil {
		return []error{fmt.Errorf("cannot load %s: %w", item.Kind, err)}
	}
	var errs []error
	for _, d := range docs {
		var doc document
		err := d.Decode(&doc)
		if err == nil && doc.Name.Value == "" && doc.Description == "" && doc.Author == "" {
			continue // as upstream: not meant to be a parser
		}
		var n *Node
		if err == nil {
			n, err = c.top(&doc, d.Place())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot load %s: %w", item.Kind, err))
			continue
		}
		if c.stages == nil {
			c.stages = map[string][]*Node{}
		}
		c.stages[item.Stage] = append(c.stages[item.Stage], n)
	}
	return errs
}

// Stages returns what has been added: the stages that have a node, in byte
// order of their names.
func (c *Compiler) Stages() *Stages {
	s := &Stages{waits: c.names && !c.stashes}
	for name := range c.stages {
		s.names = append(s.names, name)
	}
	slices.Sort(s.names)
	for _, name := range s.names {
		nodes := c.stages[name]
		s.nodes = append(s.nodes, nodes)
		s.index = append(s.index, index(nodes))
		s.lists = append(s.lists, join(nodes))
		s.number(name, nodes)
	}
	return s
}

// join makes one index for the whitelists of a stage, nil if there are not several
// with expressions.
func join(nodes []*Node) *expr.Index {
	var all []*expr.Program
	var lists []*whitelist
	for _, n := range nodes {
		if n.whitelist != nil && len(n.whitelist.progs) > 0 {
			n.whitelist.first = len(all)
			all, lists = append(all, n.whitelist.progs...), append(lists, n.whitelist)
		}
	}
	if len(lists) < 2 {
		return nil
	}
	for _, w := range lists {
		w.exprs = nil
	}
	return expr.NewIndex(all)
}

// minIndexed is the number of nodes from which on an index over their filters
// pays. A machine with the parsers of its own services has fewer in a stage,
// one with all of the public hub 140.
const minIndexed = 16

func index(nodes []*Node) *expr.Index {
	if len(nodes) < minIndexed {
		return nil
	}
	filters := make([]*expr.Program, len(nodes))
	for i, n := range nodes {
		filters[i] = n.filter
	}
	return expr.NewIndex(filters)
}

func (c *Compiler) warn(at strict.Place, format string, args ...any) {
	if c.Warn != nil {
		c.Warn(at.Errorf(format, args...).Error())
	}
}

// top compiles a document.
func (c *Compiler) top(doc *document, at strict.Place) (*Node, error) {
	if f := doc.Format; f.Value != "" {
		if v, err := strconv.ParseFloat(f.Value, 64); err != nil || v < 1 || v > 3 {
			return nil, f.Place.Errorf("format %q is none of 1.0 to 3.0", f.Value)
		}
	}
	for _, d := range doc.Data {
		if err := c.Files.Load(d); err != nil && c.Warn != nil {
			c.Warn(err.Error()) // upstream goes on without the file, too
		}
	}
	return c.node(doc, doc.Name.Value, at)
}

func (c *Compiler) node(doc *document, name string, at strict.Place) (*Node, error) {
	if doc.Name.Value != "" {
		at = doc.Name.Place
	}
	n := &Node{name: name, file: at.File}
	var err error
	if n.filter, err = c.condition(doc.Filter); err != nil {
		return nil, err
	}
	n.acts = n.filter != nil && n.filter.Acts()
	switch doc.OnSuccess.Value {
	case "next_stage":
		n.next = true
	case "", "continue":
	default:
		return nil, doc.OnSuccess.Place.Errorf("%q is neither next_stage nor continue", doc.OnSuccess.Value)
	}
	for _, p := range doc.PatternSyntax {
		err := c.Grok.Define(p.Key, p.Value.Value)
		if errors.Is(err, grok.ErrDefined) {
			c.warn(p.Value.Place, "the pattern is defined already, its first definition stays")
		} else if err != nil {
			return nil, p.Value.Place.Errorf("%w", err)
		}
	}
	if n.grok, err = c.extraction(&doc.Grok); err != nil {
		return nil, err
	}
	if n.stash, err = c.stash(doc.Stash, at); err != nil {
		return nil, err
	}
	for i := range doc.Nodes {
		child := &doc.Nodes[i]
		childName := child.Name.Value
		if childName == "" {
			childName = "child-" + name
		}
		k, err := c.node(child, childName, at)
		if err != nil {
			return nil, err
		}
		n.children = append(n.children, k)
	}
	if n.statics, err = c.statics(doc.Statics, at, true); err != nil {
		return nil, err
	}
	if n.whitelist, err = c.whitelist(&doc.Whitelist); err != nil {
		return nil, err
	}
	n.siblings = siblingsOf(n.children)
	if n.grok == nil && n.children == nil && n.statics == nil && n.whitelist == nil {
		return nil, at.Errorf("node is empty: it has no grok, nodes, statics or whitelist")
	}
	return n, nil
}

// condition compiles a filter, nil if there is none.
func (c *Compiler) condition(t strict.Text) (*expr.Program, error) {
	if t.Value == "" {
		return nil, nil
	}
	p, err := c.Expr.CompileBool(t.Value)
	if err != nil {
		return nil, t.Place.Errorf("%w", err)
	}
	return p, nil
}

func (c *Compiler) program(t strict.Text) (*expr.Program, error) {
	p, err := c.Expr.Compile(t.Value)
	if err != nil {
		return nil, t.Place.Errorf("%w", err)
	}
	return p, nil
}

func (c *Compiler) slot(space event.Space, t strict.Text) (event.Slot, error) {
	s, err := c.Expr.Schema.Intern(space, t.Value)
	if err != nil {
		return 0, t.Place.Errorf("%w", err)
	}
	return s, nil
}

func (c *Compiler) extraction(doc *grokDoc) (*extraction, error) {
	apply, pattern := doc.ApplyOn, doc.Name
	if pattern.Value == "" {
		pattern = doc.Pattern
	}
	switch {
	case pattern.Value == "" && apply.Value != "":
		return nil, apply.Place.Errorf("grok has neither name nor pattern")
	case pattern.Value == "":
		return nil, nil
	case apply.Value == "" && doc.Expression.Value == "":
		return nil, pattern.Place.Errorf("grok has neither apply_on nor expression")
	}
	g := &extraction{}
	var err error
	if doc.Name.Value != "" {
		g.pattern, err = c.Grok.CompileName(doc.Name.Value)
	} else {
		g.pattern, err = c.Grok.Compile(doc.Pattern.Value)
	}
	if err != nil {
		return nil, pattern.Place.Errorf("%w", err)
	}
	switch {
	case apply.Value == "Line.Raw":
		g.raw = true
	case apply.Value != "":
		g.from, err = c.slot(event.Parsed, apply)
	default:
		g.expr, err = c.program(doc.Expression)
	}
	if err != nil {
		return nil, err
	}
	for _, f := range g.pattern.Fields {
		s, err := c.slot(event.Parsed, strict.Text{Value: f, Place: pattern.Place})
		if err != nil {
			return nil, err
		}
		g.slots = append(g.slots, s)
	}
	g.statics, err = c.statics(doc.Statics, pattern.Place, false)
	return g, err
}

// statics compiles assignments. Upstream does not check those of a grok: what
// lacks something there has no effect.
func (c *Compiler) statics(docs []staticDoc, at strict.Place, check bool) ([]static, error) {
	var out []static
	for i := range docs {
		d := &docs[i]
		for _, t := range []strict.Text{d.Method, d.Meta, d.Parsed, d.Target, d.Enriched, d.Value, d.Expression} {
			if t.Value != "" {
				at = t.Place // nearer than that of the node
			}
		}
		s := static{value: d.Value.Value}
		ok, err := c.dest(&s, d)
		if err != nil {
			return nil, err
		}
		if check && (!ok || d.Method.Value == "" && d.Meta.Value == "" && d.Parsed.Value == "" && d.Target.Value == "") {
			return nil, at.Errorf("static has no method, meta, parsed or target")
		}
		if s.value == "" && d.Expression.Value == "" {
			if check {
				return nil, at.Errorf("static has neither value nor expression")
			}
			ok = ok && s.dest == viaParseDate // of nothing, which is now
		}
		if s.value == "" && d.Expression.Value != "" {
			if s.expr, err = c.program(d.Expression); err != nil {
				return nil, err
			}
			s.from = fromExpr
			if slot, ok := s.expr.Field(); ok { // most are: copying is much faster than running a program
				s.from, s.field = fromField, slot
			}
		}
		if ok && s.dest != toNothing {
			out = append(out, s)
		}
	}
	if out == nil && len(docs) > 0 {
		out = []static{} // there were some: the node is not empty
	}
	return out, nil
}

// dest finds out where a static goes; ok is false if it says nothing.
func (c *Compiler) dest(s *static, d *staticDoc) (ok bool, err error) {
	switch {
	case d.Method.Value != "":
		return true, c.method(s, d.Method)
	case d.Parsed.Value != "":
		s.slot, err = c.slot(event.Parsed, d.Parsed)
	case d.Meta.Value != "":
		s.slot, err = c.slot(event.Meta, d.Meta)
	case d.Enriched.Value != "":
		s.slot, err = c.slot(event.Enriched, d.Enriched)
	case d.Target.Value != "":
		return true, c.target(s, d.Target)
	default:
		return false, nil
	}
	return true, err
}

func (c *Compiler) method(s *static, t strict.Text) (err error) {
	switch t.Value {
	case "ParseDate":
		s.dest = viaParseDate
		s.slot, err = c.slot(event.Enriched, strict.Text{Value: "MarshaledTime", Place: t.Place})
		return err
	case "UnmarshalJSON":
		s.dest = viaJSON
		return nil
	}
	if c.Lookups == nil {
		c.Lookups = enrich.NewLookups(enrich.Settings{})
	}
	run, ok, err := c.Lookups.Method(t.Value, c.Expr.Schema)
	if err != nil {
		return t.Place.Errorf("%w", err)
	}
	if !ok {
		c.warn(t.Place, "unknown method %s sets nothing", t.Value)
		s.dest = toNothing
		return nil
	}
	c.names = c.names || t.Value == "reverse_dns"
	if t.Value != "reverse_dns" && !c.checked {
		c.checked = true
		for _, err := range c.Lookups.Check() { // upstream goes on without them, too
			c.warn(t.Place, "%v", err)
		}
	}
	s.dest, s.run = viaMethod, run
	return nil
}

func (c *Compiler) target(s *static, t strict.Text) (err error) {
	name := strings.TrimPrefix(t.Value, "evt.")
	if d, ok := targets[name]; ok {
		s.dest = d
		return nil
	}
	if s.alert = alertTargets[name]; s.alert != nil {
		s.dest = toAlert
		return nil
	}
	if key, ok := strings.CutPrefix(name, "Line.Labels."); ok && key != "" {
		s.dest = toLabel
		s.key, _, _ = strings.Cut(key, ".")
		return nil
	}
	space, key, _ := strings.Cut(name, ".")
	key, _, _ = strings.Cut(key, ".") // evt.Parsed.a.b sets Parsed["a"]
	if key != "" {
		for _, sp := range []event.Space{event.Parsed, event.Meta, event.Enriched, event.Unmarshaled} {
			if space == sp.String() {
				if sp == event.Unmarshaled {
					s.dest = toDoc
				}
				s.slot, err = c.slot(sp, strict.Text{Value: key, Place: t.Place})
				return err
			}
		}
	}
	c.warn(t.Place, "%q is nothing that a text can be assigned to", t.Value) // upstream goes on without it, too
	s.dest = toNothing
	return nil
}

func (c *Compiler) stash(docs []stashDoc, at strict.Place) (out []stash, err error) {
	for i := range docs {
		d := &docs[i]
		if d.Name.Value == "" || d.Key.Value == "" || d.Value.Value == "" || d.TTL <= 0 {
			return nil, at.Errorf("stash needs name, key, value and a ttl above zero")
		}
		c.stashes = true
		s := stash{ttl: d.TTL}
		if s.key, err = c.program(d.Key); err != nil {
			return nil, err
		}
		if s.value, err = c.program(d.Value); err != nil {
			return nil, err
		}
		size := d.Size
		if size <= 0 {
			size = defaultStashSize
		}
		switch d.Strategy {
		case "", "LRU", "LFU", "ARC":
		default:
			c.warn(d.Name.Place, "strategy %q is none of LRU, LFU, ARC: LRU is used", d.Strategy)
		}
		s.to = c.Stashes.declare(d.Name.Value, size, d.Strategy)
		out = append(out, s)
	}
	return out, nil
}

func (c *Compiler) whitelist(doc *whitelistDoc) (*whitelist, error) {
	if len(doc.IP)+len(doc.CIDR)+len(doc.Expression) == 0 {
		return nil, nil
	}
	w := &whitelist{reason: doc.Reason}
	var err error
	if w.source, err = c.Expr.Schema.Intern(event.Meta, "source_ip"); err != nil {
		return nil, fmt.Errorf("cannot compile whitelist: %w", err)
	}
	for _, t := range slices.Concat(doc.IP, doc.CIDR) {
		p, err := decisions.ParsePrefix(t.Value)
		if err != nil {
			return nil, t.Place.Errorf("%w", err)
		}
		if w.prefixes == nil {
			w.prefixes = new(bart.Table[uint32])
		}
		w.prefixes.Insert(p, 0)
	}
	for _, t := range doc.Expression {
		p, err := c.Expr.CompileBool(t.Value)
		if err != nil {
			return nil, t.Place.Errorf("%w", err)
		}
		w.progs = append(w.progs, p)
		w.acts = w.acts || p.Acts()
	}
	w.exprs = expr.NewIndex(w.progs)
	return w, nil
}

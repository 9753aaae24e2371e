package scenario

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"cs/decisions"
	"cs/pipeline/bucket"
	"cs/pipeline/event"
	"cs/pipeline/expr"
	"cs/pipeline/hub"
	"cs/platform/strict"
)

// document is the YAML of a scenario.
type document struct {
	Format     strict.Text    `yaml:"format"`
	Version    string         `yaml:"version"`
	References []string       `yaml:"references"`
	Type       strict.Text    `yaml:"type"`
	Name       strict.Text    `yaml:"name"`
	Describe   strict.Text    `yaml:"description"`
	Debug      bool           `yaml:"debug"`
	Filter     strict.Text    `yaml:"filter"`
	GroupBy    strict.Text    `yaml:"groupby"`
	Distinct   strict.Text    `yaml:"distinct"`
	CancelOn   strict.Text    `yaml:"cancel_on"`
	Capacity   int            `yaml:"capacity"`
	Leakspeed  time.Duration  `yaml:"leakspeed"`
	Duration   time.Duration  `yaml:"duration"`
	Blackhole  time.Duration  `yaml:"blackhole"`
	CacheSize  int            `yaml:"cache_size"`
	Scope      scopeDoc       `yaml:"scope"`
	Labels     map[string]any `yaml:"labels"`
	Data       []hub.DataFile `yaml:"data"`

	Reprocess bool `yaml:"reprocess"`

	OverflowFilter strict.Text    `yaml:"overflow_filter"`
	Condition      strict.Text    `yaml:"condition"`
	Prior          float64        `yaml:"bayesian_prior"`
	Threshold      float64        `yaml:"bayesian_threshold"`
	Conditions     []conditionDoc `yaml:"bayesian_conditions"`
}

type scopeDoc struct {
	Type       strict.Text `yaml:"type"`
	Expression strict.Text `yaml:"expression"`
}

type conditionDoc struct {
	Condition  strict.Text `yaml:"condition"`
	Evil       float64     `yaml:"prob_given_evil"`
	Benign     float64     `yaml:"prob_given_benign"`
	Guillotine bool        `yaml:"guillotine"`
}

// Compiler compiles the scenarios of one engine.
type Compiler struct {
	// Warn is told what is doubtful but no error. May be nil.
	Warn func(message string)

	// ContextLength bounds a value of an alert's context, in bytes;
	// DefaultContextLength if it is 0 or more than that.
	ContextLength int

	// Mapkeys says that somebody wants to know the names of the buckets that overflow.
	Mapkeys bool

	expr      *expr.Compiler
	condition *expr.Compiler // knows the bucket, too
	overflow  *expr.Compiler // knows the bucket and the overflow, but no event
	context   *expr.Compiler // knows a web request, too
	files     *hub.Files
	codec     codec
	scenarios []*Scenario
	shares    map[[2]string]int
	details   []detail

	simulation simulation
}

// NewCompiler returns a compiler that adds fields to the schema of e, which
// must still have room, and data files to files.
func NewCompiler(e *expr.Compiler, files *hub.Files) *Compiler {
	codec, err := newCodec(e.Schema)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	condition := &expr.Compiler{Schema: e.Schema, Files: e.Files, Lookups: e.Lookups, Env: conditionEnv(e.Schema)}
	overflow := &expr.Compiler{Files: e.Files, Lookups: e.Lookups, Env: overflowEnv(e.Schema)}
	context := &expr.Compiler{Schema: e.Schema, Files: e.Files, Lookups: e.Lookups, Env: contextEnv()}
	return &Compiler{expr: e, condition: condition, overflow: overflow, context: context, files: files, codec: codec, shares: map[[2]string]int{}}
}

// Add compiles the documents of a file. A faulty one is left out and named by
// an error, the others are used.
func (c *Compiler) Add(item hub.Item) []error {
	docs, err := item.Documents()
	if err != nil {
		return []error{fmt.Errorf("cannot load scenario: %w", err)}
	}
	var errs []error
	for _, d := range docs {
		var doc document
		err := d.Decode(&doc)
		var sc *Scenario
		if err == nil {
			sc, err = c.compile(&doc, d.Place())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot load scenario: %w", err))
			continue
		}
		sc.hash, sc.version = item.Hash, item.Version
		c.scenarios = append(c.scenarios, sc)
	}
	return errs
}

// Set returns what has been added, with empty buckets. limits bounds them; its
// Specs are set here. The schema must not grow afterwards.
func (c *Compiler) Set(limits bucket.Config) *Set {
	s := &Set{scenarios: c.scenarios, codec: c.codec, newUUID: decisions.NewUUID, details: c.details, contextLength: c.ContextLength, mapkeys: c.Mapkeys || c.expr.AsksMapkey()}
	if s.contextLength <= 0 || s.contextLength > DefaultContextLength {
		s.contextLength = DefaultContextLength
	}
	s.codec.seal()
	for i := range s.details {
		s.contexts = append(s.contexts, s.details[i].name)
	}
	slices.Sort(s.contexts)
	s.contexts = slices.Compact(s.contexts)
	for i := range s.details {
		s.details[i].list = slices.Index(s.contexts, s.details[i].name)
		if s.details[i].early {
			s.early = append(s.early, i)
		}
	}
	filters := make([]*expr.Program, len(s.scenarios))
	limits.Specs = nil
	members := map[int]int{}
	for i, sc := range s.scenarios {
		filters[i] = sc.filter
		members[sc.spec.Share]++
		limits.Specs = append(limits.Specs, sc.spec)
	}
	for _, sc := range s.scenarios {
		sc.shared = members[sc.spec.Share] > 1
		sc.simulated = c.simulation.covers(sc.name)
		if len(sc.spaces) > 0 {
			sc.fields = s.codec.schema.Of(sc.spaces...)
		}
	}
	s.index = expr.NewIndex(filters)
	s.table = bucket.New(limits)
	return s
}

func (c *Compiler) compile(doc *document, at strict.Place) (*Scenario, error) {
	switch {
	case doc.Name.Value == "":
		return nil, at.Errorf("scenario has no name")
	case doc.Describe.Value == "":
		return nil, doc.Name.Place.Errorf("scenario %s has no description", doc.Name.Value)
	case doc.Filter.Value == "":
		return nil, doc.Name.Place.Errorf("scenario %s has no filter", doc.Name.Value)
	case len(c.scenarios) >= maxScenarios:
		return nil, doc.Name.Place.Errorf("there are more than %d scenarios", maxScenarios)
	}
	if f := doc.Format; f.Value != "" {
		if v, err := strconv.ParseFloat(f.Value, 64); err != nil || v < 1 || v > 3 {
			return nil, f.Place.Errorf("format %q is none of 1.0 to 3.0", f.Value)
		}
	}
	sc := &Scenario{name: doc.Name.Value, kind: doc.Type.Value, filterText: doc.Filter.Value, digest: doc.digest()}
	sc.reprocess = doc.Reprocess
	sc.remediation, _ = doc.Labels["remediation"].(bool)
	if err := c.spec(sc, doc); err != nil {
		return nil, err
	}
	for _, d := range doc.Data {
		if err := c.files.Load(d); err != nil && c.Warn != nil {
			c.Warn(err.Error()) // upstream goes on without the file, too
		}
	}
	var err error
	if sc.filter, err = truth(c.expr, doc.Filter); err != nil {
		return nil, err
	}
	if sc.cancelOn, err = truth(c.expr, doc.CancelOn); err != nil {
		return nil, err
	}
	c.condition.Warn, c.overflow.Warn = c.expr.Warn, c.expr.Warn
	if sc.condition, err = truth(c.condition, doc.Condition); err != nil {
		return nil, err
	}
	sc.least = expr.LeastLen(doc.Condition.Value, "queue.Queue")
	if sc.hypothesis, err = c.hypothesis(doc); err != nil {
		return nil, err
	}
	if sc.overflowIf, err = truth(c.overflow, doc.OverflowFilter); err != nil {
		return nil, err
	}
	sc.spec.Condition = sc.condition != nil || sc.hypothesis != nil
	if sc.hypothesis == nil {
		sc.spec.Least, sc.spec.Last = sc.least, expr.LastOf(doc.Condition.Value, "queue.Queue")
	}
	sc.spec.Most = expr.MostLen(doc.Condition.Value)
	for i := range doc.Conditions {
		sc.spec.Most = max(sc.spec.Most, expr.MostLen(doc.Conditions[i].Condition.Value))
	}
	if most := sc.spec.Kept() + 1; sc.least > most && c.Warn != nil {
		c.Warn(doc.Condition.Place.Errorf("a bucket keeps %d events at most: the condition needs %d", most, sc.least).Error())
	}
	sc.inspects = sc.spec.Condition || sc.overflowIf != nil
	sc.looks(doc)
	if sc.groupBy, err = c.program(doc.GroupBy); err != nil {
		return nil, err
	}
	if sc.distinct, err = c.program(doc.Distinct); err != nil {
		return nil, err
	}
	return sc, c.scope(sc, &doc.Scope)
}

// looks finds out what the expressions about a bucket look at: names that they don't
// mention they can't use.
func (sc *Scenario) looks(doc *document) {
	conditions := doc.Condition.Value
	for _, d := range doc.Conditions {
		conditions += "\n" + d.Condition.Value
	}
	sc.asksEvent = sc.spec.Condition && (strings.Contains(conditions, "evt") || strings.Contains(conditions, "$env"))
	mention := func(name string) bool {
		return strings.Contains(conditions, name) || strings.Contains(doc.OverflowFilter.Value, name)
	}
	for _, space := range []event.Space{event.Parsed, event.Enriched} {
		if mention(space.String()) {
			sc.spaces = append(sc.spaces, space)
		}
	}
	for _, part := range parts {
		if mention(part.name) {
			sc.parts = append(sc.parts, part)
		}
	}
}

// spec checks what the bucket needs to know.
func (c *Compiler) spec(sc *Scenario, doc *document) error {
	at := doc.Name.Place
	sc.spec = bucket.Spec{
		Capacity:  doc.Capacity,
		Leakspeed: doc.Leakspeed,
		Duration:  doc.Duration,
		Blackhole: doc.Blackhole,
		CacheSize: doc.CacheSize,
	}
	switch doc.Type.Value {
	case "leaky":
		sc.spec.Kind = bucket.Leaky
		if doc.Capacity <= 0 || doc.Capacity > math.MaxInt32 {
			return at.Errorf("a leaky scenario needs a capacity above 0, this is %d", doc.Capacity)
		}
		if doc.Leakspeed <= 0 {
			return at.Errorf("a leaky scenario needs a leakspeed above 0, this is %s", doc.Leakspeed)
		}
	case "trigger":
		sc.spec.Kind = bucket.Trigger
		if doc.Capacity != 0 {
			return at.Errorf("a trigger has no capacity, this is %d", doc.Capacity)
		}
	case "conditional":
		sc.spec.Kind = bucket.Conditional
		if doc.Condition.Value == "" {
			return at.Errorf("a conditional scenario needs a condition")
		}
		if doc.Leakspeed <= 0 {
			return at.Errorf("a conditional scenario needs a leakspeed above 0, this is %s", doc.Leakspeed)
		}
		if doc.Capacity < -1 || doc.Capacity > math.MaxInt32 {
			return at.Errorf("a conditional scenario has the capacity -1, this is %d", doc.Capacity)
		}
	case "counter":
		sc.spec.Kind = bucket.Counter
		if doc.Capacity != -1 {
			return at.Errorf("a counter has the capacity -1, this is %d", doc.Capacity)
		}
		if doc.Duration <= 0 {
			return at.Errorf("a counter needs a duration above 0, this is %s", doc.Duration)
		}
	case "bayesian":
		sc.spec.Kind = bucket.Bayesian
		if doc.Capacity != -1 {
			return at.Errorf("a bayesian scenario has the capacity -1, this is %d", doc.Capacity)
		}
		if doc.Leakspeed <= 0 { // upstream loads it and dies with its first event
			return at.Errorf("a bayesian scenario needs a leakspeed above 0, this is %s", doc.Leakspeed)
		}
	case "":
		return at.Errorf("scenario %s has no type", sc.name)
	default:
		return doc.Type.Place.Errorf("unknown type %q, it is one of leaky, trigger, counter, conditional, bayesian", doc.Type.Value)
	}
	who := [2]string{sc.name, doc.Filter.Value}
	sc.leakspeed = doc.Leakspeed.String()
	share, ok := c.shares[who]
	if !ok {
		share = len(c.shares)
		c.shares[who] = share
	}
	sc.spec.Share = share
	return nil
}

func (c *Compiler) scope(sc *Scenario, doc *scopeDoc) (err error) {
	sc.scope = doc.Type.Value
	if sc.scope == "" {
		sc.scope = decisions.ScopeIP
	}
	has := doc.Expression.Value != ""
	switch {
	case sc.scope == decisions.ScopeIP && has:
		return doc.Expression.Place.Errorf("scope Ip takes no expression: its value is the address")
	case sc.scope != decisions.ScopeIP && sc.scope != decisions.ScopeRange && !has:
		return doc.Type.Place.Errorf("scope %s needs an expression for its value", sc.scope)
	}
	sc.scopeValue, err = c.program(doc.Expression)
	return err
}

// truth compiles a filter or condition, nil if there is none.
func truth(c *expr.Compiler, t strict.Text) (*expr.Program, error) {
	if t.Value == "" {
		return nil, nil
	}
	p, err := c.CompileBool(t.Value)
	if err != nil {
		return nil, t.Place.Errorf("%w", err)
	}
	return p, nil
}

// program compiles an expression, nil if there is none.
func (c *Compiler) program(t strict.Text) (*expr.Program, error) {
	if t.Value == "" {
		return nil, nil
	}
	p, err := c.expr.Compile(t.Value)
	if err != nil {
		return nil, t.Place.Errorf("%w", err)
	}
	return p, nil
}

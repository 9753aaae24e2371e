// Package node runs the parsers of content: trees of filters, groks and
// assignments, stage by stage, that turn a raw line into an event with fields.
//
// Its input is the YAML of pipeline/hub; expressions and patterns are compiled
// by pipeline/expr and pipeline/grok. The engine (package pipeline) owns the
// stages and gives each worker a Runner. It knows nothing of scenarios.
//
// It behaves as CrowdSec's parser does, which content relies on. Parsing a line
// allocates nothing.
package node

import (
	"cmp"
	"errors"

	"cs/pipeline/count"
	"cs/pipeline/enrich"
	"cs/pipeline/event"
	"cs/pipeline/expr"
	"cs/pipeline/grok"
	"cs/pipeline/match"
)

// Node is one compiled document of a parser, or a node below one. Immutable.
type Node struct {
	name      string        // "" for a document without one
	file      string        // that it is in
	number    int           // in all the stages
	filter    *expr.Program // nil: all events
	whitelist *whitelist
	grok      *extraction
	stash     []stash
	children  []*Node
	siblings  *siblings // among the children; nil: there are few
	statics   []static
	next      bool // onsuccess: next_stage
	acts      bool // the filter may change the event
}

// Name returns what the document calls itself, "" if it has no name.
func (n *Node) Name() string { return n.name }

// extraction is a grok with where its text comes from and its fields go.
type extraction struct {
	pattern *grok.Pattern
	raw     bool          // the text is the line,
	from    event.Slot    // or this field,
	expr    *expr.Program // or this expression's result if it is not nil
	slots   []event.Slot  // of pattern.Fields
	statics []static
}

// Stages is what a line goes through. Immutable.
type Stages struct {
	names []string
	nodes [][]*Node

	// index has the filters of a stage, nil for a stage with few nodes, whose
	// filters are quicker to ask one by one.
	index []*expr.Index

	// lists has the expressions of the whitelists of a stage, nil where there are
	// not several.
	lists []*expr.Index

	labels []Label // by number of the node
	waits  bool    // see AskNames
}

// Label says what a node is called in numbers about it.
type Label struct {
	Name, Stage string
	Whitelist   bool
	Reason      string // of a whitelist
}

// What is counted of a node; the number of a counter is Counted times that of
// the node, and one of these.
const (
	Passed    = iota // events that passed its filter
	Succeeded        // those that it succeeded with
	Listed           // those that its whitelist lists

	Counted
)

// Labels returns what the nodes are called, those below others included.
func (s *Stages) Labels() []Label { return s.labels }

// number gives numbers to the nodes of a stage.
func (s *Stages) number(stage string, nodes []*Node) {
	for _, n := range nodes {
		n.number = len(s.labels)
		l := Label{Name: n.name, Stage: stage}
		if n.whitelist != nil {
			l.Whitelist, l.Reason = true, n.whitelist.reason
		}
		s.labels = append(s.labels, l)
		s.number(stage, n.children)
	}
}

// AskNames tells whether the stages ask name servers for the names of addresses, and
// leave nothing behind in stashes: they are quicker for several events together.
func (s *Stages) AskNames() bool { return s.waits }

// Len returns the number of documents.
func (s *Stages) Len() (n int) {
	for _, nodes := range s.nodes {
		n += len(nodes)
	}
	return n
}

// Runner runs stages for one worker.
type Runner struct {
	Expr *expr.Ctx // its Event is the one that is parsed

	// Failed is told of run-time errors: the node goes on without what failed.
	// May be nil.
	Failed func(node string, err error)

	// Trace is told how each document of a stage ended, right after it. The
	// event is as the document left it. Nil: nobody asks.
	Trace func(stage string, n *Node, ok bool)

	// MayStash is asked before something is put into a stash; false keeps it
	// out. Nil: it may.
	MayStash func() bool

	// Counts counts what the nodes do: Counted for each of Stages.Labels. Nil:
	// nobody asks.
	Counts *count.Counts

	stages  *Stages
	may     []*expr.Candidates // of stages with an index
	lists   []listed           // by stage
	listed  *listed            // of the stage that runs
	changes uint64             // counts what may have changed the event
	machine match.Machine
	values  []string
	dates   enrich.Dates
	stage   int
}

// NewRunner returns a runner over stages. The schema of the event must be
// complete.
func NewRunner(s *Stages, ctx *expr.Ctx, failed func(node string, err error)) *Runner {
	most := 0
	for _, nodes := range s.nodes {
		for _, n := range nodes {
			most = max(most, n.fields())
		}
	}
	r := &Runner{Expr: ctx, Failed: failed, stages: s, values: make([]string, most)}
	for _, index := range s.index {
		var may *expr.Candidates
		if index != nil {
			may = index.Candidates()
		}
		r.may = append(r.may, may)
	}
	for _, lists := range s.lists {
		var l listed
		if lists != nil {
			l.may = lists.Candidates()
		}
		r.lists = append(r.lists, l)
	}
	return r
}

// fields returns the most fields of a grok in the tree.
func (n *Node) fields() (most int) {
	if n.grok != nil {
		most = len(n.grok.slots)
	}
	for _, c := range n.children {
		most = max(most, c.fields())
	}
	return most
}

// errAborted ends the parse of an event.
var errAborted = errors.New("event can't be parsed")

// Run parses the line of the event and tells whether it was understood: in
// every stage one document at least must succeed. Fields that a failed branch
// set stay set.
func (r *Runner) Run() bool {
	r.stage = 0
	for i, nodes := range r.stages.nodes {
		if r.stage > i {
			continue
		}
		if r.stage < i {
			return false // only nodes that stay in their stage succeeded
		}
		r.Expr.Stage = r.stages.names[i]
		if any, err := r.runStage(i, nodes); !any || err != nil {
			return false
		}
	}
	return true
}

// Pass is an event that goes through the stages beside others.
type Pass struct {
	Event *event.Event
	OK    bool // it has been understood by all stages so far

	stage int
}

// RunAll is Run for several events. A stage sees all of them before the next one
// begins: what a stage consists of fits the nearest caches, all stages don't.
// After each event of a stage, goOn is asked whether to go on at all.
func (r *Runner) RunAll(passes []Pass, goOn func() bool) {
	for k := range passes {
		passes[k].OK, passes[k].stage = true, 0
	}
	for i, nodes := range r.stages.nodes {
		r.Expr.Stage = r.stages.names[i]
		for k := range passes {
			p := &passes[k]
			if !p.OK || p.stage > i {
				continue
			}
			if p.stage < i {
				p.OK = false
				continue
			}
			r.Expr.Event, r.stage = p.Event, i
			any, err := r.runStage(i, nodes)
			p.stage = r.stage
			p.OK = any && err == nil
			if !goOn() {
				return
			}
		}
	}
}

// runStage runs the documents of a stage and tells whether any succeeded.
func (r *Runner) runStage(stage int, nodes []*Node) (any bool, err error) {
	r.listed = &r.lists[stage]
	r.listed.old = true
	may := r.may[stage]
	if r.Trace != nil {
		may = nil // it wants to hear of all
	}
	if may != nil {
		may.Find(r.Expr)
	}
	when := r.changes // for which the candidates were found
	for i := 0; i < len(nodes); i++ {
		if may != nil {
			if when != r.changes {
				may.Renew(r.Expr)
				when = r.changes
			}
			if i = may.Next(i); i < 0 {
				break
			}
		}
		n := nodes[i]
		ok := r.wants(n, may, i)
		if ok {
			if ok, err = n.act(r); err != nil {
				return any, err
			}
		}
		if r.Trace != nil {
			r.Trace(r.stages.names[stage], n, ok)
		}
		any = any || ok
		if ok && n.next || r.stage != stage {
			break
		}
	}
	return any, nil
}

// wants asks the filter of a node, which is the i-th of the candidates.
func (r *Runner) wants(n *Node, may *expr.Candidates, i int) bool {
	var ok bool
	var err error
	if n.acts {
		r.changes++
	}
	switch {
	case may != nil:
		ok, err = may.Test(r.Expr, i)
	case n.filter == nil:
		return true
	default:
		ok, err = n.filter.Bool(r.Expr)
	}
	if err != nil {
		r.failed(n, err)
	}
	return ok && err == nil
}

// run does what the node is for if the event passes its filter. It tells
// whether the node succeeded; an error ends the parse of the event.
func (n *Node) run(r *Runner) (bool, error) {
	if !r.wants(n, nil, 0) {
		return false, nil
	}
	return n.act(r)
}

// act does what the node is for, and counts it.
func (n *Node) act(r *Runner) (bool, error) {
	r.Counts.Add(n.number*Counted + Passed)
	ok, err := n.steps(r)
	if ok {
		r.Counts.Add(n.number*Counted + Succeeded)
	}
	return ok, err
}

// steps takes the steps of a node that follow its filter, in CrowdSec's order:
// whitelist, grok, stash, children, statics.
func (n *Node) steps(r *Runner) (bool, error) {
	listed := false
	if n.whitelist != nil {
		if listed = n.whitelist.apply(n, r); listed {
			r.Counts.Add(n.number*Counted + Listed)
		}
	}
	state, matched := true, false
	if n.grok != nil {
		matched = n.grok.run(n, r)
		state = matched
		if matched {
			if err := n.assign(r, n.grok.statics); err != nil {
				return false, err
			}
		}
	}
	if (n.grok == nil || matched) && len(n.stash) > 0 && (r.MayStash == nil || r.MayStash()) {
		for i := range n.stash {
			n.stash[i].store(n, r)
		}
		r.changes++
	}
	set, tried, known := n.siblings, 0, false
	if r.Trace != nil {
		set = nil
	}
	var found [siblingWords]uint64
	for i, c := range n.children { // also after a failed grok
		if set != nil && set.members[i] {
			if tried >= siblingsTried && !known {
				found, known = [siblingWords]uint64{}, true
				set.find(n.children, r.Expr.Event.Get(set.from), found[:])
			}
			if known && set.refuses(i, found[:]) {
				r.Counts.Add(c.number*Counted + Passed)
				state = state && matched
				continue
			}
			tried++
		} else {
			known = false // it may change the text
		}
		ok, err := c.run(r)
		if err != nil {
			return false, err
		}
		if ok {
			set = nil // as it may
			state = true
			if n.next {
				break
			}
		} else if !matched {
			state = false
		}
	}
	if !state {
		return false, nil
	}
	if n.whitelist == nil || listed {
		if err := n.assign(r, n.statics); err != nil {
			return false, err
		}
	}
	if n.next && r.stage < len(r.stages.nodes)-1 {
		r.stage++
	}
	return true, nil
}

// Stage returns the stage that the event has come to, for Trace.
func (r *Runner) Stage() string {
	if r.stage < len(r.stages.names) {
		return r.stages.names[r.stage]
	}
	return ""
}

func (r *Runner) failed(n *Node, err error) {
	if r.Failed != nil {
		r.Failed(cmp.Or(n.name, n.file), err)
	}
}

// run matches and stores all fields, also those that took no part ("").
func (g *extraction) run(n *Node, r *Runner) bool {
	e := r.Expr.Event
	r.changes++
	var text string
	switch {
	case g.raw:
		text = e.Line.Raw
	case g.expr != nil:
		var err error
		if text, _, err = g.expr.Text(r.Expr); err != nil {
			r.failed(n, err)
			if odd := (*expr.StaticError)(nil); !errors.As(err, &odd) {
				return false
			}
			text = "" // upstream matches this instead of what is no text
		}
	case !e.Has(g.from):
		return false
	default:
		text = e.Get(g.from)
	}
	values := r.values[:len(g.slots)]
	if !g.pattern.Match(&r.machine, text, values) {
		return false
	}
	for i, s := range g.slots {
		e.Set(s, values[i])
	}
	return true
}

package pipeline

import (
	"time"

	"cs/pipeline/event"
	"cs/pipeline/node"
)

// groupSize is the number of lines that go through the stages side by side.
// Parsers and scenarios are more than the nearest caches hold: for one line after
// the other they would have to come from farther away, for each line again.
const groupSize = 16

// lookAgain is how many groups are done line by line once most lines of one have
// turned out to depend on those before them: judging such lines is for nothing.
const lookAgain = 64

// group is the lines that a worker judges at the same time.
type group struct {
	passes []node.Pass
	goOn   func() bool // made once, because a closure allocates
	singly int         // groups to be done line by line
}

func (w *worker) newGroup() group {
	g := group{goOn: func() bool { return !w.ahead.asked }}
	for range groupSize {
		g.passes = append(g.passes, node.Pass{Event: event.New(w.engine.schema)})
	}
	return g
}

// release lets go of what the events are views of.
func (g *group) release() {
	for i := range g.passes {
		g.passes[i].Event.Release()
	}
}

// alone processes lines without other workers.
func (w *worker) alone(batch []event.Line, now time.Time) {
	c := &w.own
	for len(batch) > 0 {
		n := min(len(batch), groupSize)
		c.lines, batch = batch[:n], batch[n:]
		if w.group.singly > 0 {
			w.group.singly--
			for i := range c.lines {
				w.line(c.lines[i], now)
			}
			continue
		}
		w.judge(c, now, true)
		if len(c.waiting) > n/2 {
			w.group.singly = lookAgain
		}
		w.pourChunk(c, now)
	}
	w.settleAll(now)
}

// judge does what the lines of a chunk need no other lines for. The caller promises
// with soon that it pours the chunk before this worker does anything else; a chunk
// is one group then.
func (w *worker) judge(c *chunk, now time.Time, soon bool) {
	if w.group.passes == nil {
		w.group = w.newGroup()
	}
	own := w.ctx.Event
	w.ctx.Stash, w.ctx.Now = &w.ahead, now
	w.ahead.on = true
	used := 0
	for from := 0; from < len(c.lines); {
		to := from + 1
		for to < len(c.lines) && to-from < groupSize && sameOrigin(&c.lines[from], &c.lines[to]) {
			to++
		}
		if !soon {
			used = 0 // the events of the groups before are no longer needed
		}
		if passes := w.group.passes[used : used+to-from]; !w.judgeGroup(c, from, passes, now, soon) {
			for i := range passes { // some of the lines depend on others: which?
				if len(c.waiting) > (from+i)/2+maxWaiting || !w.judgeGroup(c, from+i, passes[i:i+1], now, soon) {
					c.waiting = append(c.waiting, waiting{from + i, c.intents.Len()})
				}
			}
		}
		used += to - from
		from = to
	}
	w.meter.nodes.Sure()
	w.meter.poured.Sure()
	w.ahead.on = false
	w.ctx.Stash, w.ctx.Event = w.engine.stashes, own
}

// judgeGroup judges lines of one origin, with an event for each. If one of them
// turns out to depend on lines before it, nothing is done, and false returned.
func (w *worker) judgeGroup(c *chunk, from int, passes []node.Pass, now time.Time, soon bool) bool {
	timed := false
	for k := range passes {
		timed = w.met(&c.lines[from+k]) || timed
		passes[k].Event.Reset(c.lines[from+k])
		passes[k].Event.Time = now.UTC()
	}
	var begin, parsed time.Time
	if timed {
		begin = time.Now()
	}
	tally, poured, events, understood := w.tally, w.pour.Poured, c.intents.Len(), w.meter.parsed
	w.meter.nodes.Try()
	w.meter.poured.Try()
	w.ahead.asked = false
	w.parse.RunAll(passes, w.group.goOn)
	if timed {
		parsed = time.Now()
	}
	for k := range passes {
		if w.ahead.asked {
			break
		}
		if passes[k].OK && w.arrived(passes[k].Event) {
			w.ctx.Event = passes[k].Event
			w.pour.Judge(&c.intents, now, soon)
		}
	}
	if w.ahead.asked {
		w.tally, w.pour.Poured = tally, poured
		w.meter.nodes.Undo()
		w.meter.poured.Undo()
		w.meter.lines, w.meter.parsed = w.meter.lines-uint64(len(passes)), understood
		c.intents.Cut(events)
		return false
	}
	if timed {
		n := time.Duration(len(passes))
		w.meter.traffic.parseTime.Observe(parsed.Sub(begin) / n)
		w.meter.traffic.pourTime.Observe(time.Since(parsed) / n)
	}
	return true
}

// sameOrigin tells whether lines are counted together.
func sameOrigin(a, b *event.Line) bool {
	return a.Src == b.Src && a.Module == b.Module && (sameMap(a.Labels, b.Labels) || a.Labels["type"] == b.Labels["type"])
}

package pipeline

import (
	"sync"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/scenario"
)

// What lines cost, to share them fairly: the bytes of a line, and what comes
// with any line as so many bytes more.
const (
	lineCost = 256

	// minShare is what makes it worth waking another worker: some 30 µs.
	minShare = 32 * (lineCost + 200)
	minChunk = minShare / 4
	maxChunk = 2 * minShare

	// chunksEach is how many chunks a worker may be ahead of the slowest one.
	chunksEach = 4

	// maxWaiting is how many lines of a chunk, beside half of them, may turn out to
	// depend on lines before them: then no more are tried, which would be for nothing.
	maxWaiting = 8
)

func cost(l *event.Line) int { return lineCost + len(l.Raw) }

// team is the workers of one batch. It is cut into chunks. Each worker takes one
// after the other and does what lines need no other lines for: parse them and
// judge which scenarios want them. What comes of it goes into the buckets chunk
// by chunk, in the order of the lines, by the hand of whoever has just done a chunk: one
// worker at a time, while the others go on. So everything comes out as if one
// worker had done all.
//
// Engines keep teams: they own the memory that intents need.
type team struct {
	engine  *Engine
	help    func() // made once, because a closure allocates
	helpers sync.WaitGroup

	now  time.Time
	size int // workers

	mu      sync.Mutex
	room    *sync.Cond // a chunk has been poured
	rest    []event.Line
	cost    int      // of the rest
	chunks  []*chunk // a ring; apart, or workers at two would write to one line of the cache
	first   int      // chunk to be poured next; they are numbered from the start of the batch
	next    int      // chunk to be cut next
	pouring bool
	pending []*scenario.Overflow // of what has been poured, to be settled; whoever pours has it
}

// chunk is some lines of a batch.
type chunk struct {
	lines   []event.Line
	intents scenario.Intents
	waiting []waiting
	judged  bool // it can be poured
}

// waiting is a line that depends on those before it, through a stash. It is
// done when its turn comes.
type waiting struct {
	line   int
	events int // how many of the intents are of lines before it
}

// share processes a batch, helped by other workers. Also without any it is worth it
// where buckets are many: those of a chunk are touched together.
func (e *Engine) share(w *worker, batch []event.Line, total, helpers int, now time.Time) {
	t := e.team()
	t.rest, t.cost, t.now, t.size = batch, total, now, helpers+1
	for len(t.chunks) < chunksEach*t.size {
		t.chunks = append(t.chunks, new(chunk))
	}
	t.helpers.Add(helpers)
	for range helpers {
		go t.help()
	}
	t.work(w)
	t.helpers.Wait()
	w.pending = t.pending
	w.settleAll(now)
	w.pending, t.pending = nil, w.pending
	t.rest, t.first, t.next = nil, 0, 0
	e.mu.Lock()
	e.teams = append(e.teams, t)
	e.spare += helpers
	e.mu.Unlock()
}

// hire returns how many helpers a batch is worth and can have, and what the batch
// costs; 0 if it can't be shared. The helpers are spare again when share returns.
func (e *Engine) hire(batch []event.Line) (helpers, total int) {
	for i := range batch {
		total += cost(&batch[i])
	}
	if e.opt.Workers == 1 || total < 2*minShare {
		return 0, total
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	helpers = min(e.spare, len(batch)-1, total/minShare-1)
	e.spare -= helpers
	return helpers, total
}

func (e *Engine) team() *team {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.teams); n > 0 {
		t := e.teams[n-1]
		e.teams = e.teams[:n-1]
		return t
	}
	t := &team{engine: e}
	t.room = sync.NewCond(&t.mu)
	t.help = func() {
		defer t.helpers.Done()
		w := e.take()
		t.work(w)
		e.put(w)
	}
	return t
}

// work takes part until there is nothing left to begin.
func (t *team) work(w *worker) {
	w.ctx.Now = t.now
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		t.pour(w)
		if len(t.rest) == 0 {
			return // who still judges a chunk will pour it, and those behind
		}
		if t.next-t.first == len(t.chunks) {
			t.room.Wait()
			continue
		}
		c := t.cut()
		t.mu.Unlock()
		w.judge(c, t.now, false)
		t.mu.Lock()
		c.judged = true
	}
}

// cut takes a chunk off the rest. The last ones are small, so that all workers
// end at about the same time.
func (t *team) cut() *chunk {
	c := t.chunks[t.next%len(t.chunks)]
	t.next++
	most := min(max(t.cost/(2*t.size), minChunk), maxChunk)
	n := 0
	for sum := 0; n < len(t.rest) && sum < most; n++ {
		sum += cost(&t.rest[n])
		t.cost -= cost(&t.rest[n])
	}
	c.lines, t.rest = t.rest[:n], t.rest[n:]
	return c
}

// pour pours the chunks whose turn it is, if nobody does.
func (t *team) pour(w *worker) {
	for !t.pouring && t.first < t.next {
		c := t.chunks[t.first%len(t.chunks)]
		if !c.judged {
			return
		}
		t.pouring = true
		w.pending, t.pending = t.pending, nil
		t.mu.Unlock()
		w.pourChunk(c, t.now)
		t.mu.Lock()
		w.pending, t.pending = nil, w.pending
		c.judged, t.pouring = false, false
		t.first++
		t.room.Broadcast()
	}
}

// pourChunk does what judge has left to do. Its turn has come.
func (w *worker) pourChunk(c *chunk, now time.Time) {
	w.pour.Touch(&c.intents)
	i := 0
	pour := func(end int) {
		for ; i < end; i++ {
			w.pour.Pour(&c.intents, i)
			w.settle(now)
		}
	}
	for _, l := range c.waiting {
		pour(l.events)
		w.line(c.lines[l.line], now)
	}
	pour(c.intents.Len())
	c.intents.Reset()
	c.lines, c.waiting = nil, c.waiting[:0]
}

// ahead stands for the stashes while lines before the one at hand may still be
// under way: nobody knows yet what is in them. It notes that somebody asked.
type ahead struct{ on, asked bool }

// Get implements expr.Stash.
func (a *ahead) Get(string, string) string {
	a.asked = true
	return ""
}

// Set implements expr.Stash.
func (a *ahead) Set(_, _, _ string, _ time.Duration) { a.asked = true }

// mayStash tells a parser whether it may write to a stash.
func (a *ahead) mayStash() bool {
	if a.on {
		a.asked = true
	}
	return !a.on
}

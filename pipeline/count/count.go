// Package count counts what happens to lines: in plain numbers of one worker,
// without a lock or a map, to be collected now and then. pipeline/node and
// pipeline/scenario count, package pipeline collects.
package count

// Counts are counters with the numbers from 0 on. It is not safe for concurrent
// use. The zero value counts nothing; see New.
type Counts struct {
	n       []uint32
	touched []int32 // those above zero, and some that no longer are
	noting  bool
	notes   []int32 // what Undo takes back
}

// New returns n counters.
func New(n int) *Counts { return &Counts{n: make([]uint32, n)} }

// Add counts one. It does nothing to nil Counts.
func (c *Counts) Add(i int) {
	if c == nil {
		return
	}
	if c.n[i] == 0 || c.noting {
		c.add(i)
		return
	}
	c.n[i]++
}

func (c *Counts) add(i int) {
	if c.n[i] == 0 {
		c.touched = append(c.touched, int32(i))
	}
	if c.noting {
		c.notes = append(c.notes, int32(i))
	}
	c.n[i]++
}

// Try begins to note what is counted, until Undo takes it back or the next Try;
// Sure ends that.
func (c *Counts) Try() { c.noting, c.notes = true, c.notes[:0] }

// Sure ends Try: what was counted stays.
func (c *Counts) Sure() { c.noting, c.notes = false, c.notes[:0] }

// Undo takes back what was counted since Try.
func (c *Counts) Undo() {
	for _, i := range c.notes {
		c.n[i]--
	}
	c.notes = c.notes[:0]
}

// Drain tells f of the counters above zero, and sets them to zero. It may tell
// of one in parts.
func (c *Counts) Drain(f func(i int, n uint32)) {
	for _, i := range c.touched {
		if n := c.n[i]; n > 0 {
			c.n[i] = 0
			f(int(i), n)
		}
	}
	c.touched = c.touched[:0]
}

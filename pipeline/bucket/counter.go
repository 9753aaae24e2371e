package bucket

// A counter gathers what happens within its Duration, counted from the first
// event, and then overflows, however little came. Only the wall clock can tell
// it when: in a replay it never overflows, and is forgotten as other buckets are.

// ticks tells whether a cell is a counter that the clock will end.
func (t *Table) ticks(c *cell) bool {
	return t.specs[c.spec].Kind == Counter && c.marks>>slotBits == 0
}

// ring ends a counter whose time is over.
func (t *Table) ring(i int32, out *Overflow) {
	c := t.at(i)
	t.overflow(i, t.endOf(c), t.specs[c.spec].queue+1, out)
}

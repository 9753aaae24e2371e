package bucket

// A counter gathers what happens within its Duration, counted from the first
// event, and then overflows, however little came. Only the wall clock can tell
// it when: in a replay it never overflows, and is forgotten as other buckets are.

// ticks tells whether a cell is a counter that the clock will end.
func (s *shard) ticks(c *cell) bool {
	return s.specs[c.spec].Kind == Counter && c.id&(silence|replayed) == 0
}

// ring ends a counter whose time is over.
func (s *shard) ring(i int32, out *Overflow) {
	c := s.at(i)
	s.overflow(i, s.endOf(c), s.specs[c.spec].queue+1, out)
}

package bucket

// A conditional bucket holds events until what they have in common says
// enough: an expression of the scenario, which the caller evaluates. Buckets of
// other kinds may have such a condition, too, beside their own way to overflow.

// show copies a bucket to out, its kept events included, and leaves it as it
// is.
func (s *shard) show(c *cell, out *Overflow) {
	out.Spec, out.First, out.Last, out.At, out.Total = int(c.spec), c.first, c.last, c.last, int(c.total)
	out.Fired = c.fired
	out.clear()
	q := c.queue
	for n := q.n; n > 0; n-- {
		out.buf = s.chunks.copyFront(&q, out.buf)
		out.ends = append(out.ends, len(out.buf))
	}
}

// Overflow ends the bucket that Pour showed in out, because the caller found
// its condition fulfilled, and tells whether it did: not if other events came
// in meanwhile, which have their own caller to decide.
func (t *Table) Overflow(p *Pour, out *Overflow) bool {
	s := t.shard(p.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.shown(p, out)
	if i < 0 || int(s.at(i).total) != out.Total || s.at(i).last != out.Last {
		return false
	}
	s.counts[out.Spec].Overflowed++
	s.remove(i)
	return true
}

// shown finds the bucket that out tells of, none if it is over.
func (s *shard) shown(p *Pour, out *Overflow) int32 {
	i := s.find(p.Key, ident(s.specs[out.Spec].Share, p.Replay, false))
	if i >= 0 && (int(s.at(i).spec) != out.Spec || s.at(i).first != out.First) {
		return none
	}
	return i
}

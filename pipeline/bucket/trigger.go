package bucket

// trigger overflows at once. No bucket is made, and what would keep an event
// out of a bucket (distinct, cancel) has no say.
func (t *Table) trigger(p *Pour, out *Overflow) Outcome {
	t.counts[p.Spec].Poured++
	t.counts[p.Spec].Overflowed++
	out.Spec = p.Spec
	out.First, out.Last, out.At, out.Total = p.Time, p.Time, p.Time, 1
	out.clear()
	out.add(p.Record)
	return Overflowed
}

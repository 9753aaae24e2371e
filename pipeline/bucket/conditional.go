package bucket

// A conditional bucket holds events until what they have in common says
// enough: an expression of the scenario, which the caller evaluates. Buckets of
// other kinds may have such a condition, too, beside their own way to overflow.

// show copies a bucket to out, its last kept events included, and leaves it as it
// is.
func (t *Table) show(c *cell, out *Overflow) {
	out.Spec, out.First, out.Last, out.At, out.Total = int(c.spec), c.first, c.last, c.last, int(c.total)
	out.Fired = c.fired
	if n := t.specs[c.spec].Last; n > 0 && n < int(c.queue.n) {
		t.readLast(c, n, out)
	} else {
		t.read(c, out)
	}
}

// Complete adds the missing events of the bucket that Pour showed in out. It can't
// if other events came in meanwhile. Records that were read stay valid.
func (t *Table) Complete(p *Pour, out *Overflow) bool {
	if out.missing == 0 {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.asShown(p, out)
	if i < 0 {
		return false
	}
	out.buf, out.shown = out.shown, out.buf // what was read of it stays
	t.read(t.at(i), out)
	return true
}

// Overflow ends the bucket that Pour showed in out, because the caller found
// its condition fulfilled, and tells whether it did: not if other events came
// in meanwhile, which have their own caller to decide.
func (t *Table) Overflow(p *Pour, out *Overflow) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.asShown(p, out)
	if i < 0 {
		return false
	}
	if out.missing > 0 {
		t.read(t.at(i), out)
	}
	t.counts[out.Spec].Overflowed++
	t.remove(i)
	return true
}

// shown finds the bucket that out tells of, none if it is over.
func (t *Table) shown(p *Pour, out *Overflow) int32 {
	i := t.find(p.Key.of(ident(t.specs[out.Spec].Share, p.Replay, false)))
	if i >= 0 && (int(t.at(i).spec) != out.Spec || t.at(i).first != out.First) {
		return none
	}
	return i
}

// asShown is shown, and none if other events came in meanwhile.
func (t *Table) asShown(p *Pour, out *Overflow) int32 {
	i := t.shown(p, out)
	if i >= 0 && (int(t.at(i).total) != out.Total || t.at(i).last != out.Last) {
		return none
	}
	return i
}

package bucket

// A bayesian bucket holds events until the odds that they are evil are high
// enough: like a conditional one, but the caller computes a probability. Part
// of it may be remembered from event to event.

// MaxFired is how many things Table.Remember can tell apart.
const MaxFired = 16

// Remember adds to the bits in Overflow.Fired, for as long as the bucket lives
// that Pour showed in out.
func (t *Table) Remember(p *Pour, out *Overflow, fired uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := t.shown(p, out); i >= 0 {
		t.at(i).fired |= fired
	}
}

package bucket

// ebb remembers the times of the overflows of one scenario in a replay, where
// time may run backwards. Upstream keeps the silences of a scenario in one list,
// and each overflow removes those that were over by its time, whatever their
// key; if time then runs back into such a silence, it is gone. To know that, the
// latest overflow since a silence began is enough.
type ebb struct {
	n     int64
	peaks []peak // the later came up the longer ago
}

// peak is an overflow that no later one, in the order of the log, was after.
type peak struct{ n, at int64 }

// maxPeaks bounds how often time can run back before the oldest peak is
// forgotten, so that a silence of before that lasts until its end.
const maxPeaks = 64

// note takes down an overflow at a time and returns its number.
func (e *ebb) note(at int64) int64 {
	e.n++
	for len(e.peaks) > 0 && e.peaks[len(e.peaks)-1].at <= at {
		e.peaks = e.peaks[:len(e.peaks)-1]
	}
	if len(e.peaks) == maxPeaks {
		e.peaks = e.peaks[:copy(e.peaks, e.peaks[1:])]
	}
	e.peaks = append(e.peaks, peak{e.n, at})
	return e.n
}

// reached tells whether an overflow after the n-th came at a time or later.
func (e *ebb) reached(n, at int64) bool {
	for _, p := range e.peaks {
		if p.n > n {
			return p.at >= at
		}
	}
	return false
}

// Silenced tells whether an overflow at the time at (Unix nanoseconds) falls
// into the silence that an earlier overflow of the same scenario and key left
// behind (blackhole). If not, it starts the next one.
func (t *Table) Silenced(spec int, k Key, at int64, replay bool) bool {
	if t.specs[spec].Blackhole <= 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.silenced(spec, k, at, replay)
}

func (t *Table) silenced(spec int, k Key, at int64, replay bool) bool {
	key := k.of(ident(spec, replay, true))
	i := t.find(key)
	silent := i >= 0 && t.at(i).last > at
	n := int64(0)
	if replay {
		e := &t.ebbs[spec]
		silent = silent && !e.reached(t.at(i).first, t.at(i).last)
		n = e.note(at)
	}
	if silent {
		return true
	}
	if i < 0 {
		i = t.add(key, spec, replay, true)
	} else {
		t.unlink(i)
	}
	c := t.at(i)
	c.first, c.last = n, at+int64(t.specs[spec].Blackhole)
	t.link(i)
	return false
}

package bucket

import "sync"

// ebb remembers the times of the overflows of one scenario in a replay, where
// time may run backwards. Upstream keeps the silences of a scenario in one list,
// and each overflow removes those that were over by its time, whatever their
// key; if time then runs back into such a silence, it is gone. To know that, the
// latest overflow since a silence began is enough.
type ebb struct {
	mu    sync.Mutex
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
	e.mu.Lock()
	defer e.mu.Unlock()
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
	e.mu.Lock()
	defer e.mu.Unlock()
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
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.silenced(spec, k, at, replay)
}

func (s *shard) silenced(spec int, k Key, at int64, replay bool) bool {
	id := ident(spec, replay, true)
	i := s.find(k, id)
	silent := i >= 0 && s.at(i).last > at
	n := int64(0)
	if replay {
		e := &s.ebbs[spec]
		silent = silent && !e.reached(s.at(i).first, s.at(i).last)
		n = e.note(at)
	}
	if silent {
		return true
	}
	if i < 0 {
		i = s.add(k, id, spec)
	} else {
		s.unlink(i)
	}
	c := s.at(i)
	c.first, c.last = n, at+int64(s.specs[spec].Blackhole)
	s.link(i)
	return false
}

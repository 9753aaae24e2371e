package bucket

// take takes a token out of a leaky bucket's limiter at a time and tells
// whether there was one. It is the arithmetic of golang.org/x/time/rate,
// which upstream uses, down to the rounding: a debt that takes less than a
// nanosecond to pay is none.
//
// Time may run backwards in a log. The event then gains nothing, but sets the
// clock back, so that the next one gains the same interval again.
func (s *spec) take(c *cell, at int64) bool {
	if s.Capacity < 0 || s.Kind == Conditional {
		return true
	}
	tokens := c.tokens
	if c.total > 1 && at > c.last {
		tokens = min(tokens+seconds(at-c.last)*s.rate, float64(s.Capacity))
	}
	tokens--
	if tokens < 0 && int64(-tokens/s.rate*1e9) > 0 {
		return false
	}
	c.tokens = tokens
	return true
}

// emptyAt returns when a bucket will have leaked empty, in Unix nanoseconds; if
// it never does, when it ends.
func (t *Table) emptyAt(c *cell) int64 {
	sp := &t.specs[c.spec]
	if c.silent() || sp.Capacity < 0 || sp.Kind == Conditional {
		return t.endOf(c)
	}
	return c.last + int64(min((float64(sp.Capacity)-c.tokens)/sp.rate*1e9, float64(maxLife)))
}

// seconds converts as time.Duration.Seconds does, whose rounding differs from
// a plain division.
func seconds(ns int64) float64 { return float64(ns/1e9) + float64(ns%1e9)/1e9 }

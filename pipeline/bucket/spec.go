package bucket

import "time"

// Kind is how a bucket decides to overflow. Each has a file of its own.
type Kind uint8

const (
	Leaky Kind = iota
	Trigger
	Conditional
	Counter
	Bayesian
)

// Spec is what a scenario says about its buckets. Share is the same number
// for the specs whose events go into one bucket: those with the same scenario
// name and the same filter. The bucket obeys the spec that made it.
type Spec struct {
	Kind      Kind
	Share     int
	Capacity  int // -1: it never overflows by itself
	Leakspeed time.Duration
	Duration  time.Duration // lifetime instead of (Capacity+1) * Leakspeed; of a Counter: when it overflows
	Blackhole time.Duration // silence after an overflow
	CacheSize int           // kept events, if that is fewer than Capacity

	// Condition says that the caller wants to look at the bucket after each
	// event, and may end it with Table.Overflow.
	Condition bool
	Least     int // events that the bucket must keep for that
	Last      int // events that are looked at mostly, the last ones; 0: all
	Most      int // events that make a difference, if that is known; 0: it isn't
}

// Kept returns how many events a bucket may keep, without the one that makes it
// overflow.
func (s Spec) Kept() int { return compile(s).queue }

// Life returns how long a bucket lives after its last event; a live Counter
// after its first.
func (s Spec) Life() time.Duration { return time.Duration(compile(s).life) }

// spec is a Spec with what follows from it.
type spec struct {
	Spec
	rate  float64 // tokens a second
	life  int64   // nanoseconds after the last event
	queue int     // the queue holds one more
	joins bool    // a trigger, whose events may go into a bucket that another spec made
}

func compile(s Spec) spec {
	c := spec{Spec: s, life: int64(s.Duration), queue: s.Capacity}
	if s.Leakspeed > 0 {
		c.rate = 1 / s.Leakspeed.Seconds()
	}
	if s.Kind == Conditional || s.Kind == Bayesian {
		c.life = int64(s.Leakspeed)
	}
	if c.life <= 0 && s.Leakspeed > 0 {
		c.life = maxLife
		if int64(s.Capacity) < maxLife/int64(s.Leakspeed) { // content may be absurd
			c.life = (int64(s.Capacity) + 1) * int64(s.Leakspeed)
		}
	}
	c.life = min(c.life, maxLife)
	switch {
	case s.Capacity < 0 && s.Condition:
		c.queue = max(MaxLookedAt, s.Most)
	case s.Capacity < 0:
		c.queue = maxQueue
	}
	if s.CacheSize > 0 && (s.CacheSize <= s.Capacity || s.Capacity < 0) {
		c.queue = s.CacheSize
	}
	c.queue = min(c.queue, maxQueue)
	return c
}

// maxLife keeps sums of a time and a lifetime far from overflowing.
const maxLife = int64(1) << 61

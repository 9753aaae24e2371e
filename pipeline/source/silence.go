package source

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// learnTime and learnBatches are how long and how often a source must have
	// been heard until its silence means anything.
	learnTime    = time.Hour
	learnBatches = 20
	// shortSilence never is an alarm, and longer ones are when they are
	// longer than outOfProportion times the longest pause there was.
	shortSilence    = 15 * time.Minute
	outOfProportion = 4
	// A pause is forgotten by a tenth of its length a day.
	forgetEvery = 24 * time.Hour
)

// silence learns how long the pauses of a source are, nights included, and
// raises an alarm when one is out of all proportion: the program that logs was
// stopped or logs elsewhere, a listener is no longer reached.
type silence struct {
	alarmed atomic.Bool

	mu      sync.Mutex
	batches int
	first   time.Time
	last    time.Time
	longest time.Duration // pause between two batches
	forgot  time.Time
}

// heard takes note that lines came.
func (s *silence) heard(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.batches++; s.batches == 1 {
		s.first, s.forgot = now, now
	} else {
		s.longest = max(s.longest, now.Sub(s.last))
	}
	if now.Sub(s.forgot) >= forgetEvery {
		s.longest -= s.longest / 10
		s.forgot = now
	}
	s.last = now
	s.alarmed.Store(false)
}

// check returns what is to be said about the silence at a time, once for each.
func (s *silence) check(name string, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	quiet := now.Sub(s.last)
	if s.batches < learnBatches || s.last.Sub(s.first) < learnTime || s.alarmed.Load() ||
		quiet <= max(shortSilence, outOfProportion*s.longest) {
		return nil
	}
	s.alarmed.Store(true)
	return fmt.Errorf("nothing came from %s for %v; its longest pause was %v", name, quiet.Round(time.Second), s.longest.Round(time.Second))
}

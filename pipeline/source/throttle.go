package source

import (
	"fmt"
	"sync"
	"time"
)

// throttleEvery is the pause between two reports of one kind.
const throttleEvery = time.Minute

// Throttle passes reports on, one a minute at most, and says how many it kept back. The zero
// value is not usable; see NewThrottle. Safe for concurrent use.
type Throttle struct {
	report func(error)

	mu   sync.Mutex
	last time.Time
	kept int
}

// NewThrottle returns a throttle in front of report.
func NewThrottle(report func(error)) *Throttle { return &Throttle{report: report} }

// Report passes an error on, or not.
func (t *Throttle) Report(err error) {
	now := time.Now()
	t.mu.Lock()
	if !t.last.IsZero() && now.Sub(t.last) < throttleEvery {
		t.kept++
		t.mu.Unlock()
		return
	}
	if t.kept > 0 {
		err = fmt.Errorf("%w (and %d reports like this since the last one)", err, t.kept)
	}
	t.last, t.kept = now, 0
	t.mu.Unlock()
	t.report(err)
}

package agent

import (
	"log/slog"
	"sync"
	"time"
)

// maxSkew is how much our clock and that of a LAPI may differ: what is banned for
// minutes would else be banned for a time that nobody meant, and sessions end early.
const maxSkew = 30 * time.Second

// skew compares our clock with that of a LAPI, and tells when they part and when they
// agree again.
type skew struct {
	log *slog.Logger
	now func() time.Time

	mu    sync.Mutex
	apart bool
}

// heard takes the time of the server, which may be a second old.
func (s *skew) heard(server time.Time) {
	d := s.now().Sub(server).Round(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch apart := d.Abs() > maxSkew; {
	case apart && !s.apart:
		s.log.Warn("the clock of this host and that of the LAPI differ: set both by NTP, or bans last too long or too short", "ahead_of_the_lapi", d)
	case !apart && s.apart && d.Abs() < maxSkew/2:
		s.log.Info("the clock of this host and that of the LAPI agree again")
	case !apart && s.apart:
		return // not yet, or it would be told again and again
	}
	s.apart = d.Abs() > maxSkew
}

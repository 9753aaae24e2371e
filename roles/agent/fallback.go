package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"cs/decisions"
	"cs/roles/api"
)

// fallback is several LAPIs of which the first that is there gets what there is to
// tell. Those before it are asked first each time, so it goes back to them by
// itself. An alert that one took just before it was gone may reach another as
// well: only within one LAPI are alerts recognised.
type fallback struct {
	list []LAPI
	name []string // as the log calls them
	log  *slog.Logger

	mu sync.Mutex
	at int // the one that answered last
}

// SendAlerts implements LAPI.
func (f *fallback) SendAlerts(ctx context.Context, alerts []decisions.Alert) error {
	return f.call(ctx, func(l LAPI) error { return l.SendAlerts(ctx, alerts) })
}

// Heartbeat implements LAPI.
func (f *fallback) Heartbeat(ctx context.Context) error {
	return f.call(ctx, func(l LAPI) error { return l.Heartbeat(ctx) })
}

// Report implements LAPI.
func (f *fallback) Report(ctx context.Context, report api.ComponentMetrics) error {
	return f.call(ctx, func(l LAPI) error { return l.Report(ctx, report) })
}

func (f *fallback) call(ctx context.Context, do func(LAPI) error) error {
	var errs []error
	for i, l := range f.list {
		err := do(l)
		if err == nil || !away(err) {
			f.answered(i)
			return err
		}
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (f *fallback) answered(i int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i != f.at {
		f.log.Warn("another LAPI is in use", "from", f.name[f.at], "to", f.name[i])
		f.at = i
	}
}

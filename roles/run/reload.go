package run

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"reflect"
	"sync"

	"cs/platform"
	"cs/roles/config"
	"cs/roles/lapi"
)

// process is what runs of one configuration, and takes others over.
type process struct {
	agent, bouncer chan os.Signal // a nil tells that the configuration is another

	mu       sync.Mutex
	resolved config.Resolved
	link     agentLink
	server   *server // nil before the start and after the end
}

func (p *process) start(r config.Resolved, l agentLink, s *server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resolved, p.link, p.server = r, l, s
}

func (p *process) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = nil
}

// take makes the roles work by another configuration, which has been checked.
// The agent goes on with its buckets, the LAPI with its listeners, the bouncer
// with its bans. The roles must start anew if something has changed that none
// of them can take over.
func (p *process) take(r config.Resolved, c lapi.Config, l agentLink) (anew bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server == nil || p.link != l || !reflect.DeepEqual(fixed(p.resolved), fixed(r)) {
		return true, nil
	}
	if err := p.server.reload(c); err != nil {
		return false, err
	}
	if !reflect.DeepEqual(p.resolved.Bouncer, r.Bouncer) {
		nudge(p.bouncer)
	}
	nudge(p.agent)
	p.resolved = r
	return false, nil
}

// fixed is of a configuration what roles keep from their start to their end.
func fixed(r config.Resolved) config.Resolved {
	r.LogLevel, r.MemoryLimit = 0, 0
	r.Agent = config.Agent{Enabled: r.Agent.Enabled, SpoolBytes: r.Agent.SpoolBytes}
	r.Bouncer = config.Bouncer{Enabled: r.Bouncer.Enabled}
	r.LAPI = lapi.Fixed(r.LAPI)
	return r
}

func nudge(c chan<- os.Signal) {
	select {
	case c <- nil:
	default: // it has not seen the last one yet
	}
}

// untilAnew runs roles until they end, or hup tells of a configuration that they
// can't take over: then they are ended, to be run again. take says so; if it
// fails they go on with the old one. What a role keeps in the data directory,
// buckets and positions among them, it finds again.
func untilAnew(ctx context.Context, log *slog.Logger, hup <-chan os.Signal, take func() (anew bool, err error), run func(context.Context) error) (again bool, err error) {
	one, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run(one) }()
	for {
		select {
		case err := <-ended:
			return false, err
		case <-hup:
		}
		log.Info("SIGHUP received, reloading")
		_ = platform.NotifyReloading() // nobody to tell is fine
		anew, err := take()
		switch {
		case err != nil:
			log.Error("the new configuration is faulty, the old one stays in force", "err", err)
		case anew:
			log.Info("what has changed needs all roles to start anew")
			stop()
			err := <-ended
			return ctx.Err() == nil && (err == nil || errors.Is(err, context.Canceled)), err
		default:
			log.Info("Reload is finished")
		}
		_ = platform.Notify("READY=1")
	}
}

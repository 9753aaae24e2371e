package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"cs/decisions"
	"cs/roles/api"
	"cs/roles/config"
)

// remote is a LAPI over the wire. It registers by itself when it has a token
// and the LAPI doesn't know it, on the first start or after a reinstallation
// of the LAPI.
type remote struct {
	client      *api.Client
	credentials config.Credentials
	token       string

	mu  sync.Mutex // held while registering
	new bool       // the LAPI can't know the credentials yet
}

// newRemote returns the link for credentials. isNew says that they were just
// made, so that the LAPI can't know them. token may be empty.
func newRemote(credentials config.Credentials, isNew bool, conf api.ClientConfig, token string) (*remote, error) {
	client, err := api.NewClient(conf)
	if err != nil {
		return nil, err
	}
	return &remote{client: client, credentials: credentials, token: token, new: isNew}, nil
}

// SendAlerts is api.Client's.
func (r *remote) SendAlerts(ctx context.Context, alerts []decisions.Alert) error {
	return r.call(ctx, func() error { return r.client.SendAlerts(ctx, alerts) })
}

// Heartbeat is api.Client's.
func (r *remote) Heartbeat(ctx context.Context) error {
	return r.call(ctx, func() error { return r.client.Heartbeat(ctx) })
}

// Report is api.Client's ReportMachine.
func (r *remote) Report(ctx context.Context, report api.ComponentMetrics) error {
	return r.call(ctx, func() error { return r.client.ReportMachine(ctx, report) })
}

// call makes a call. If we are not let in, it registers and makes it again.
func (r *remote) call(ctx context.Context, f func() error) error {
	err := r.letIn(ctx, f)
	// Whichever call registered us: what an operator has to do is said with
	// each refusal.
	if errors.Is(err, api.ErrDenied) && strings.Contains(err.Error(), "not validated") {
		err = fmt.Errorf("%w: run 'cs machines validate %s' on the LAPI's host", err, r.credentials.Login)
	}
	return err
}

func (r *remote) letIn(ctx context.Context, f func() error) error {
	if r.token == "" || r.credentials.Login == "" {
		return f()
	}
	if err := r.announceNew(ctx); err != nil {
		return err
	}
	err := f()
	if !errors.Is(err, api.ErrDenied) {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// If it is known by now, the password is wrong, or an operator has to let
	// us in: the answer says which.
	if err := r.announce(ctx); err != nil && !errors.Is(err, api.ErrExists) {
		return err
	}
	return f()
}

// announceNew registers credentials that the LAPI can't know yet.
func (r *remote) announceNew(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.new {
		return nil
	}
	err := r.announce(ctx)
	if errors.Is(err, api.ErrUnreachable) || ctx.Err() != nil {
		return err
	}
	r.new = false
	if errors.Is(err, api.ErrExists) {
		return nil
	}
	return err
}

func (r *remote) announce(ctx context.Context) error {
	validated, err := r.credentials.Announce(ctx, r.client, r.token)
	if err == nil && !validated {
		err = fmt.Errorf("machine %s is registered, but not validated: %w", r.credentials.Login, api.ErrDenied)
	}
	return err
}

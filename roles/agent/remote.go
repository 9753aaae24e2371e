package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"cs/decisions"
	"cs/roles/api"
	"cs/roles/config"
)

// Remote is a LAPI over the wire. It registers by itself when it has a token
// and the LAPI doesn't know it, on the first start or after a reinstallation
// of the LAPI.
type Remote struct {
	client      *api.Client
	credentials config.Credentials
	token       string

	registering sync.Mutex
}

// NewRemote returns the link for credentials, which need not be known to the LAPI yet.
// token may be empty.
func NewRemote(credentials config.Credentials, conf api.ClientConfig, token string) (*Remote, error) {
	client, err := api.NewClient(conf)
	if err != nil {
		return nil, err
	}
	return &Remote{client: client, credentials: credentials, token: token}, nil
}

// SendAlerts is api.Client's.
func (r *Remote) SendAlerts(ctx context.Context, alerts []decisions.Alert) error {
	return r.call(ctx, func() error { return r.client.SendAlerts(ctx, alerts) })
}

// Heartbeat is api.Client's.
func (r *Remote) Heartbeat(ctx context.Context) error {
	return r.call(ctx, func() error { return r.client.Heartbeat(ctx) })
}

// call makes a call, and if we are not let in, registers and makes it again.
func (r *Remote) call(ctx context.Context, f func() error) error {
	err := f()
	if !errors.Is(err, api.ErrDenied) || r.token == "" || r.credentials.Login == "" {
		return err
	}
	r.registering.Lock()
	defer r.registering.Unlock()
	validated, rerr := r.credentials.Announce(ctx, r.client, r.token)
	switch {
	case errors.Is(rerr, api.ErrExists):
		// Known, so the password is wrong or an operator has to let us in:
		// the first answer says which.
		return err
	case rerr != nil:
		return rerr
	case !validated:
		return fmt.Errorf("machine %q is registered and waits to be let in: run 'cs machines validate %s' on the LAPI's host: %w",
			r.credentials.Login, r.credentials.Login, api.ErrDenied)
	}
	return f()
}

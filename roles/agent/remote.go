package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"cs/decisions"
	"cs/roles/api"
	"cs/roles/config"
)

// remote is a LAPI over the wire. It registers by itself when it has a token
// and the LAPI doesn't know it, on the first start or after a reinstallation
// of the LAPI.
type remote struct {
	conf  func(config.Credentials) api.ClientConfig
	token string
	who   atomic.Pointer[account]

	mu  sync.Mutex // held while registering
	new bool       // the LAPI can't know the credentials yet
}

// account is what a remote uses of a LAPI.
type account struct {
	client      *api.Client
	credentials config.Credentials
}

// newRemote returns the link for credentials. isNew says that they were just
// made, so that the LAPI can't know them. token may be empty.
func newRemote(credentials config.Credentials, isNew bool, token string, conf func(config.Credentials) api.ClientConfig) (*remote, error) {
	client, err := api.NewClient(conf(credentials))
	if err != nil {
		return nil, err
	}
	r := &remote{conf: conf, token: token, new: isNew}
	r.who.Store(&account{client, credentials})
	return r, nil
}

// reread uses from now on what is in the file of the credentials, which
// "cscli lapi register" may have written anew. A url that is given replaces that of the file.
func (r *remote) reread(path, url string, env func(string) (string, bool)) error {
	credentials, err := config.ReadCredentials(path, env)
	if errors.Is(err, os.ErrNotExist) {
		return nil // as good as before
	}
	if err == nil && url != "" {
		credentials, _, err = config.EnsureCredentials(path, url, "", env)
	}
	last := r.who.Load()
	if err != nil || credentials == last.credentials {
		return err
	}
	client, err := api.NewClient(r.conf(credentials))
	if err != nil {
		return err
	}
	r.who.Store(&account{client, credentials})
	last.client.Close()
	return nil
}

// SendAlerts is api.Client's.
func (r *remote) SendAlerts(ctx context.Context, alerts []decisions.Alert) error {
	return r.call(ctx, func(a *account) error { return a.client.SendAlerts(ctx, alerts) })
}

// Heartbeat is api.Client's.
func (r *remote) Heartbeat(ctx context.Context) error {
	return r.call(ctx, func(a *account) error { return a.client.Heartbeat(ctx) })
}

// Report is api.Client's ReportMachine.
func (r *remote) Report(ctx context.Context, report api.ComponentMetrics) error {
	return r.call(ctx, func(a *account) error { return a.client.ReportMachine(ctx, report) })
}

// call makes a call. If we are not let in, it registers and makes it again.
func (r *remote) call(ctx context.Context, f func(*account) error) error {
	who := r.who.Load()
	err := r.letIn(ctx, who, f)
	// Whichever call registered us: what an operator has to do is said with
	// each refusal.
	if errors.Is(err, api.ErrDenied) && strings.Contains(err.Error(), "not validated") {
		err = fmt.Errorf("%w: run 'cs machines validate %s' on the LAPI's host", err, who.credentials.Login)
	}
	return err
}

func (r *remote) letIn(ctx context.Context, who *account, f func(*account) error) error {
	if r.token == "" || who.credentials.Login == "" {
		return f(who)
	}
	if err := r.announceNew(ctx, who); err != nil {
		return err
	}
	err := f(who)
	if !errors.Is(err, api.ErrDenied) {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// If it is known by now, the password is wrong, or an operator has to let
	// us in: the answer says which.
	if err := r.announce(ctx, who); err != nil && !errors.Is(err, api.ErrExists) {
		return err
	}
	return f(who)
}

// announceNew registers credentials that the LAPI can't know yet.
func (r *remote) announceNew(ctx context.Context, who *account) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.new {
		return nil
	}
	err := r.announce(ctx, who)
	if errors.Is(err, api.ErrUnreachable) || ctx.Err() != nil {
		return err
	}
	r.new = false
	if errors.Is(err, api.ErrExists) {
		return nil
	}
	return err
}

func (r *remote) announce(ctx context.Context, who *account) error {
	validated, err := who.credentials.Announce(ctx, who.client, r.token)
	if err == nil && !validated {
		err = fmt.Errorf("machine %s is registered, but not validated: %w", who.credentials.Login, api.ErrDenied)
	}
	return err
}

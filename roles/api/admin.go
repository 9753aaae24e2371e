package api

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"
)

// Admin is the client of the administration routes, which the server offers on
// its unix socket only: who may open the socket may do everything.
type Admin struct {
	c      *Client
	socket string // "": the server is in this process
}

// NewAdmin returns a client for the socket of a data directory
// ("<data-dir>/cs.sock"). It connects to nothing yet.
func NewAdmin(socketPath string) *Admin {
	c, err := newClient(ClientConfig{}, socketPath)
	if err != nil {
		panic(fmt.Sprintf("BUG: client of socket %q: %v", socketPath, err))
	}
	c.open = true
	return &Admin{c, socketPath}
}

// Machines lists the machines by creation.
func (a *Admin) Machines(ctx context.Context) ([]Machine, error) {
	var out []Machine
	if err := a.c.call(ctx, asNobody, "GET", PathAdminMachines, nil, nil, &out); err != nil {
		return nil, fmt.Errorf("cannot list machines: %w", err)
	}
	return out, nil
}

// AddMachine makes a validated machine. The name being taken gives ErrExists,
// unless force says to replace it.
func (a *Admin) AddMachine(ctx context.Context, name, password string, force bool) error {
	in := AddMachineRequest{Name: name, Password: password, Force: force}
	if err := a.c.call(ctx, asNobody, "POST", PathAdminMachines, nil, in, nil); err != nil {
		return fmt.Errorf("cannot add machine %q: %w", name, err)
	}
	return nil
}

// ValidateMachine lets a pending machine in.
func (a *Admin) ValidateMachine(ctx context.Context, name string) error {
	if err := a.c.call(ctx, asNobody, "POST", PathAdminMachines+"/"+url.PathEscape(name)+"/validate", nil, nil, nil); err != nil {
		return fmt.Errorf("cannot validate machine %q: %w", name, err)
	}
	return nil
}

// DeleteMachine removes a machine; its tokens stop working at once.
func (a *Admin) DeleteMachine(ctx context.Context, name string) error {
	if err := a.c.call(ctx, asNobody, "DELETE", PathAdminMachines+"/"+url.PathEscape(name), nil, nil, nil); err != nil {
		return fmt.Errorf("cannot delete machine %q: %w", name, err)
	}
	return nil
}

// Bouncers lists the bouncers by creation.
func (a *Admin) Bouncers(ctx context.Context) ([]Bouncer, error) {
	var out []Bouncer
	if err := a.c.call(ctx, asNobody, "GET", PathAdminBouncers, nil, nil, &out); err != nil {
		return nil, fmt.Errorf("cannot list bouncers: %w", err)
	}
	return out, nil
}

// AddBouncer makes a bouncer and returns its key: the given one, or a new one
// if that is empty.
func (a *Admin) AddBouncer(ctx context.Context, name, key string) (string, error) {
	var out BouncerResponse
	if err := a.c.call(ctx, asNobody, "POST", PathAdminBouncers, nil, AddBouncerRequest{Name: name, Key: key}, &out); err != nil {
		return "", fmt.Errorf("cannot add bouncer %q: %w", name, err)
	}
	return out.Key, nil
}

// DeleteBouncer removes a bouncer and the rows made for other addresses that
// shared its key.
func (a *Admin) DeleteBouncer(ctx context.Context, name string) error {
	if err := a.c.call(ctx, asNobody, "DELETE", PathAdminBouncers+"/"+url.PathEscape(name), nil, nil, nil); err != nil {
		return fmt.Errorf("cannot delete bouncer %q: %w", name, err)
	}
	return nil
}

// DropBouncer removes one row: neither those of other addresses with its key
// go with it, nor does it matter whether it would be made anew.
func (a *Admin) DropBouncer(ctx context.Context, name string) error {
	if err := a.c.call(ctx, asNobody, "DELETE", PathAdminBouncers+"/"+url.PathEscape(name), url.Values{"alone": {"true"}}, nil, nil); err != nil {
		return fmt.Errorf("cannot delete bouncer %q: %w", name, err)
	}
	return nil
}

// FlushAlerts deletes alerts that are too many or too old, as the server does
// by itself each minute, and returns how many. Those with decisions in force
// stay.
func (a *Admin) FlushAlerts(ctx context.Context, most int64, age time.Duration) (int, error) {
	var out FlushResponse
	if err := a.c.call(ctx, asNobody, "POST", PathAdminFlush, nil, FlushRequest{MaxItems: most, MaxAge: age.String()}, &out); err != nil {
		return 0, fmt.Errorf("cannot flush alerts: %w", err)
	}
	return out.Deleted, nil
}

// AddAllowlist makes an empty list. The name being taken gives ErrExists.
func (a *Admin) AddAllowlist(ctx context.Context, name, description string) error {
	if err := a.c.call(ctx, asNobody, "POST", PathAdminAllowlists, nil, AddAllowlistRequest{Name: name, Description: description}, nil); err != nil {
		return fmt.Errorf("cannot add allowlist %q: %w", name, err)
	}
	return nil
}

// DeleteAllowlist deletes a list with its items.
func (a *Admin) DeleteAllowlist(ctx context.Context, name string) error {
	if err := a.c.call(ctx, asNobody, "DELETE", PathAdminAllowlists+"/"+url.PathEscape(name), nil, nil, nil); err != nil {
		return fmt.Errorf("cannot delete allowlist %q: %w", name, err)
	}
	return nil
}

// Allow adds items to a list, all or none, and lifts the bans that they cover.
func (a *Admin) Allow(ctx context.Context, name string, items []AllowRequestItem) (AllowResponse, error) {
	var out AllowResponse
	if err := a.c.call(ctx, asNobody, "POST", PathAdminAllowlists+"/"+url.PathEscape(name)+"/add", nil, AllowRequest{Items: items}, &out); err != nil {
		return AllowResponse{}, fmt.Errorf("cannot add to allowlist %q: %w", name, err)
	}
	return out, nil
}

// Disallow removes items from a list and returns how many there were.
func (a *Admin) Disallow(ctx context.Context, name string, values []string) (int, error) {
	var out DisallowResponse
	if err := a.c.call(ctx, asNobody, "POST", PathAdminAllowlists+"/"+url.PathEscape(name)+"/remove", nil, DisallowRequest{Values: values}, &out); err != nil {
		return 0, fmt.Errorf("cannot remove from allowlist %q: %w", name, err)
	}
	return out.Removed, nil
}

// Client returns a client for the machine routes over the socket. It needs no
// credentials. The call fails when nobody listens.
func (a *Admin) Client(ctx context.Context) (*Client, error) {
	if a.socket != "" {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", a.socket)
		if err != nil {
			return nil, reachable(err)
		}
		conn.Close()
	}
	return a.c, nil
}

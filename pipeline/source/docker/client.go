package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// The API is Docker's Engine API, of which Podman's service speaks the parts
// that are used here. Paths have no version, so that the server takes its own.

const (
	// maxReply bounds the lists of containers and services.
	maxReply = 32 << 20
	maxError = 4 << 10
)

// parseHost reads docker_host: unix://PATH, tcp://HOST:PORT or http://HOST:PORT; "" stands for
// DOCKER_HOST, or the socket that is there.
func parseHost(host string) (*url.URL, error) {
	if host == "" {
		return nil, nil
	}
	if strings.HasPrefix(host, "/") {
		host = "unix://" + host
	}
	u, err := url.Parse(host)
	if err != nil {
		return nil, err
	}
	switch {
	case u.Scheme == "unix" && u.Path != "", (u.Scheme == "tcp" || u.Scheme == "http") && u.Host != "":
		return u, nil
	}
	return nil, fmt.Errorf("want unix:///PATH or tcp://HOST:PORT, not %q", host)
}

// sockets are where Docker and Podman listen.
func sockets() []string {
	list := []string{"/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock"}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		list = append(list, filepath.Join(dir, "docker.sock"), filepath.Join(dir, "podman", "podman.sock"))
	}
	return list
}

// client speaks with one server.
type client struct {
	http http.Client
	base string
}

// connect returns a client for a host; for nil that of DOCKER_HOST, else the first
// socket that is there. It sends nothing yet.
func connect(host *url.URL) (*client, error) {
	if host == nil {
		if text := os.Getenv("DOCKER_HOST"); text != "" {
			var err error
			if host, err = parseHost(text); err != nil {
				return nil, fmt.Errorf("cannot use DOCKER_HOST: %w", err)
			}
		}
	}
	if host == nil {
		for _, path := range sockets() {
			if fi, err := os.Stat(path); err == nil && fi.Mode()&os.ModeSocket != 0 {
				host = &url.URL{Scheme: "unix", Path: path}
				break
			}
		}
	}
	switch {
	case host == nil && runtime.GOOS == "windows":
		return nil, fmt.Errorf("cannot find Docker: say docker_host: tcp://HOST:PORT: %w", errors.ErrUnsupported)
	case host == nil:
		return nil, fmt.Errorf("cannot find the socket of Docker or Podman: none of %s is there", strings.Join(sockets(), ", "))
	}
	c := &client{base: "http://" + host.Host}
	t := &http.Transport{MaxIdleConns: 4}
	if host.Scheme == "unix" {
		c.base = "http://docker"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", host.Path)
		}
	}
	c.http.Transport = t
	return c, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// errGone says that there is no such container or service any more.
var errGone = errors.New("it is gone")

// stream asks for something and returns its body.
func (c *client) stream(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, errGone
	}
	var reply struct{ Message string }
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if json.Unmarshal(text, &reply) != nil || reply.Message == "" {
		reply.Message = strings.TrimSpace(string(text))
	}
	return nil, fmt.Errorf("%s: %s", resp.Status, reply.Message)
}

func (c *client) get(ctx context.Context, path string, query url.Values, dst any) error {
	body, err := c.stream(ctx, path, query)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(io.LimitReader(body, maxReply)).Decode(dst)
}

// target is a container or a service.
type target struct {
	service bool
	id      string
	name    string
	marks   map[string]string // its labels
	tty     bool
	running bool
}

func (t *target) path() string {
	if t.service {
		return "/services/" + url.PathEscape(t.id)
	}
	return "/containers/" + url.PathEscape(t.id)
}

// containers lists containers: those that run, or all.
func (c *client) containers(ctx context.Context, all bool) (list []*target, err error) {
	var reply []struct {
		ID     string `json:"Id"`
		Names  []string
		Labels map[string]string
	}
	query := url.Values{}
	if all {
		query.Set("all", "1")
	}
	if err := c.get(ctx, "/containers/json", query, &reply); err != nil {
		return nil, fmt.Errorf("cannot list containers: %w", err)
	}
	for _, r := range reply {
		t := &target{id: r.ID, marks: r.Labels, running: true}
		for _, name := range r.Names { // others are "/of another container/alias"
			if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
				t.name = name
				break
			}
		}
		list = append(list, t)
	}
	return list, nil
}

// container returns one container.
func (c *client) container(ctx context.Context, id string) (*target, error) {
	var reply struct {
		ID     string `json:"Id"`
		Name   string
		Config struct {
			Tty    bool
			Labels map[string]string
		}
		State struct{ Running bool }
	}
	if err := c.get(ctx, "/containers/"+url.PathEscape(id)+"/json", nil, &reply); err != nil {
		return nil, err
	}
	return &target{
		id: reply.ID, name: strings.TrimPrefix(reply.Name, "/"), marks: reply.Config.Labels, tty: reply.Config.Tty, running: reply.State.Running,
	}, nil
}

type service struct {
	ID   string
	Spec struct {
		Name         string
		Labels       map[string]string
		TaskTemplate struct{ ContainerSpec struct{ TTY bool } }
	}
}

func (s *service) target() *target {
	return &target{service: true, id: s.ID, name: s.Spec.Name, marks: s.Spec.Labels, tty: s.Spec.TaskTemplate.ContainerSpec.TTY, running: true}
}

// services lists the services of a swarm.
func (c *client) services(ctx context.Context) (list []*target, err error) {
	var reply []service
	if err := c.get(ctx, "/services", nil, &reply); err != nil {
		return nil, fmt.Errorf("cannot list services, which only a manager of a swarm can: %w", err)
	}
	for i := range reply {
		list = append(list, reply[i].target())
	}
	return list, nil
}

// serviceOf returns one service.
func (c *client) serviceOf(ctx context.Context, id string) (*target, error) {
	var reply service
	if err := c.get(ctx, "/services/"+url.PathEscape(id), nil, &reply); err != nil {
		return nil, err
	}
	return reply.target(), nil
}

// event is what happened to a container or a service.
type event struct {
	Type, Action string
	ID           string `json:"id"` // of old servers, and of Podman
	Actor        struct{ ID string }
	TimeNano     int64 `json:"timeNano"`
}

// events calls f for each start of a container and creation of a service, until the
// stream ends. It calls opened when the stream runs.
func (c *client) events(ctx context.Context, services bool, opened func() error, f func(event)) error {
	filters := `{"type":["container"],"event":["start"]}`
	if services {
		filters = `{"type":["container","service"],"event":["start","create"]}`
	}
	body, err := c.stream(ctx, "/events", url.Values{"filters": {filters}})
	if err != nil {
		return fmt.Errorf("cannot follow events: %w", err)
	}
	defer body.Close()
	if err := opened(); err != nil {
		return err
	}
	for in := json.NewDecoder(body); ; {
		var e event
		if err := in.Decode(&e); err != nil {
			return fmt.Errorf("cannot follow events: %w", err)
		}
		if e.Actor.ID == "" {
			e.Actor.ID = e.ID
		}
		f(e)
	}
}

package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"cs/decisions"
)

const (
	// gzipOver is the size above which a body goes out compressed, as upstream's do.
	gzipOver = 5 << 10
	// maxAnswer bounds what is read of an ordinary answer. The largest is a
	// list of all alerts.
	maxAnswer = 256 << 20
	// callTimeout bounds how long the beginning of an answer, and each further
	// part of it, is waited for; the stream has its own.
	callTimeout = time.Minute
	// renewBefore is how much life a token must have left to be used.
	renewBefore = time.Minute
	// relogins bounds how often one call logs in again after a 401 or 403, and
	// replays how often it is repeated after "busy" (429, 503, 504).
	relogins = 2
	replays  = 3
	// longestPause bounds what a server may ask for with Retry-After.
	longestPause = 15 * time.Second
)

// ClientConfig says where the LAPI is and who we are. A machine has MachineID
// and Password, a bouncer has APIKey.
type ClientConfig struct {
	URL       string // "http://…", "https://…", or the path of a unix socket
	MachineID string
	Password  string
	APIKey    string

	CACert             string // file with authorities to trust beside the system's; "": none
	CertFile           string // client certificate and its key; read again for each connection
	KeyFile            string
	InsecureSkipVerify bool

	UserAgent string          // "name/version" with exactly one slash; "": UserAgent("")
	Scenarios func() []string // what a login reports; may be nil
	// Clock is told of each answer what time it is at the server, to the second. May
	// be nil.
	Clock func(server time.Time)
}

// Client talks to a LAPI. It logs in when a call first needs it, renews the
// token by itself, and repeats what the server was too busy for. All methods
// are safe for concurrent use.
type Client struct {
	conf   ClientConfig
	base   string // scheme and host, path prefix, no slash at the end
	socket string // path of the unix socket, or ""
	open   bool   // who may open it needs no token, but for servers of earlier versions
	http   *http.Client
	login  chan struct{} // holds one element while nobody logs in
	token  token         // guarded by login
	sleep  func(context.Context, time.Duration) error
	now    func() time.Time
}

type token struct {
	text   string
	expire time.Time
}

// NewClient checks the configuration. It connects to nothing yet.
func NewClient(conf ClientConfig) (*Client, error) {
	if strings.HasPrefix(conf.URL, "/") {
		return newClient(conf, conf.URL)
	}
	return newClient(conf, "")
}

func newClient(conf ClientConfig, socket string) (*Client, error) {
	if conf.UserAgent == "" {
		conf.UserAgent = UserAgent("")
	}
	if strings.Count(conf.UserAgent, "/") != 1 {
		return nil, fmt.Errorf("cannot use %q as user agent: want name/version", conf.UserAgent)
	}
	tlsConf, err := clientTLS(conf)
	if err != nil {
		return nil, err
	}
	c := &Client{
		conf: conf,
		http: &http.Client{
			// A redirect would carry our key to whatever it names.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		socket: socket,
		login:  make(chan struct{}, 1),
		sleep:  sleep,
		now:    time.Now,
	}
	c.login <- struct{}{}

	dial := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	if socket != "" {
		if tlsConf != nil {
			return nil, fmt.Errorf("cannot use TLS with a unix socket (%s)", socket)
		}
		c.http.Transport = &overSocket{path: socket, dial: dial}
		c.base = "http://unix"
		return c, nil
	}
	c.http.Transport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dial.DialContext,
		TLSClientConfig:       tlsConf,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       2 * time.Minute,
		MaxIdleConnsPerHost:   2,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true, // the server never compresses
	}
	u, err := url.Parse(conf.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("cannot use %q as URL of the local API: want http://host:port, https://host:port or the path of a unix socket", conf.URL)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("cannot use the URL of %s for the local API: it may hold scheme, host and path only", u.Host)
	}
	c.base = strings.TrimRight(u.String(), "/")
	return c, nil
}

func clientTLS(conf ClientConfig) (*tls.Config, error) {
	if conf.CACert == "" && conf.CertFile == "" && conf.KeyFile == "" && !conf.InsecureSkipVerify {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: conf.InsecureSkipVerify}
	if conf.CACert != "" {
		pem, err := os.ReadFile(conf.CACert)
		if err != nil {
			return nil, fmt.Errorf("cannot read the certificate authorities: %w", err)
		}
		if t.RootCAs, err = x509.SystemCertPool(); err != nil { // a router may have none
			t.RootCAs = x509.NewCertPool()
		}
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cannot read the certificate authorities: %s holds no PEM certificate", conf.CACert)
		}
	}
	if conf.CertFile != "" || conf.KeyFile != "" {
		load := func() (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(conf.CertFile, conf.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("cannot load the client certificate: %w", err)
			}
			return &cert, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		// Certificates are short-lived where a machine issues them.
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return t, nil
}

// Close lets go of idle connections. The client stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Health asks whether the server is up.
func (c *Client) Health(ctx context.Context) error {
	return c.call(ctx, asNobody, "GET", PathHealth, nil, nil, nil)
}

// Register asks for a machine account. It is validated at once if the token
// is the server's and our address allowed; otherwise an operator has to.
func (c *Client) Register(ctx context.Context, machineID, password, token string) (validated bool, err error) {
	var status int
	err = c.exchange(ctx, asNobody, "POST", PathWatchers, nil,
		RegisterRequest{MachineID: machineID, Password: password, RegistrationToken: token},
		func(r *http.Response) error { status = r.StatusCode; return nil })
	if err != nil {
		return false, fmt.Errorf("cannot register machine %q: %w", machineID, err)
	}
	return status == http.StatusAccepted, nil
}

// RegisterBouncer asks our own server for a bouncer's key.
func (c *Client) RegisterBouncer(ctx context.Context, name, token string) (key string, err error) {
	var out BouncerResponse
	err = c.call(ctx, asNobody, "POST", PathBouncers, nil, BouncerRequest{Name: name, RegistrationToken: token}, &out)
	if err != nil {
		return "", fmt.Errorf("cannot register bouncer %q: %w", name, err)
	}
	return out.Key, nil
}

// Login logs in now, whether there is a good token or not.
func (c *Client) Login(ctx context.Context) error {
	select {
	case <-c.login:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { c.login <- struct{}{} }()
	return c.loginLocked(ctx)
}

// Heartbeat tells the server that the machine lives.
func (c *Client) Heartbeat(ctx context.Context) error {
	if err := c.call(ctx, asMachine, "GET", PathHeartbeat, nil, nil, nil); err != nil {
		return fmt.Errorf("cannot send the heartbeat: %w", err)
	}
	return nil
}

// Unregister has the server delete the machine.
func (c *Client) Unregister(ctx context.Context) error {
	if err := c.call(ctx, asMachine, "DELETE", PathSelf, nil, nil, nil); err != nil {
		return fmt.Errorf("cannot delete this machine: %w", err)
	}
	return nil
}

// SendAlerts delivers alerts; their UUIDs let our server recognise a
// repeated delivery.
func (c *Client) SendAlerts(ctx context.Context, alerts []decisions.Alert) error {
	now := c.now()
	out := make([]Alert, len(alerts))
	for i := range alerts {
		out[i] = FromAlert(&alerts[i], now)
	}
	_, err := c.PostAlerts(ctx, out)
	return err
}

// PostAlerts delivers alerts and returns the IDs they were given: fewer than
// alerts when the server dropped some.
func (c *Client) PostAlerts(ctx context.Context, alerts []Alert) (ids []string, err error) {
	for i := range alerts {
		if alerts[i].Events == nil {
			alerts[i].Events = []Event{} // null is refused, here and below
		}
		for j := range alerts[i].Events {
			if e := &alerts[i].Events[j]; e.Meta == nil {
				e.Meta = []Meta{}
			}
		}
	}
	if err := c.call(ctx, asMachine, "POST", PathAlerts, nil, alerts, &ids); err != nil {
		return nil, fmt.Errorf("cannot send %d alerts: %w", len(alerts), err)
	}
	return ids, nil
}

// Alert returns one alert with its events.
func (c *Client) Alert(ctx context.Context, id int64) (Alert, error) {
	var out Alert
	if err := c.call(ctx, asMachine, "GET", PathAlerts+"/"+strconv.FormatInt(id, 10), nil, nil, &out); err != nil {
		return Alert{}, fmt.Errorf("cannot read alert %d: %w", id, err)
	}
	return out, nil
}

// DeleteAlerts deletes the alerts that the query selects, and their decisions.
func (c *Client) DeleteAlerts(ctx context.Context, query url.Values) (int, error) {
	return c.remove(ctx, PathAlerts, query, "alerts")
}

// DeleteAlert deletes one alert and its decisions.
func (c *Client) DeleteAlert(ctx context.Context, id int64) error {
	_, err := c.remove(ctx, PathAlerts+"/"+strconv.FormatInt(id, 10), nil, "alert "+strconv.FormatInt(id, 10))
	return err
}

// DeleteDecisions ends the decisions that the query selects: all, if it is
// empty. The server refuses the key "scope".
func (c *Client) DeleteDecisions(ctx context.Context, query url.Values) (int, error) {
	return c.remove(ctx, PathDecisions, query, "decisions")
}

// DeleteDecision ends one decision.
func (c *Client) DeleteDecision(ctx context.Context, id int64) error {
	_, err := c.remove(ctx, PathDecisions+"/"+strconv.FormatInt(id, 10), nil, "decision "+strconv.FormatInt(id, 10))
	return err
}

func (c *Client) remove(ctx context.Context, path string, query url.Values, what string) (int, error) {
	var out DeletedResponse
	if err := c.call(ctx, asMachine, "DELETE", path, query, nil, &out); err != nil {
		return 0, fmt.Errorf("cannot delete %s: %w", what, err)
	}
	n, err := strconv.Atoi(out.Deleted)
	if err != nil {
		return 0, fmt.Errorf("cannot delete %s: the answer counts %q", what, out.Deleted)
	}
	return n, nil
}

// identity is in whose name a request goes out.
type identity int

const (
	asNobody identity = iota
	asMachine
	asBouncer
)

// call sends in as JSON, unless nil, and decodes the answer into out, unless nil.
func (c *Client) call(ctx context.Context, who identity, method, path string, query url.Values, in, out any) error {
	return c.exchange(ctx, who, method, path, query, in, func(r *http.Response) error {
		if out == nil {
			return nil
		}
		if err := json.NewDecoder(io.LimitReader(r.Body, maxAnswer)).Decode(out); err != nil {
			return fmt.Errorf("cannot read the answer: %w", err)
		}
		return nil
	})
}

// exchange does one call with all its repetitions and hands a good answer to
// read, at most once.
func (c *Client) exchange(ctx context.Context, who identity, method, path string, query url.Values, in any, read func(*http.Response) error) error {
	body, err := encodeBody(in)
	if err != nil {
		return err
	}
	for denied, busy := 0, 0; ; {
		resp, cancel, err := c.send(ctx, who, method, path, query, body)
		if err != nil {
			return err
		}
		if resp.StatusCode < 300 {
			err := read(resp)
			closeBody(resp)
			cancel()
			return err
		}
		failure := readError(resp)
		closeBody(resp)
		cancel()
		switch failure.Status {
		case http.StatusUnauthorized, http.StatusForbidden:
			c.renew()
			if who != asMachine || denied == relogins {
				return failure
			}
			denied++
			if err := c.relogin(ctx, resp.Request.Header.Get("Authorization")); err != nil {
				return err
			}
		case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			if busy == replays {
				return failure
			}
			busy++
			if err := c.sleep(ctx, pause(resp, busy)); err != nil {
				return fmt.Errorf("%w, after: %w", err, failure)
			}
		default:
			return failure
		}
	}
}

// renew makes the next request show the certificate that is in its file now.
func (c *Client) renew() {
	if c.conf.CertFile != "" {
		c.http.CloseIdleConnections()
	}
}

// send makes one attempt. The caller closes the body, then calls cancel.
func (c *Client) send(ctx context.Context, who identity, method, path string, query url.Values, body []byte) (*http.Response, context.CancelFunc, error) {
	if who == asMachine {
		if err := c.needToken(ctx); err != nil {
			return nil, nil, err
		}
	}
	ctx, end := context.WithCancelCause(ctx)
	patience := time.AfterFunc(callTimeout, func() { end(errNoAnswer) })
	cancel := func() {
		patience.Stop()
		end(nil)
	}
	req, err := c.request(ctx, who, method, path, query, body)
	if err == nil {
		var resp *http.Response
		if resp, err = c.http.Do(req); err == nil {
			if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil && c.conf.Clock != nil {
				c.conf.Clock(at)
			}
			resp.Body = &awaited{resp.Body, patience}
			return resp, cancel, nil
		}
		err = reachable(err)
	}
	cancel()
	return nil, nil, err
}

var errNoAnswer = fmt.Errorf("the LAPI was silent for %s: %w", callTimeout, context.DeadlineExceeded)

// awaited is a body that must go on within callTimeout, but only while somebody
// reads it: what is printed may be held up by a pager.
type awaited struct {
	io.ReadCloser
	patience *time.Timer
}

func (a *awaited) Read(p []byte) (int, error) {
	a.patience.Reset(callTimeout)
	defer a.patience.Stop()
	return a.ReadCloser.Read(p)
}

func (c *Client) request(ctx context.Context, who identity, method, path string, query url.Values, body []byte) (*http.Request, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	compressed := compresses && len(body) > gzipOver
	if compressed {
		body = compress(body)
	}
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, r)
	if err != nil {
		return nil, fmt.Errorf("cannot make a request: %w", err)
	}
	req.Header.Set("User-Agent", c.conf.UserAgent)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if compressed {
		req.Header.Set("Content-Encoding", "gzip")
	}
	switch who {
	case asMachine:
		if token := c.currentToken(); token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
	case asBouncer:
		req.Header.Set(HeaderKey, c.conf.APIKey)
	}
	return req, nil
}

func (c *Client) currentToken() string {
	<-c.login
	defer func() { c.login <- struct{}{} }()
	return c.token.text
}

// needToken logs in unless there is a token that lives for another minute.
func (c *Client) needToken(ctx context.Context) error {
	select {
	case <-c.login:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { c.login <- struct{}{} }()
	if c.token.text == "" && c.open || c.token.text != "" && c.token.expire.Sub(c.now()) > renewBefore {
		return nil
	}
	return c.loginLocked(ctx)
}

// relogin replaces the token that was refused, unless somebody else has done
// so already.
func (c *Client) relogin(ctx context.Context, refused string) error {
	select {
	case <-c.login:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { c.login <- struct{}{} }()
	if c.token.text != "" && "Bearer "+c.token.text != refused {
		return nil
	}
	return c.loginLocked(ctx)
}

func (c *Client) loginLocked(ctx context.Context) error {
	c.token = token{}
	login := LoginRequest{MachineID: c.conf.MachineID, Password: c.conf.Password}
	if c.conf.Scenarios != nil {
		login.Scenarios = c.conf.Scenarios()
	}
	path, in, who := PathLogin, any(login), strconv.Quote(c.conf.MachineID)
	switch {
	case c.conf.MachineID != "":
	case c.socket != "":
		// Who may open the administration socket needs no password.
		path, in = PathAdminLogin, struct{}{}
	case c.conf.CertFile != "":
		who = "the owner of " + c.conf.CertFile
	default:
		return errors.New("cannot log in: there are no machine credentials")
	}
	var out LoginResponse
	if err := c.call(ctx, asNobody, "POST", path, nil, in, &out); err != nil {
		return fmt.Errorf("cannot log in as %s: %w", who, err)
	}
	expire, err := time.Parse(time.RFC3339, out.Expire)
	if err != nil || out.Token == "" {
		return fmt.Errorf("cannot log in as %s: the answer holds no token with an expiry", who)
	}
	c.token = token{text: out.Token, expire: expire}
	return nil
}

func encodeBody(in any) ([]byte, error) {
	if in == nil {
		return nil, nil
	}
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the request: %w", err)
	}
	return body, nil
}

// closeBody reads a little of what is left, so that the connection can be used again.
func closeBody(r *http.Response) {
	io.CopyN(io.Discard, r.Body, 64<<10)
	r.Body.Close()
}

// pause is how long to wait before the n-th repetition.
func pause(r *http.Response, n int) time.Duration {
	if s, err := strconv.Atoi(r.Header.Get("Retry-After")); err == nil && s >= 0 {
		return time.Duration(min(s, int(longestPause/time.Second))) * time.Second
	}
	return time.Second << (n - 1)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

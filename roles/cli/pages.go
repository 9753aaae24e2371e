package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"cs/platform/metric"
	"cs/roles/config"
	"cs/roles/status"
)

// maxPage bounds a page of metrics.
const maxPage = 64 << 20

// A page is the numbers of one process.
type page struct {
	source  string // the socket or URL
	samples []metric.Sample
}

// runningPages returns the numbers of the processes of this host that run with
// our data directory.
func (s *session) runningPages(ctx context.Context) (pages []page) {
	dir := s.file.DataDir()
	for _, socket := range []string{s.socket, filepath.Join(dir, config.AgentSocketName)} {
		if p, err := readPage(ctx, socket); err == nil {
			pages = append(pages, p)
		}
	}
	return pages
}

// readPage reads a page at a URL, or behind a socket.
func readPage(ctx context.Context, from string) (page, error) {
	p, url := page{source: from}, from
	transport := &http.Transport{Proxy: nil}
	if strings.HasPrefix(from, "/") {
		url = "http://socket/metrics"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", from)
		}
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return p, err
	}
	client := http.Client{Transport: transport, Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return p, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return p, fmt.Errorf("cannot get %s: %s", url, resp.Status)
	}
	err = metric.Parse(io.LimitReader(resp.Body, maxPage), func(m metric.Sample) { p.samples = append(p.samples, m) })
	return p, err
}

// firewall asks the bouncer of this host how it is; nil if none runs. It takes
// and gives a line of JSON.
func (s *session) firewall(ctx context.Context) *status.Firewall {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.file.DataDir(), config.BouncerSocketName))
	if err != nil {
		return nil
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, "{\"ask\":\"status\"}\n"); err != nil {
		return nil
	}
	var answer struct {
		Status *status.Firewall `json:"status"`
	}
	if json.NewDecoder(io.LimitReader(conn, maxPage)).Decode(&answer) != nil {
		return nil
	}
	return answer.Status
}

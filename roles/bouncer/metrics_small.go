//go:build bouncer_only

package bouncer

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"cs/platform/metric"
)

const (
	pageTime   = 10 * time.Second
	maxRequest = 8 << 10
)

// servePage serves /metrics by HTTP/1.0, one request after the other: net/http's
// server would make this build larger by a twentieth.
func servePage(ctx context.Context, addr string, sources ...metric.Source) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("cannot serve metrics: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	for {
		conn, err := l.Accept()
		if err != nil {
			return fmt.Errorf("cannot serve metrics on %s: %w", addr, err)
		}
		answerPage(ctx, conn, sources)
		conn.Close()
	}
}

func answerPage(ctx context.Context, conn net.Conn, sources []metric.Source) {
	conn.SetDeadline(time.Now().Add(pageTime))
	in := bufio.NewReaderSize(conn, maxRequest)
	first, err := in.ReadSlice('\n')
	request := string(first)
	for n := len(first); err == nil && n < maxRequest; {
		var line []byte
		if line, err = in.ReadSlice('\n'); len(strings.TrimSpace(string(line))) == 0 {
			break
		}
		n += len(line)
	}
	if err != nil {
		return
	}
	if path, ok := strings.CutPrefix(request, "GET /metrics"); !ok || path == "" || !strings.ContainsAny(path[:1], " ?") {
		fmt.Fprint(conn, "HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	}
	var w metric.Writer
	for _, source := range sources {
		source(ctx, &w)
	}
	body := w.Bytes()
	fmt.Fprintf(conn, "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", len(body))
	conn.Write(body) // who went away can't be told
}

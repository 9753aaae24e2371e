package bouncer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/remediate"
	"cs/roles/config"
)

// A running bouncer answers questions on a socket in the data directory, which
// only its owner may open: one line of JSON in, one out.

const (
	maxQuestion = 4 << 10
	maxAnswer   = 16 << 20
	// answerTime bounds one exchange; a proof of a million entries takes its time.
	answerTime = 2 * time.Minute
	// maxAskers bounds those who are answered at a time; others wait.
	maxAskers = 4
	// maxSample bounds the entries that are asked for in one proof.
	maxSample = 1_000_000
)

// question is what a command asks.
type question struct {
	Ask     string `json:"ask"` // "status", "verify" or "explain"
	Sample  int    `json:"sample,omitempty"`
	Address string `json:"address,omitempty"`
}

// answer is what it gets.
type answer struct {
	Error       string             `json:"error,omitempty"`
	Status      *Status            `json:"status,omitempty"`
	Verdict     *remediate.Verdict `json:"verdict,omitempty"`
	Explanation *explanation       `json:"explanation,omitempty"`
}

// explanation is remediate's, with the decisions as they are shown.
type explanation struct {
	remediate.Explanation
	Guards    []Guard  `json:"guards,omitempty"`
	Ports     []string `json:"ignored_ports,omitempty"`
	Decisions []ruled  `json:"decisions,omitempty"`
}

// ruled is a decision that covers an address.
type ruled struct {
	ID       int64     `json:"id"`
	Origin   string    `json:"origin"`
	Type     string    `json:"type"`
	Scenario string    `json:"scenario,omitempty"`
	Value    string    `json:"value"`
	Until    time.Time `json:"until"`
}

// control answers questions until ctx ends. Without a socket the bouncer is as
// good, only silent.
func (b *Bouncer) control(ctx context.Context) {
	if b.cfg.ControlPath == "" {
		return
	}
	l, err := listenControl(ctx, b.cfg.ControlPath)
	if err != nil {
		b.log.Warn("status, verify and explain will not be answered", "err", err)
		return
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	var askers sync.WaitGroup
	defer askers.Wait()
	room := make(chan struct{}, maxAskers)
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		room <- struct{}{}
		askers.Go(func() {
			defer func() { <-room }()
			defer conn.Close()
			end := context.AfterFunc(ctx, func() { conn.Close() })
			defer end()
			conn.SetDeadline(time.Now().Add(answerTime))
			b.converse(ctx, conn)
		})
	}
}

// listenControl makes the socket, in place of one that a killed process left.
func listenControl(ctx context.Context, path string) (net.Listener, error) {
	if err := platform.MakeDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, fmt.Errorf("another bouncer answers on %s", path)
		}
		_ = os.Remove(path)
		if l, err = lc.Listen(ctx, "unix", path); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (b *Bouncer) converse(ctx context.Context, conn net.Conn) {
	in := bufio.NewReaderSize(conn, maxQuestion)
	line, err := in.ReadSlice('\n')
	var q question
	if err != nil || json.Unmarshal(line, &q) != nil {
		return // it speaks another language
	}
	text, err := json.Marshal(b.answer(ctx, &q))
	if err == nil {
		conn.Write(append(text, '\n')) // who went away can't be told
	}
}

func (b *Bouncer) answer(ctx context.Context, q *question) (a answer) {
	fail := func(err error) answer { return answer{Error: err.Error()} }
	switch q.Ask {
	case "status":
		s := b.Status(ctx)
		a.Status = &s
	case "verify":
		v, err := b.r.Verify(ctx, min(max(q.Sample, 1), maxSample))
		if err != nil {
			return fail(err)
		}
		a.Verdict = &v
	case "explain":
		addr, err := decisions.ParseAddr(q.Address)
		if err != nil {
			return fail(err)
		}
		e, err := b.explain(ctx, addr)
		if err != nil {
			return fail(err)
		}
		a.Explanation = &e
	default:
		return fail(fmt.Errorf("unknown question %q", q.Ask))
	}
	return a
}

func (b *Bouncer) explain(ctx context.Context, addr netip.Addr) (explanation, error) {
	e, err := b.r.Explain(ctx, addr)
	out := explanation{Explanation: e, Ports: b.ports()}
	for i := range e.Decisions {
		d := &e.Decisions[i]
		out.Decisions = append(out.Decisions, ruled{d.ID, d.Origin, d.Type, d.Scenario, d.Value, d.Until})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.guarded {
		if g.Prefix.Contains(addr) {
			out.Guards = append(out.Guards, g)
		}
	}
	return out, err
}

// askRunning asks the bouncer that runs with a data directory.
func askRunning(ctx context.Context, dir string, q question) (a answer, err error) {
	path := filepath.Join(dir, config.BouncerSocketName)
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return a, fmt.Errorf("no firewall bouncer runs with data directory %s: %w", dir, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	conn.SetDeadline(time.Now().Add(answerTime))
	text, err := json.Marshal(q)
	if err == nil {
		_, err = conn.Write(append(text, '\n'))
	}
	if err == nil {
		err = json.NewDecoder(&limited{conn, maxAnswer}).Decode(&a)
	}
	if err != nil {
		return a, fmt.Errorf("cannot ask the firewall bouncer: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// limited is io.LimitReader with an error at the limit.
type limited struct {
	net.Conn
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errors.New("the answer is too long")
	}
	n, err := l.Conn.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

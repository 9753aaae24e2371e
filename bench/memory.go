//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cs/bench/gen"
	"cs/bench/lab"
)

// memory measures agents with little and with much content: how soon they read,
// and what they hold at rest and after a day's lines.
func (b *bench) memory(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	dir := filepath.Join(b.dir, "memory")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	const token = "a-registration-token-of-the-bench"
	const addr = "127.0.0.1:18190"
	server, err := launch(ctx, lab.Ready("lapi"), b.binary, "lapi", "--data-dir", filepath.Join(dir, "lapi"), "--listen", addr, "--token", token)
	if err != nil {
		return err
	}
	defer server.kill()
	for _, c := range []struct {
		name      string
		items     []string // none: the starter set; "all": everything
		ready, mb float64  // targets
	}{
		{"starter set", nil, 50, 15},
		{"sshd, nginx, linux", []string{"crowdsecurity/linux", "crowdsecurity/nginx"}, 0, 30},
		{"everything of the hub", []string{"all"}, 300, 60},
	} {
		if c.items != nil && b.corpus == nil {
			continue
		}
		home, log := filepath.Join(dir, c.name), filepath.Join(dir, c.name+".log")
		if err := os.WriteFile(log, nil, 0o644); err != nil {
			return err
		}
		args := []string{"agent", "--lapi-url", "http://" + addr, "--token", token, "--machine", strings.ReplaceAll(c.name, " ", ""), "--data-dir", home, "--log", log, "--type", "nginx"}
		if c.items != nil {
			content := b.corpus.all
			if c.items[0] != "all" {
				content = b.corpus.pick(c.items...)
			}
			if err := install(content, home+"-content"); err != nil {
				return err
			}
			args = append(args, "--content", home+"-content")
		}
		var ready time.Duration
		for range 3 {
			start := time.Now()
			agent, err := launch(ctx, lab.Ready("agent"), b.binary, args...)
			if err != nil {
				return err
			}
			if took := time.Since(start); ready == 0 || took < ready {
				ready = took
			}
			agent.kill()
		}
		agent, err := launch(ctx, lab.Ready("agent"), b.binary, args...)
		if err != nil {
			return err
		}
		defer agent.kill()
		note := "from the start of the process"
		if c.ready > 0 {
			note += fmt.Sprintf("; target %g ms", c.ready)
		}
		b.row("cs agent: ready, "+c.name, ready.Round(time.Millisecond).String(), note)
		if err := agent.rest(ctx); err != nil {
			return err
		}
		atRest, err := lab.Memory(agent.Process.Pid)
		if err != nil {
			return err
		}
		f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		lines, err := gen.NewWeb(false).Write(f, 20<<20)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		if err := agent.rest(ctx); err != nil {
			return err
		}
		warm, err := lab.Memory(agent.Process.Pid)
		if err != nil {
			return err
		}
		b.row("  memory at rest", fmt.Sprintf("%.1f MB", float64(atRest)*1024/1e6), fmt.Sprintf("target %g MB; VmRSS; %.1f MB after %d lines", c.mb, float64(warm)*1024/1e6, lines))
	}
	return nil
}

// A process is a program that runs until it is killed.
type process struct{ *exec.Cmd }

// launch starts a program and returns when it has printed a text.
func launch(ctx context.Context, text, name string, args ...string) (process, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r, w, err := os.Pipe()
	if err != nil {
		return process{}, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close() // ours: the program has its own
	if err != nil {
		r.Close()
		return process{}, err
	}
	p := process{cmd}
	var out strings.Builder
	in := bufio.NewReader(r)
	for !strings.Contains(out.String(), text) {
		line, err := in.ReadString('\n')
		out.WriteString(line)
		if err != nil {
			p.kill()
			return process{}, fmt.Errorf("%s ended without printing %q: %s", filepath.Base(name), text, tail(out.String()))
		}
	}
	go func() {
		defer r.Close()
		_, _ = io.Copy(io.Discard, in)
	}()
	return p, nil
}

func (p process) kill() {
	p.Process.Kill()
	p.Wait()
}

// rest waits until the program has used no CPU for a second.
func (p process) rest(ctx context.Context) error {
	last := ""
	for {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		text, err := os.ReadFile("/proc/" + strconv.Itoa(p.Process.Pid) + "/stat")
		if err != nil {
			return err
		}
		// Fields 14 and 15, counted from the end of the name: time in user and
		// kernel mode, in hundredths of a second.
		_, rest, _ := strings.Cut(string(text), ") ")
		now := strings.Join(strings.Fields(rest)[11:13], " ")
		if now == last {
			return nil
		}
		last = now
	}
}

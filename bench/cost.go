//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A cost is what a program took to end.
type cost struct {
	wall, cpu time.Duration
	rss       int64 // most it had in memory, bytes
	out       string
}

// measured runs a program and measures it. What it prints, on both streams, is in the cost.
//
// A process that was started by another is said to have had as much memory as that
// one has: so the program is started by a small one, which is this program again.
func measured(ctx context.Context, name string, args ...string) (cost, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{name}, args...)...)
	cmd.Args[0] = measuring
	r, w, err := os.Pipe()
	if err != nil {
		return cost{}, err
	}
	defer r.Close()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &out, &out, []*os.File{w}
	err = cmd.Run()
	w.Close()
	c := cost{out: out.String()}
	if err != nil {
		return c, fmt.Errorf("cannot run %s: %w: %s", filepath.Base(name), err, tail(c.out))
	}
	var took rusage
	if err := json.NewDecoder(r).Decode(&took); err != nil {
		return c, fmt.Errorf("cannot measure %s: %w", filepath.Base(name), err)
	}
	c.wall, c.cpu, c.rss = took.Wall, took.CPU, took.RSS
	return c, nil
}

// measuring is the name by which this program runs another and measures it.
const measuring = "bench-measuring"

// rusage is what it says then, on its descriptor 3.
type rusage struct {
	Wall, CPU time.Duration
	RSS       int64
}

// measure runs the program that the arguments are, and returns its exit code.
func measure(args []string) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	err := cmd.Run()
	took := rusage{Wall: time.Since(start)}
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		return 127
	}
	if err == nil {
		took.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		took.RSS = int64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) * 1024
		if err := json.NewEncoder(os.NewFile(3, "measurement")).Encode(took); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 127
		}
	}
	return cmd.ProcessState.ExitCode()
}

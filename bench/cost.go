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
	"runtime"
	"strconv"
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
func measured(ctx context.Context, name string, args ...string) (cost, error) {
	all, err := repeated(ctx, 1, name, args...)
	if err != nil {
		return cost{}, err
	}
	return all[0], nil
}

// repeated is measured n times. What was printed the first time, and all errors, are in the first cost.
//
// A process that was started by another is said to have had as much memory as that
// one has: so the program is started by a small one, which is this program again.
func repeated(ctx context.Context, n int, name string, args ...string) ([]cost, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{strconv.Itoa(n), name}, args...)...)
	cmd.Args[0] = measuring
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &out, &out, []*os.File{w}
	err = cmd.Run()
	w.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot run %s: %w: %s", filepath.Base(name), err, tail(out.String()))
	}
	var each []rusage
	if err := json.NewDecoder(r).Decode(&each); err != nil {
		return nil, fmt.Errorf("cannot measure %s: %w", filepath.Base(name), err)
	}
	costs := make([]cost, len(each))
	for i, took := range each {
		costs[i] = cost{wall: took.Wall, cpu: took.CPU, rss: took.RSS}
	}
	costs[0].out = out.String()
	return costs, nil
}

// measuring is the name by which this program runs another and measures it.
const measuring = "bench-measuring"

// rusage is what it says then of each run, on its descriptor 3.
type rusage struct {
	Wall, CPU time.Duration
	RSS       int64
}

// measure runs a program: the arguments are how often, which one, and its own. It
// returns the exit code.
func measure(args []string) int {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 127
	}
	each := make([]rusage, n)
	runtime.GOMAXPROCS(1) // the other processors are for the program
	for i := range each {
		cmd := exec.Command(args[1], args[2:]...)
		cmd.Stderr = os.Stderr
		if i == 0 { // whoever reads it is in the way of the others
			cmd.Stdout = os.Stdout
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		start := time.Now()
		err := cmd.Run()
		took := rusage{Wall: time.Since(start)}
		if cmd.ProcessState == nil {
			fmt.Fprintln(os.Stderr, err)
			return 127
		}
		if err != nil {
			return cmd.ProcessState.ExitCode()
		}
		took.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		took.RSS = int64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) * 1024
		each[i] = took
	}
	if err := json.NewEncoder(os.NewFile(3, "measurement")).Encode(each); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 127
	}
	return 0
}

//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cs/bench/lab"
)

// cold measures commands from the start of the process to its end, with the
// program in the page cache: what who types them waits for.
func (b *bench) cold(ctx context.Context) error {
	const runs, target = 21, 20
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	dir := filepath.Join(b.dir, "cold")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	l.Close()
	server, err := launch(ctx, lab.Ready("lapi"), b.binaries[0], "lapi", "--data-dir", dir, "--listen", addr)
	if err != nil {
		return err
	}
	defer server.kill()
	for _, built := range b.binaries {
		binary, err := installed(built, b.dir)
		if err != nil {
			return err
		}
		commands := []string{"version", "decisions list", "decisions add --ip 192.0.2.7", "alerts list -o json", "--help"}
		if strings.Contains(filepath.Base(binary), "bouncer") {
			commands = []string{"version", "--help"}
		}
		for _, command := range commands {
			args := strings.Fields(command)
			if strings.Contains(command, " ") {
				args = append(args, "--data-dir", dir)
			}
			var walls, cpus []time.Duration
			var rss int64
			costs, err := repeated(ctx, runs, binary, args...)
			if err != nil {
				return err
			}
			for _, c := range costs {
				walls, cpus, rss = append(walls, c.wall), append(cpus, c.cpu), max(rss, c.rss)
			}
			slices.Sort(walls)
			slices.Sort(cpus)
			b.row(fmt.Sprintf("%s %s", filepath.Base(binary), command), fmt.Sprintf("%.1f ms", float64(walls[0].Microseconds())/1000),
				fmt.Sprintf("target %d ms; median %.1f ms, %.1f ms of CPU, %.1f MB at most", target, float64(walls[runs/2].Microseconds())/1000, float64(cpus[0].Microseconds())/1000, float64(rss)/1e6))
		}
	}
	return nil
}

// installed returns a copy of a program, as everybody has who has not just linked it: the
// linker maps the file it writes, and the kernel keeps what is written so in single pages.
// Each of those is a page fault of its own, five milliseconds of a start.
func installed(program, dir string) (string, error) {
	text, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, filepath.Base(program))
	return path, os.WriteFile(path, text, 0o755)
}

package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
)

// Replay reads finished files once, from start to end, with the clock of the
// log itself. Names ending in ".gz", and in ".zst" except in the edge build, are unpacked.
type Replay struct {
	globs  []string
	labels map[string]string
	max    int
	report func(error)
}

// NewReplay returns a source that reads the files of cfg, of which only Globs, Labels,
// MaxLine and Report matter here.
func NewReplay(cfg Config) *Replay {
	r := &Replay{globs: cfg.Globs, labels: cfg.Labels, max: cfg.MaxLine, report: cfg.Report}
	if r.report == nil {
		r.report = func(error) {}
	}
	return r
}

// Name returns the patterns.
func (r *Replay) Name() string { return strings.Join(r.globs, ",") }

// Run reads the files in the order of the patterns, each pattern's by name. A pattern
// without a match, or a file that can't be read, is an error.
func (r *Replay) Run(ctx context.Context, out source.Sink) error {
	line := event.Line{Module: "file", Labels: r.labels, Mode: event.Replay}
	split := source.NewSplitter(line, r.max, time.Now)
	for _, g := range r.globs {
		paths, err := filepath.Glob(g)
		if err != nil {
			return fmt.Errorf("cannot read %q: %w", g, err)
		}
		if len(paths) == 0 {
			return fmt.Errorf("cannot read %s: %w", g, os.ErrNotExist)
		}
		for _, path := range paths {
			if fi, err := os.Stat(path); err == nil && fi.IsDir() {
				continue
			}
			split.SetSource(path)
			if err := replay(ctx, split, path, out); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return describe(path, err)
			}
		}
	}
	if split.Cut > 0 {
		r.report(fmt.Errorf("%d lines of %s were longer than %d bytes and are cut", split.Cut, r.Name(), split.Max()))
	}
	return nil
}

func replay(ctx context.Context, split *source.Splitter, path string, out source.Sink) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := unpacked(path, f)
	if err != nil {
		return err
	}
	defer z.Close()
	return split.Stream(ctx, z, out)
}

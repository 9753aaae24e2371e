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
type Replay struct{ cfg Config }

// NewReplay returns a source that reads the files of cfg, of which only Globs, Exclude,
// Labels, MaxLine, MayMiss and Report matter here.
func NewReplay(cfg Config) *Replay {
	if cfg.Report == nil {
		cfg.Report = func(error) {}
	}
	return &Replay{cfg}
}

// Name returns the patterns.
func (r *Replay) Name() string { return strings.Join(r.cfg.Globs, ",") }

// Run reads the files in the order of the patterns, each pattern's by name. A file that
// can't be read is an error, and so is a pattern without a match, unless it may miss.
func (r *Replay) Run(ctx context.Context, out source.Sink) error {
	line := event.Line{Module: "file", Labels: r.cfg.Labels, Mode: event.Replay}
	split := source.NewSplitter(line, r.cfg.MaxLine, time.Now)
	for _, g := range r.cfg.Globs {
		paths, err := filepath.Glob(g)
		if err != nil {
			return fmt.Errorf("cannot read %q: %w", g, err)
		}
		if len(paths) == 0 {
			err := fmt.Errorf("cannot read %s: %w", g, os.ErrNotExist)
			if !r.cfg.MayMiss {
				return err
			}
			r.cfg.Report(err)
		}
		for _, path := range paths {
			if fi, err := os.Stat(path); r.cfg.excluded(path) || err == nil && fi.IsDir() {
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
		r.cfg.Report(fmt.Errorf("%d lines of %s were longer than %d bytes and are cut", split.Cut, r.Name(), split.Max()))
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

package agent

import (
	"cmp"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cespare/xxhash/v2"

	"cs/platform"
	"cs/roles/config"
)

const (
	// sweepEvery is the least pause between two looks at the files that a
	// configuration was made of. sweepShare makes it longer where there are many
	// of them: looking takes 0.05 % of a processor at most. It doubles at most from one
	// look to the next, as a look of a busy machine may take long once.
	sweepEvery = 2 * time.Second
	sweepShare = 2000
)

// Follow reloads the agent when hup tells to, and when a file changes that says
// what is read or what is an attack, until ctx ends. resolve reads the
// configuration again. What is faulty is logged, and the agent goes on as before.
// A nil signal comes from who has told of the real one.
//
// The files are looked at now and then, rather than watched: they are few, may lie on any
// file system, and are replaced in many ways.
func (f *Reading) Follow(ctx context.Context, env *platform.Env, a *Agent, hup <-chan os.Signal, resolve func() (config.Resolved, error)) {
	w, share := files{reading: f, every: cmp.Or(f.sweepEvery, sweepEvery)}, time.Duration(sweepShare)
	if f.sweepEvery > 0 {
		share = 0
	}
	w.resolved, _ = resolve() // what the agent was made of
	seen, took := w.sweep()
	for length := w.every; ; length = min(2*length, max(w.every, took*share)) {
		pause := time.NewTimer(length)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case sig := <-hup:
			pause.Stop()
			if sig != nil {
				env.Log.Info("SIGHUP received, reloading")
			}
			seen, _ = w.sweep()
		case <-pause.C:
			var now uint64
			if now, took = w.sweep(); now == seen {
				continue
			}
			if seen = w.rest(ctx, now); ctx.Err() != nil {
				return
			}
			env.Log.Info("the configuration has changed, reloading")
		}
		r, err := resolve()
		if err == nil {
			w.resolved = r
			var cfg Config
			if cfg, err = f.Config(env, r); err == nil {
				err = a.Reload(ctx, cfg)
			}
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			env.Log.Error("the new configuration is faulty, the old one stays in force", "err", err)
		default:
			env.Log.Info("Reload is finished")
		}
	}
}

// files are those that decide what an agent does.
type files struct {
	reading  *Reading
	resolved config.Resolved
	every    time.Duration
}

// rest returns what sweep does when that has not changed for a while: an update of
// content writes many files.
func (w *files) rest(ctx context.Context, seen uint64) uint64 {
	for {
		select {
		case <-ctx.Done():
			return seen
		case <-time.After(w.every / 2):
		}
		now, _ := w.sweep()
		if now == seen {
			return seen
		}
		seen = now
	}
}

// sweep returns a hash over names, sizes and times of the files, and how long
// that took.
func (w *files) sweep() (sum uint64, took time.Duration) {
	begin := time.Now()
	h := xxhash.New()
	for _, root := range w.roots() {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil // what isn't there may come
			}
			fi, err := os.Stat(path) // of what a link leads to
			if err != nil {
				return nil
			}
			var b []byte
			b = append(append(b, path...), 0)
			b = fi.ModTime().AppendFormat(b, time.RFC3339Nano)
			for n := fi.Size(); n != 0; n >>= 8 {
				b = append(b, byte(n))
			}
			h.Write(append(b, 0))
			return nil
		})
	}
	return h.Sum64(), time.Since(begin)
}

// roots are files, and directories with all that is below them.
func (w *files) roots() (roots []string) {
	r := w.resolved
	add := func(paths ...string) {
		for _, p := range paths {
			if p != "" {
				roots = append(roots, p)
			}
		}
	}
	if r.Path != "" {
		add(r.Path, r.Path+".local")
	}
	if len(w.reading.Inputs) == 0 && len(w.reading.Logs) == 0 {
		add(r.Agent.AcquisitionPath, r.Agent.AcquisitionDir)
	}
	content := w.reading.Content
	if content == "" {
		content = r.ContentDir()
		add(r.Agent.SimulationPath, r.Agent.ConsoleContextPath, r.Agent.PatternDir)
	}
	if content != "" {
		for _, name := range []string{
			"parsers", "scenarios", "postoverflows", "contexts", "data", "patterns",
			"simulation.yaml", "simulation.yaml.local", "console/context.yaml",
		} {
			add(filepath.Join(content, name))
		}
	}
	return roots
}

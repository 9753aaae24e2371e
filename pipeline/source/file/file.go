// Package file is the source that follows log files as they grow and are
// rotated, and that reads finished ones once.
//
// A file is known by its identity (device and inode) and a hash of its first
// bytes, never by its path alone, so that each line is delivered once:
//
//   - Renamed away: the old file is read to its end, with what is still
//     written to it, and then the new one from its start. Files that came and
//     went between two looks, or while we were not running, are read in between.
//   - Copied and truncated: what was written before the truncation is read from the
//     copy, then the file from its start.
//   - Restart: the same, from the positions kept in source.Positions. What was rotated and
//     compressed meanwhile is unpacked from there on.
//
// One goroutine serves all files of a Source with one buffer; lines are views
// of it. The agent role makes the sources.
package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
	"cs/platform"
)

const (
	bufferSize = 256 << 10
	// turn is what one file may read before the others get theirs.
	turn = 16 * bufferSize
	// maxFiles bounds the open files of one source; more are reported and not
	// followed.
	maxFiles = 1000

	// quiet is how long a rotated file must not have grown until a last line
	// without newline counts as complete.
	quiet = time.Second
	// drain is how long a rotated file must not have grown until it is closed:
	// programs go on writing to it until they are told to reopen their log.
	drain = time.Minute

	lookEvery   = 5 * time.Second // safety net: notifications can be lost
	pollEvery   = time.Second     // without notifications
	rotateEvery = 250 * time.Millisecond
	globEvery   = 10 * time.Second
	// settle is the pause between two looks, so that a burst of small writes
	// costs a few looks and not one each. A line waits no longer than that.
	settle = time.Millisecond
)

// Config says what to follow. Only Globs is required.
type Config struct {
	Globs   []string
	Exclude []*regexp.Regexp  // paths to leave alone
	Labels  map[string]string // of every line; must not change
	// FromStart reads files that are there on the first start from their start,
	// not from their end. Files that appear later always are.
	FromStart bool
	Poll      bool          // don't use notifications
	Trust     bool          // rely on notifications of network filesystems, too, which tell nothing of what other hosts write
	GlobEvery time.Duration // between looks for new files that nothing was told of; 0: 10s
	MaxLine   int           // bytes from which a line is cut; 0: source.MaxLine
	Replay    bool          // take the clock from the lines
	MayMiss   bool          // a pattern of a Replay may have no match; it is reported
	Positions *source.Positions
	// Report is told about files that can't be read, once per trouble, while the others go
	// on, and about lines that are lost. nil: nobody is.
	Report func(error)
	// Started is called when the files that were there are open. May be nil.
	Started func()
}

// Source follows files. Make it with New.
type Source struct {
	cfg      Config
	now      func() time.Time
	split    *source.Splitter
	buf      []byte
	tails    []*tail // in the order of their discovery
	started  bool    // the first look is over
	globbed  time.Time
	cutSeen  int64                 // cut lines already reported
	crowded  bool                  // reported that there are too many files
	moved    bool                  // the set of files, and so of directories, may have changed
	woken    bool                  // by a notification, not by the clock
	remote   func(dir string) bool // on a network filesystem
	headBuf  [source.MaxHead]byte
	patterns []string // absolute and clean
}

// New returns a source that follows the files of cfg. Globs that are no valid patterns
// are an error.
func New(cfg Config) (*Source, error) {
	s := &Source{cfg: cfg, now: time.Now, remote: platform.NetworkFS}
	if len(cfg.Globs) == 0 {
		return nil, errors.New("cannot follow files: no path given")
	}
	for _, g := range cfg.Globs {
		if _, err := filepath.Match(g, ""); err != nil {
			return nil, fmt.Errorf("cannot follow files %q: %w", g, err)
		}
		abs, err := filepath.Abs(g)
		if err != nil {
			return nil, fmt.Errorf("cannot follow files %q: %w", g, err)
		}
		s.patterns = append(s.patterns, abs)
	}
	s.cfg.GlobEvery = cmp.Or(s.cfg.GlobEvery, globEvery)
	if s.cfg.Report == nil {
		s.cfg.Report = func(error) {}
	}
	line := event.Line{Module: "file", Labels: cfg.Labels, Mode: event.Live}
	if cfg.Replay {
		line.Mode = event.Replay
	}
	s.split = source.NewSplitter(line, cfg.MaxLine, func() time.Time { return s.now() })
	return s, nil
}

// Name returns the patterns.
func (s *Source) Name() string { return strings.Join(s.cfg.Globs, ",") }

// Run follows the files until ctx ends. Trouble with single files is
// reported and retried; only the sink ends Run otherwise.
func (s *Source) Run(ctx context.Context, out source.Sink) error {
	w := newWatcher(s)
	defer w.close()
	defer s.close()
	s.woken = true
	for {
		more, err := s.look(ctx, out)
		if err != nil {
			return err
		}
		if s.moved {
			s.moved = false
			if w.follow(s.dirs()) {
				s.globbed = time.Time{} // for what happened before the watch began
				continue
			}
		}
		if more {
			continue
		}
		if err := w.wait(ctx, s.pause(w)); err != nil {
			return err
		}
	}
}

// look reads what there is to read, once around. more tells that some file
// has not been read to its end.
func (s *Source) look(ctx context.Context, out source.Sink) (more bool, err error) {
	if s.globbed.IsZero() || s.now().Sub(s.globbed) >= s.cfg.GlobEvery {
		s.discover()
	}
	for i := 0; i < len(s.tails); i++ { // a tail may add others
		m, err := s.tails[i].look(ctx, out)
		if err != nil {
			return false, err
		}
		more = more || m
	}
	s.tails = slices.DeleteFunc(s.tails, (*tail).gone)
	if !s.started && s.cfg.Started != nil {
		s.cfg.Started()
	}
	s.started = true
	if n := s.split.Cut; n > s.cutSeen {
		s.cfg.Report(fmt.Errorf("%d lines of %s were longer than %d bytes and are cut", n-s.cutSeen, s.Name(), s.split.Max()))
		s.cutSeen = n
	}
	return more, nil
}

// discover looks for files that match the patterns and starts following them.
func (s *Source) discover() {
	s.globbed = s.now()
	s.moved = true
	for _, pattern := range s.patterns {
		paths := []string{pattern} // also when it isn't there yet
		if isGlob(pattern) {
			paths, _ = filepath.Glob(pattern)
		}
		for _, path := range paths {
			if s.cfg.excluded(path) || isGlob(pattern) && (s.isPast(path) || isPacked(path)) || slices.ContainsFunc(s.tails, func(t *tail) bool { return t.path == path }) {
				continue
			}
			fi, err := os.Stat(path)
			if isGlob(pattern) && (err != nil || !fi.Mode().IsRegular()) {
				continue // a directory, a socket, a dangling link
			}
			if id, err := platform.FileIDAt(path); err == nil && s.follows(id) {
				continue // a rotated file, or another name of one that we have
			}
			if len(s.tails) >= maxFiles {
				if !s.crowded {
					s.cfg.Report(fmt.Errorf("cannot follow %s: %s already has %d files", path, s.Name(), maxFiles))
				}
				s.crowded = true
				return
			}
			s.tails = append(s.tails, &tail{s: s, path: path, early: !s.started, wanted: !isGlob(pattern)})
		}
	}
	s.crowded = false
}

// isPast tells whether path is what rotation made of a log that is followed: it is read
// as the past of that log, in order, and not as one of its own.
func (s *Source) isPast(path string) bool {
	loc := suffixAtEnd().FindStringIndex(path)
	if loc == nil {
		return false
	}
	log := path[:loc[0]]
	if slices.ContainsFunc(s.tails, func(t *tail) bool { return t.path == log }) {
		return true
	}
	_, err := os.Stat(log)
	return err == nil && s.matches(log)
}

// matches tells whether path is one that discover takes.
func (s *Source) matches(path string) bool {
	for _, pattern := range s.patterns {
		if ok, _ := filepath.Match(pattern, path); (ok || pattern == path) && !s.cfg.excluded(path) {
			return true
		}
	}
	return false
}

func (c *Config) excluded(path string) bool {
	return slices.ContainsFunc(c.Exclude, func(re *regexp.Regexp) bool { return re.MatchString(path) })
}

// follows tells whether a log with that identity is open. A compressed file may have that
// of the log that it was made of, or of another.
func (s *Source) follows(id platform.FileID) bool {
	for _, t := range s.tails {
		if t.cur != nil && t.cur.id == id {
			return true
		}
		for _, r := range t.old {
			if r.f != nil && r.packed == nil && r.id == id {
				return true
			}
		}
	}
	return false
}

// adopt goes on with a file that was rotated to a path that is followed as
// well, instead of closing it: otherwise it would be found there as new and
// read again. busy tells to try again later, because that path is not yet free.
func (s *Source) adopt(r *reader) (adopted, busy bool) {
	for _, pattern := range s.patterns {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			id, err := platform.FileIDAt(path)
			if err != nil || id != r.id || s.cfg.excluded(path) || isGlob(pattern) && s.isPast(path) {
				continue
			}
			i := slices.IndexFunc(s.tails, func(t *tail) bool { return t.path == path })
			if i < 0 {
				i = len(s.tails)
				s.tails = append(s.tails, &tail{s: s, path: path, resumed: true})
			}
			if s.tails[i].cur != nil {
				return false, true
			}
			r.rename(s, path)
			s.tails[i].cur = r
			return true, false
		}
	}
	return false, false
}

// dirs returns the directories in which something of interest may happen.
func (s *Source) dirs() []string {
	var dirs []string
	add := func(dir string) {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, pattern := range s.patterns {
		if dir := filepath.Dir(pattern); !isGlob(dir) {
			add(dir)
		}
	}
	for _, t := range s.tails {
		add(filepath.Dir(t.path))
		if real, err := filepath.EvalSymlinks(t.path); err == nil {
			add(filepath.Dir(real))
		}
	}
	return dirs
}

// concerns tells whether something that happened at path may be about us.
func (s *Source) concerns(path string) bool {
	if s.matches(path) {
		return true
	}
	dir, base := filepath.Split(path)
	for _, t := range s.tails {
		tdir, tbase := filepath.Split(t.path)
		if t.linked || tdir == dir && strings.HasPrefix(base, tbase) {
			return true
		}
	}
	return false
}

// pause is how long to wait for a notification before the next look.
func (s *Source) pause(w *watcher) time.Duration {
	for _, t := range s.tails {
		if t.rotating() {
			return rotateEvery
		}
	}
	every := pollEvery
	if w.complete() {
		every = lookEvery
	}
	every = min(every, s.cfg.GlobEvery)
	// All sources look at the same moments: waking up is what costs most on an idle machine.
	return every - time.Duration(time.Now().UnixNano()%int64(every))
}

func (s *Source) close() {
	for _, t := range s.tails {
		t.close()
	}
	s.tails = nil
}

// keyPrefix begins the keys of positions. Files that are followed twice for different parsers
// have a position for each.
func (s *Source) keyPrefix() string { return "file:" + s.cfg.Labels["type"] + ":" }

func isGlob(path string) bool { return strings.ContainsAny(path, `*?[`) }

// describe names the file in an error that doesn't.
func describe(path string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("cannot read log %s: %w", path, pe.Err)
	}
	return fmt.Errorf("cannot read log %s: %w", path, err)
}

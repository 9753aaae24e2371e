package file

import (
	"path/filepath"
	"regexp"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
	"cs/platform/strict"
)

// maxLine bounds the buffer for one line that an acquisition may ask for.
const maxLine = 16 << 20

// Keys are those of an acquisition (spec engine §7).
type Keys struct {
	Filename       strict.Text   `yaml:"filename"`
	Filenames      []strict.Text `yaml:"filenames"`
	ExcludeRegexps []strict.Text `yaml:"exclude_regexps"`
	MaxBufferSize  int           `yaml:"max_buffer_size"`
	// PollWithoutInotify does without notifications; false wants them on network
	// filesystems, too, where others are polled.
	PollWithoutInotify *bool `yaml:"poll_without_inotify"`
	// ForceInotify watches directories in which there is no match yet, which is always done.
	ForceInotify          bool          `yaml:"force_inotify"`
	DiscoveryPollEnable   bool          `yaml:"discovery_poll_enable"`
	DiscoveryPollInterval time.Duration `yaml:"discovery_poll_interval"`
}

// Named returns the keys of an acquisition of some patterns.
func Named(globs ...string) (k Keys) {
	for _, g := range globs {
		k.Filenames = append(k.Filenames, strict.Text{Value: g})
	}
	return k
}

// Globs returns the patterns.
func (k Keys) Globs() (globs []string) {
	if k.Filename.Value != "" {
		globs = append(globs, k.Filename.Value)
	}
	for _, g := range k.Filenames {
		globs = append(globs, g.Value)
	}
	return globs
}

// Kind makes sources of acquisitions, and of DSNs of the form
// file://GLOB[?max_buffer_size=BYTES].
var Kind = source.Kind{Open: open, Once: true, Tail: true, Replay: true}

func open(s *source.Spec) (source.Source, error) {
	k := Keys{DiscoveryPollInterval: 30 * time.Second}
	err := s.Decode(&k, func(d *source.DSN) {
		if d.Target == "" {
			d.Fail("it has no path")
		}
		k.Filename.Value = d.Target
		d.Int("max_buffer_size", &k.MaxBufferSize)
	})
	if err != nil {
		return nil, err
	}
	cfg := Config{
		Globs: k.Globs(), Labels: s.Labels, MaxLine: k.MaxBufferSize,
		FromStart: s.FromStart, Replay: s.Mode == event.Replay, Positions: s.Positions, Report: s.Report, Started: s.Started,
	}
	if poll := k.PollWithoutInotify; poll != nil {
		cfg.Poll, cfg.Trust = *poll, !*poll
	}
	if k.DiscoveryPollEnable {
		if cfg.GlobEvery = k.DiscoveryPollInterval; cfg.GlobEvery <= 0 {
			return nil, s.Errorf("discovery_poll_interval", "want a duration, not %v", cfg.GlobEvery)
		}
	}
	if len(cfg.Globs) == 0 {
		return nil, s.Errorf("filenames", "there is no file name")
	}
	for _, g := range append([]strict.Text{k.Filename}, k.Filenames...) {
		if _, err := filepath.Match(g.Value, ""); err != nil {
			return nil, s.Errorf("filenames", "%q is no pattern of paths: %w", g.Value, err)
		}
	}
	for _, text := range k.ExcludeRegexps {
		re, err := regexp.Compile(text.Value)
		if err != nil {
			return nil, text.Place.Errorf("%w", err)
		}
		cfg.Exclude = append(cfg.Exclude, re)
	}
	if k.MaxBufferSize < 0 || k.MaxBufferSize > maxLine {
		return nil, s.Errorf("max_buffer_size", "want a number of bytes up to %d, not %d", maxLine, k.MaxBufferSize)
	}
	if s.Once {
		cfg.MayMiss = s.DSN == "" && s.Keys == nil // as upstream: what an acquisition file names may come to be
		s.Started()
		return NewReplay(cfg), nil
	}
	return New(cfg)
}

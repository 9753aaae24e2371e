// Package engine turns a configuration into what the engine (cs/pipeline) is
// made of: the content to load, its options, the sources to read. roles/agent
// runs it for good, the crowdsec-like command line and explain run it once.
package engine

import (
	"os"
	"path/filepath"

	"cs/pipeline"
	"cs/pipeline/bucket"
	"cs/pipeline/enrich"
	"cs/pipeline/hub"
	"cs/roles/config"
)

// Options returns what a configuration says about the engine; content, alerts
// and warnings are the caller's to add.
func Options(r config.Resolved) pipeline.Options {
	buckets, kept := share(r.MemoryLimit, r.Agent.MaxBuckets)
	return pipeline.Options{
		DataDir:       r.DataDir,
		PatternDir:    patternDir(r),
		MaxBuckets:    buckets,
		MaxKept:       kept,
		CatchUp:       r.Agent.CatchUp,
		ContextLength: r.Agent.ContextLength,
		Workers:       r.Agent.ParserRoutines,
		DNS:           enrich.DNS{TTL: r.Agent.DNSTTL, NegativeTTL: r.Agent.DNSNegativeTTL, Size: r.Agent.DNSSize},
		CTI:           enrich.CTI{Key: r.Agent.CTIKey, TTL: r.Agent.CTITTL, Size: r.Agent.CTISize},
	}
}

// What of a memory limit is for buckets, and for what they keep of events: content,
// lines under way and what the runtime has not given back yet are the rest.
const (
	bucketsShare = 8
	keptShare    = 5
)

// share returns the bounds of buckets, and of the bytes that they keep, under a
// memory limit; 0 is the engine's own bound.
func share(limit int64, maxBuckets int) (buckets, kept int) {
	if limit == 0 {
		return maxBuckets, 0
	}
	return int(min(int64(maxBuckets), limit/bucketsShare/bucket.Size)), int(min(bucket.DefaultMaxKept, limit/keptShare))
}

// patternDir returns where grok patterns beside the stock ones are: the usual
// place may be missing.
func patternDir(r config.Resolved) string {
	if r.Agent.PatternDir != "" || r.ConfigDir == "" {
		return r.Agent.PatternDir
	}
	usual := filepath.Join(r.ConfigDir, "patterns")
	if _, err := os.Stat(usual); err != nil {
		return ""
	}
	return usual
}

// Content returns what to load: the content of dir, if that is not "", else what
// is installed, with the starter set below it (hub.Content.OverBase), for which settings such
// as simulation.yaml hold, too. The errors name what is left out.
func Content(dir string, r config.Resolved) (hub.Content, []error) {
	if dir != "" {
		return hub.Load(dir)
	}
	dirs := HubDirs(r)
	if dirs.Config == "" {
		return hub.Base(), nil
	}
	c, errs := dirs.Load()
	return c.OverBase(), errs
}

// HubDirs returns where content is installed. Config is "" if nowhere.
func HubDirs(r config.Resolved) hub.Dirs {
	return hub.Dirs{
		Config: r.ContentDir(), Hub: r.Agent.HubDir, Index: r.Agent.HubIndexPath,
		Simulation: r.Agent.SimulationPath, ConsoleContext: r.Agent.ConsoleContextPath,
	}
}

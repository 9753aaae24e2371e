package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"cs/pipeline/hub/catalog"
	"cs/platform"
	"cs/platform/metric"
	"cs/platform/strict"
)

// ItemsInspect shows what is known of items.
type ItemsInspect struct {
	ofType
	URL       string   `short:"u" placeholder:"URL" help:"Where the metrics of the running process are."`
	NoMetrics bool     `help:"Don't ask the running process for metrics."`
	Diff      bool     `help:"Show how an item that was changed here differs from the latest version."`
	Rev       bool     `help:"With --diff: the other way round."`
	Names     []string `arg:"" name:"name" help:"Items."`
}

// Run prints.
func (c *ItemsInspect) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	if c.Rev && !c.Diff {
		return errors.New("--rev can only be used with --diff")
	}
	s, cat, err := openCatalog(env, g)
	if err != nil {
		return err
	}
	items, err := c.find(cat, c.Names)
	if err != nil {
		return err
	}
	var samples []metric.Sample
	if s.format == human && !c.NoMetrics && !c.Diff {
		if samples, err = s.samples(ctx, c.URL); err != nil {
			s.debug("%v", err) // where nothing runs, nothing was counted
		}
	}
	for _, it := range items {
		switch {
		case c.Diff:
			err = c.diff(ctx, s, it)
		case s.format == jsonText:
			err = s.json(newItemJSON(it), "  ")
		default:
			err = s.text(string(strict.Append(nil, newItemYAML(it))))
			if err == nil && s.format == human && !c.NoMetrics {
				err = s.itemMetrics(cat, it, samples)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// itemMetrics shows what the running process has counted of an item, or of what
// a collection consists of.
func (c *content) itemMetrics(cat *catalog.Catalog, it *catalog.Item, samples []metric.Sample) error {
	if len(samples) == 0 {
		return nil
	}
	if err := c.text("\nCurrent metrics:\n"); err != nil {
		return err
	}
	if it.Type != catalog.Collections {
		return c.itemTable(it, samples)
	}
	for _, t := range catalog.Types {
		for _, name := range it.Parts()[t] {
			part, err := cat.Find(t, name)
			if err != nil {
				continue // a warning was given
			}
			if err := c.itemTable(part, samples); err != nil {
				return err
			}
		}
	}
	return nil
}

// itemTable is a table of what was counted of a parser, by source, or of a
// scenario; nothing is counted of others.
func (c *content) itemTable(it *catalog.Item, samples []metric.Sample) error {
	var w *section
	title := ""
	switch it.Type {
	case catalog.Parsers:
		w, title = &bySource, "Parser"
	case catalog.Scenarios:
		w, title = sectionOf("scenarios"), "Scenario"
	default:
		return nil
	}
	own := slices.DeleteFunc(slices.Clone(samples), func(m metric.Sample) bool { return m.Labels["name"] != it.Name })
	rows := w.rows(own)
	t := c.table(w.columns...)
	if it.Type == catalog.Parsers {
		t.header = append(slices.Clone(w.keys), t.header...)
	}
	for _, key := range sortedKeys(rows) {
		var cells []string
		if it.Type == catalog.Parsers {
			cells = append(cells, strings.ReplaceAll(key, "\x00", ":"))
		}
		for _, n := range rows[key] {
			cells = append(cells, count(n, false))
		}
		t.add(cells...)
	}
	return c.text("\n - (" + title + ") " + it.Name + ":\n" + t.boxed())
}

// bySource counts what a parser did with the lines of each source.
var bySource = section{
	keys: []string{"Parsers"}, columns: []string{"Hits", "Parsed", "Unparsed"},
	of: series([]string{"cs_node_hits_total", "cs_node_hits_ok_total", "cs_node_hits_ko_total"}, "type", "source"),
}

// diff prints what was changed in an item.
func (c *ItemsInspect) diff(ctx context.Context, s *content, it *catalog.Item) error {
	if !it.Installed() {
		return fmt.Errorf("'%s' is not installed", it.Name)
	}
	src, err := s.source("")
	if err != nil {
		return err
	}
	if it.Local {
		return fmt.Errorf("%s is a local item, there is nothing to compare it with", it)
	}
	latest, err := src.Item(ctx, it)
	if err != nil {
		return err
	}
	here, err := os.ReadFile(it.InstallPath)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", it, err)
	}
	if string(here) == string(latest) {
		for _, reason := range it.TaintedBy {
			s.warn("%s is tainted by %s", it.Name, reason)
		}
		return nil
	}
	if c.Rev {
		return s.text(plainLines(string(unified("latest", latest, it.InstallPath, here))))
	}
	return s.text(plainLines(string(unified(it.InstallPath, here, "latest", latest))))
}

// itemYAML is an item as YAML, in the order that people know.
type itemYAML struct {
	Type         catalog.Type              `yaml:"type"`
	Stage        string                    `yaml:"stage,omitempty"`
	Name         string                    `yaml:"name"`
	FileName     string                    `yaml:"file_name"`
	Description  string                    `yaml:"description,omitempty"`
	Path         string                    `yaml:"path,omitempty"`
	Version      string                    `yaml:"version,omitempty"`
	Dependencies map[catalog.Type][]string `yaml:"dependencies"`
	LocalPath    string                    `yaml:"local_path,omitempty"`
	LocalVersion string                    `yaml:"local_version,omitempty"`
	LocalHash    string                    `yaml:"local_hash,omitempty"`
	DownloadPath string                    `yaml:"downloadpath"`
	UpToDate     bool                      `yaml:"up_to_date"`
	Tainted      bool                      `yaml:"tainted"`
	TaintedBy    []string                  `yaml:"tainted_by,omitempty"`
	Collections  []string                  `yaml:"belongs_to_collections,omitempty"`
	Installed    bool                      `yaml:"installed"`
	Local        bool                      `yaml:"local"`
}

func newItemYAML(it *catalog.Item) itemYAML {
	i := itemYAML{
		Type: it.Type, Stage: it.Stage, Name: it.Name, FileName: it.FileName(), Description: it.Description,
		Path: it.Path, Version: it.Version, Dependencies: it.Parts(), DownloadPath: it.DownloadPath,
		UpToDate: it.UpToDate, Tainted: it.Tainted(), TaintedBy: it.TaintedBy, Collections: it.Collections,
		Installed: it.Installed(), Local: it.Local,
	}
	if it.Installed() {
		i.LocalPath, i.LocalVersion, i.LocalHash = it.InstallPath, it.LocalVersion, it.Hash
	}
	return i
}

// itemJSON is an item as JSON.
type itemJSON struct {
	Type         catalog.Type               `json:"type"`
	Stage        string                     `json:"stage,omitempty"`
	Name         string                     `json:"name"`
	FileName     string                     `json:"file_name"`
	Description  string                     `json:"description,omitempty"`
	Content      []byte                     `json:"content,omitempty"`
	Path         string                     `json:"path,omitempty"`
	Version      string                     `json:"version,omitempty"`
	Versions     map[string]catalog.Version `json:"versions,omitempty"`
	LocalPath    string                     `json:"local_path,omitempty"`
	LocalVersion string                     `json:"local_version,omitempty"`
	LocalHash    string                     `json:"local_hash,omitempty"`
	Installed    bool                       `json:"installed"`
	Downloaded   bool                       `json:"downloaded"`
	UpToDate     bool                       `json:"up_to_date"`
	Tainted      bool                       `json:"tainted"`
	Local        bool                       `json:"local"`
	Collections  []string                   `json:"belongs_to_collections,omitempty"`

	catalog.Dependencies
}

func newItemJSON(it *catalog.Item) itemJSON {
	i := newItemYAML(it)
	out := itemJSON{
		Type: i.Type, Stage: i.Stage, Name: i.Name, FileName: i.FileName, Description: i.Description,
		Content: it.Content, Path: i.Path, Version: i.Version, Versions: it.Versions,
		LocalPath: i.LocalPath, LocalVersion: i.LocalVersion, LocalHash: i.LocalHash,
		Installed: i.Installed, Downloaded: it.DownloadPath != "", UpToDate: i.UpToDate, Tainted: i.Tainted, Local: i.Local,
		Collections: i.Collections,
	}
	if it.Type == catalog.Collections {
		out.Dependencies = it.Here()
	}
	return out
}

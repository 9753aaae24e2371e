package engine

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cs/pipeline"
	"cs/pipeline/grok"
	"cs/pipeline/hub"
	"cs/platform/strict"
	"cs/roles/config"
)

// CheckContext tells what is wrong with expressions for the context of alerts.
func CheckContext(key string, expressions []string) error {
	text := strict.Append(nil, map[string]any{key: expressions})
	item := hub.Item{Kind: hub.ConsoleContext, Path: "context", Data: text}
	_, errs := pipeline.Load(pipeline.Options{Content: hub.Content{Settings: []hub.Item{item}}, Workers: 1})
	return errors.Join(errs...)
}

// Context returns the context of alerts that content and settings ask for: lists
// of expressions by name.
func Context(c hub.Content) (map[string][]string, error) {
	all := make(map[string][]string)
	for _, item := range slices.Concat(c.Items, c.Settings) {
		if item.Kind != hub.Context && item.Kind != hub.ConsoleContext {
			continue
		}
		docs, err := item.Documents()
		if err != nil {
			return nil, err
		}
		for _, doc := range docs {
			var named struct {
				Context map[string][]string `yaml:"context"`
			}
			at := &named.Context
			if item.Kind == hub.ConsoleContext {
				err = doc.Decode(at)
			} else if err = doc.Decode(&named); errors.Is(err, strict.ErrUnknownKey) {
				err = nil // what else a context of the hub has
			}
			if err != nil {
				return nil, err
			}
			for name, list := range *at {
				for _, e := range list {
					if !slices.Contains(all[name], e) {
						all[name] = append(all[name], e)
					}
				}
			}
		}
	}
	return all, nil
}

// Fields returns the fields of events that each parser fills, as expressions
// name them.
func Fields(c hub.Content, r config.Resolved) map[string][]string {
	patterns := grok.Stock()
	if dir := patternDir(r); dir != "" {
		patterns, _ = grok.Load(dir) // who loads the engine is told
	}
	out := make(map[string][]string)
	for _, item := range c.Items {
		if item.Kind != hub.Parser {
			continue
		}
		docs, err := item.Documents()
		if err != nil {
			continue
		}
		for _, doc := range docs {
			var keys map[string]any
			if doc.Decode(&keys) != nil {
				continue
			}
			found := make(map[string]bool)
			fieldsOf(keys, patterns, found)
			if len(found) > 0 {
				out[item.Name] = append(out[item.Name], slices.Collect(maps.Keys(found))...)
			}
		}
	}
	for name := range out {
		slices.Sort(out[name])
		out[name] = slices.Compact(out[name])
	}
	return out
}

// groups are the named groups of a grok pattern and of a regular expression.
var groups = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`%\{\w+:(\w+)(?::\w+)?\}|\?P?<(\w+)>`) })

// fieldsOf collects the fields that a parser, or a node of one, fills.
func fieldsOf(v any, patterns *grok.Library, found map[string]bool) {
	switch v := v.(type) {
	case []any:
		for _, below := range v {
			fieldsOf(below, patterns, found)
		}
	case map[string]any:
		if g, ok := v["grok"].(map[string]any); ok {
			if pattern, ok := g["pattern"].(string); ok {
				for _, m := range groups().FindAllStringSubmatch(pattern, -1) {
					found["evt.Parsed."+m[1]+m[2]] = true
				}
			}
			if name, ok := g["name"].(string); ok {
				if p, err := patterns.CompileName(name); err == nil {
					for _, field := range p.Fields {
						found["evt.Parsed."+field] = true
					}
				}
			}
		}
		if list, ok := v["statics"].([]any); ok {
			for _, s := range list {
				static, ok := s.(map[string]any)
				if !ok {
					continue
				}
				for key, prefix := range map[string]string{"meta": "evt.Meta.", "parsed": "evt.Parsed.", "enriched": "evt.Enriched."} {
					if name, ok := static[key].(string); ok {
						found[prefix+name] = true
					}
				}
				if target, ok := static["target"].(string); ok && strings.HasPrefix(target, "evt.") {
					found[target] = true
				}
			}
		}
		for key, below := range v {
			if key == "nodes" || key == "grok" {
				fieldsOf(below, patterns, found)
			}
		}
	}
}

// LineFields are those that every line has.
func LineFields() (list []string) {
	for _, name := range []string{"Labels", "Module", "Process", "Raw", "Src", "Time"} {
		list = append(list, fmt.Sprintf("evt.Line.%s", name))
	}
	return list
}

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"cs/pipeline/hub/catalog"
	"cs/platform"
)

// HubList lists what is installed of all types.
type HubList struct {
	All bool `short:"a" help:"List what is not installed, too."`
}

// Run lists one type after the other.
func (c *HubList) Run(_ context.Context, env *platform.Env, g *Globals) error {
	s, err := openContent(env, g)
	if err != nil {
		return err
	}
	cat, err := s.catalog()
	if err != nil {
		return err
	}
	var counts []string
	local, tainted := 0, 0
	lists := make([]list, 0, len(catalog.Types))
	for _, t := range catalog.Types {
		counts = append(counts, fmt.Sprintf("%d %s", len(cat.Items(t)), t))
		for _, it := range cat.Installed(t) {
			if it.Local {
				local++
			}
			if it.Tainted() {
				tainted++
				s.warn("%s is tainted by %s", it.Name, strings.Join(it.TaintedBy, ", "))
			}
		}
		lists = append(lists, listOf(cat, t, c.All))
	}
	s.info("Loaded: %s", strings.Join(counts, ", "))
	if local+tainted > 0 {
		s.info("Unmanaged items: %d local, %d tainted", local, tainted)
	}
	return s.list(lists)
}

// list is items of a type.
type list struct {
	t     catalog.Type
	items []*catalog.Item
}

func listOf(cat *catalog.Catalog, t catalog.Type, all bool) list {
	if all {
		return list{t, cat.Items(t)}
	}
	return list{t, cat.Installed(t)}
}

// listedItem is an item of a list in JSON.
type listedItem struct {
	Name         string `json:"name"`
	LocalVersion string `json:"local_version"`
	LocalPath    string `json:"local_path"`
	Description  string `json:"description"`
	UTF8Status   string `json:"utf8_status"`
	Status       string `json:"status"`
}

// list prints items of one type or of several.
func (c *content) list(lists []list) error {
	switch c.format {
	case jsonText:
		return c.listJSON(lists)
	case raw:
		return c.listRaw(lists)
	}
	found := false
	for _, l := range lists {
		if len(l.items) == 0 {
			continue
		}
		found = true
		table := c.table("Name", "📦 Status", "Version", "Local Path")
		table.whole, table.title = true, strings.ToUpper(string(l.t))
		for _, it := range l.items {
			words, icon := itemStatus(it)
			table.add(it.Name, icon+"  "+words, it.LocalVersion, it.InstallPath)
		}
		if err := c.text(table.light()); err != nil {
			return err
		}
	}
	if !found {
		return c.text("No items to display\n")
	}
	return nil
}

// listJSON prints an object with a list for each type, without a line break at
// the end, as scripts know it.
func (c *content) listJSON(lists []list) error {
	out := map[catalog.Type][]listedItem{}
	for _, l := range lists {
		out[l.t] = []listedItem{}
		for _, it := range l.items {
			words, icon := itemStatus(it)
			out[l.t] = append(out[l.t], listedItem{it.Name, it.LocalVersion, it.InstallPath, it.Description, icon + "  " + words, words})
		}
	}
	text, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		return fmt.Errorf("cannot encode the output: %w", err)
	}
	return c.text(string(safeJSON(text)))
}

func (c *content) listRaw(lists []list) error {
	header := "name,status,version,description"
	if len(lists) > 1 {
		header += ",type"
	}
	var rows [][]string
	for _, l := range lists {
		for _, it := range l.items {
			words, _ := itemStatus(it)
			row := []string{it.Name, words, it.LocalVersion, it.Description}
			if len(lists) > 1 {
				row = append(row, string(l.t))
			}
			rows = append(rows, row)
		}
	}
	return c.csv(header, rows)
}

// itemStatus is the state of an item in words and as a sign.
func itemStatus(it *catalog.Item) (words, icon string) {
	words, icon = "disabled", "🚫"
	if it.Installed() {
		words, icon = "enabled", "✔️"
	}
	switch {
	case it.Local:
		return words + ",local", "🏠"
	case it.Tainted():
		return words + ",tainted", "⚠️"
	case !it.UpToDate && it.LocalVersion != "":
		return words + ",update-available", "⚠️"
	}
	return words, icon
}

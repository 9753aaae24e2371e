package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"cs/platform/order"
)

// Verb is what is done to an item.
type Verb uint8

const (
	Download Verb = iota // bring its file up to date
	Enable               // link to it
	Disable              // remove the link
	Purge                // remove the file
	Refresh              // get the data files of all that is installed; it has no item
)

// verbs are the words and signs of a plan, in the order of its sections.
var verbs = [...]struct{ icon, title, step string }{
	Download: {"📥", "download", "downloading"},
	Enable:   {"✅", "enable", "enabling"},
	Disable:  {"❌", "disable", "disabling"},
	Purge:    {"🗑", "purge (delete source)", "purging"},
	Refresh:  {"🔄", "check & update data files", ""},
}

// Action is a step of a plan.
type Action struct {
	Verb Verb
	Item *Item
}

// String is the action in one line: "📥 download parsers:a/b (1.2)".
func (a Action) String() string {
	v := verbs[a.Verb]
	if a.Item == nil {
		return v.icon + " " + v.title
	}
	word, _, _ := strings.Cut(v.title, " ")
	return v.icon + " " + word + " " + string(a.Item.Type) + ":" + a.what()
}

// what is the item, with its versions if those matter.
func (a Action) what() string {
	switch it := a.Item; {
	case a.Verb != Download:
		return it.Name
	case it.LocalVersion == "":
		return fmt.Sprintf("%s (%s)", it.Name, it.Version)
	default:
		return fmt.Sprintf("%s (%s -> %s)", it.Name, it.LocalVersion, it.Version)
	}
}

// Plan is what is to be done, in that order.
type Plan struct {
	Actions []Action
	// Warnings say what is not done, and why; Notes what need not be done.
	Warnings, Notes []string
	// Force overwrites files that were changed here, and asks for all data files.
	Force bool

	c    *Catalog
	done map[Action]bool
}

// NewPlan returns an empty plan.
func (c *Catalog) NewPlan(force bool) *Plan {
	return &Plan{Force: force, c: c, done: map[Action]bool{}}
}

// add adds an action; false if it is there already.
func (p *Plan) add(v Verb, it *Item) {
	a := Action{v, it}
	if !p.done[a] {
		p.done[a] = true
		p.Actions = append(p.Actions, a)
	}
}

func (p *Plan) warn(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(p.Warnings, text) {
		p.Warnings = append(p.Warnings, text)
	}
}

// Install plans to download an item with its parts and, unless downloadOnly,
// to enable them.
func (p *Plan) Install(it *Item, downloadOnly bool) {
	p.download(it, nil)
	if !downloadOnly {
		p.enable(it, nil)
	}
}

// Upgrade plans to bring an item and its parts up to date.
func (p *Plan) Upgrade(it *Item) { p.download(it, nil) }

// Refresh plans to get the data files of all that is installed.
func (p *Plan) Refresh() { p.add(Refresh, nil) }

// parts returns those parts of a collection that the index knows.
func (p *Plan) parts(of *Item, d *Dependencies) (parts []*Item) {
	for t, name := range d.all() {
		if it := p.c.items[t][name]; it != nil {
			parts = append(parts, it)
		} else if !of.Installed() { // else Catalog.Warnings has it
			p.warn("can't find %s:%s, required by %s", t, name, of.Name)
		}
	}
	return parts
}

// download plans a download of what is not up to date. above are the collections
// on the way here: they can't be circular, New has looked.
func (p *Plan) download(it *Item, above []*Item) {
	switch {
	case it.Local:
		p.Notes = append(p.Notes, fmt.Sprintf("%s - not downloading local item", it))
		return
	case it.Tainted() && !p.Force:
		p.warn("%s is tainted, use '--force' to overwrite", it)
		return
	}
	parts := p.parts(it, &it.Dependencies)
	for _, part := range parts {
		p.download(part, append(above, it))
		if it.Installed() {
			p.enable(part, nil)
		}
	}
	if it.Installed() && it.Type == Collections {
		old := it.Here()
		for _, part := range p.parts(it, &old) {
			if !slices.Contains(parts, part) && part.Installed() {
				p.drop(part, append(slices.Clone(above), it), false)
			}
		}
	}
	if it.LocalVersion == "" || it.outdated() || it.changed {
		p.add(Download, it)
	}
}

// enable plans links to an item and its parts.
func (p *Plan) enable(it *Item, above []*Item) {
	if it.Local || it.Tainted() && !p.Force {
		return
	}
	for _, part := range p.parts(it, &it.Dependencies) {
		p.enable(part, append(above, it))
	}
	if !it.Installed() {
		p.add(Enable, it)
	}
}

// Remove plans to disable items with the parts that no other collection needs,
// and to delete their files, if purge is set. An item that was changed here is
// an error without Force.
func (p *Plan) Remove(items []*Item, purge bool) error {
	for _, it := range items {
		if err := p.remove(it, items, purge); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) remove(it *Item, going []*Item, purge bool) error {
	if it.Local {
		p.warn("%s is a local item, please delete manually", it)
		return nil
	}
	if !it.Installed() && !(purge && it.DownloadPath != "") {
		return nil
	}
	if it.Tainted() && !p.Force {
		return fmt.Errorf("%s is tainted, use '--force' to remove", it.Name)
	}
	if owners := p.owners(it, going); len(owners) > 0 && !p.Force {
		p.warn("%s belongs to collections: [%s]", it.Name, strings.Join(owners, " "))
		p.warn("Run 'sudo cscli %s remove %s --force' if you want to force remove this %s", it.Type, it.Name, it.Type.Singular())
		return nil
	}
	return p.dropTainted(it, going, purge)
}

// dropTainted is drop, but for parts that were changed here.
func (p *Plan) dropTainted(it *Item, going []*Item, purge bool) error {
	before := len(p.Actions)
	p.drop(it, going, purge)
	for _, a := range p.Actions[before:] {
		if a.Item.Tainted() && !p.Force {
			return fmt.Errorf("%s is tainted, use '--force' to remove", a.Item.Name)
		}
	}
	return nil
}

// drop plans to disable an item and its parts, but for those that collections
// beside the ones that are going need.
func (p *Plan) drop(it *Item, going []*Item, purge bool) {
	if it.Local {
		return
	}
	if it.Type == Collections {
		going = append(slices.Clone(going), it)
		d := it.Here()
		for _, part := range p.parts(it, &d) {
			if (part.Installed() || purge && part.DownloadPath != "") && len(p.owners(part, going)) == 0 {
				p.drop(part, going, purge)
			}
		}
	}
	if it.Installed() {
		p.add(Disable, it)
	}
	if purge && it.DownloadPath != "" {
		p.add(Purge, it)
	}
}

// owners returns the installed collections that name an item, but for those that
// are going.
func (p *Plan) owners(it *Item, going []*Item) (names []string) {
	for _, name := range it.Collections {
		owner := p.c.items[Collections][name]
		if !slices.Contains(going, owner) && !p.done[Action{Disable, owner}] {
			names = append(names, name)
		}
	}
	return names
}

// Summary is the plan in sections:
//
//	📥 download
//	 parsers: a/b (1.2), c/d (0.3 -> 0.4)
func (p *Plan) Summary() string {
	var b strings.Builder
	for verb, words := range verbs {
		byType := map[Type][]string{}
		found := false
		for _, a := range p.Actions {
			if a.Verb != Verb(verb) {
				continue
			}
			found = true
			if a.Item != nil {
				byType[a.Item.Type] = append(byType[a.Item.Type], a.what())
			}
		}
		if !found {
			continue
		}
		fmt.Fprintf(&b, "%s %s\n", words.icon, words.title)
		for i := len(Types) - 1; i >= 0; i-- {
			if names := byType[Types[i]]; len(names) > 0 {
				order.Sort(names, func(a, b string) int { return cmp.Or(compareNames(a, b)) })
				fmt.Fprintf(&b, " %s: %s\n", Types[i], strings.Join(names, ", "))
			}
		}
	}
	return b.String()
}

// Steps is the plan in the order in which it is carried out, one action a line.
func (p *Plan) Steps() string {
	var b strings.Builder
	for _, a := range p.Actions {
		b.WriteString(a.String() + "\n")
	}
	return b.String()
}

// Package grok turns %{NAME:field} patterns into match programs: it holds the
// named patterns (the stock ones are embedded), expands references and knows
// which capture group belongs to which field. It does not match itself
// (cs/pipeline/match does) and knows nothing of events. Parser nodes, which
// name patterns and store fields, are its callers.
//
// A reference is %{NAME} or %{NAME:field}, both made of word characters; any
// other text that begins with %{ is regular expression text. Fields are always
// strings.
package grok

import (
	"errors"
	"fmt"
	"maps"
	"regexp/syntax"
	"slices"
	"strings"

	"cs/pipeline/match"
)

// ErrDefined means that a name has a definition already.
var ErrDefined = errors.New("pattern is defined already")

// Library is one flat name space of patterns. It is not safe for concurrent
// changes; compiled patterns don't depend on it any more.
type Library struct {
	defs map[string]*definition
}

// definition is a pattern cut at its references.
type definition struct {
	parts []part
	// owner tells for each field that the pattern shows to whoever refers to
	// it which part gives the value: the last one that uses the field itself,
	// or else the last one with a reference in which the field is used. Being
	// last in the text counts, not taking part in the match.
	owner  map[string]int
	size   int  // of the expression, about, in bytes
	depth  int  // at least as deep as its syntax tree
	odd    bool // it may contain (?P<name>…) groups, or a quotation without an end
	proper answer
}

// answer is the memo of a question.
type answer uint8

const (
	unknown answer = iota
	no
	yes
)

// maxSize bounds an expression, in bytes: a few lines of content could ask for
// one that no memory holds, by doubling. The longest of the public hub has 30 kB.
const maxSize = 256 << 10

// part is a piece of regular expression text and the reference behind it,
// nil after the last piece.
type part struct {
	text  string
	ref   *definition
	field string
}

// reference is a %{NAME} or %{NAME:field} in a pattern.
type reference struct {
	start, end  int
	name, field string
}

// nextReference returns the first reference behind a place.
func nextReference(pattern string, from int) (r reference, ok bool) {
	for {
		at := strings.Index(pattern[from:], "%{")
		if at < 0 {
			return r, false
		}
		r.start = from + at
		from = r.start + len("%{")
		r.name = word(pattern[from:])
		r.end, r.field = from+len(r.name), ""
		if strings.HasPrefix(pattern[r.end:], ":") {
			if r.field = word(pattern[r.end+1:]); r.field == "" {
				continue
			}
			r.end += 1 + len(r.field)
		}
		if r.name != "" && strings.HasPrefix(pattern[r.end:], "}") {
			r.end++
			return r, true
		}
	}
}

// word returns the word characters that a text begins with.
func word(text string) string {
	for i := range len(text) {
		if c := text[i]; c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return text[:i]
		}
	}
	return text
}

// Clone returns a copy that can be added to without changing l.
func (l *Library) Clone() *Library { return &Library{defs: maps.Clone(l.defs)} }

// Has tells whether a name is defined.
func (l *Library) Has(name string) bool { return l.defs[name] != nil }

// Names returns the defined names, sorted.
func (l *Library) Names() []string { return slices.Sorted(maps.Keys(l.defs)) }

// Define adds a pattern, which may refer to the names known so far. The first
// definition of a name stays: defining it again gives ErrDefined and changes
// nothing. A pattern that is empty, refers to an unknown name or is no valid
// regular expression is refused.
func (l *Library) Define(name, pattern string) error {
	err := l.add(name, pattern)
	if err == nil {
		if err = l.defs[name].check(); err != nil {
			delete(l.defs, name)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot define pattern %s: %w", name, err)
	}
	return nil
}

// add is Define without the check that the expression is valid.
func (l *Library) add(name, pattern string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case pattern == "":
		return errors.New("the pattern is empty")
	case l.Has(name):
		return ErrDefined
	}
	d, err := l.parse(pattern)
	if err != nil {
		return err
	}
	l.defs[name] = d
	return nil
}

// parse cuts a pattern at its references and resolves them.
func (l *Library) parse(pattern string) (*definition, error) {
	d := &definition{size: len(pattern)}
	below := 0
	var own map[string]int
	rest := 0
	for i := 0; ; i++ {
		r, ok := nextReference(pattern, rest)
		if !ok {
			break
		}
		ref := l.defs[r.name]
		if ref == nil {
			return nil, fmt.Errorf("no pattern is named %s", r.name)
		}
		if d.size += ref.size; d.size > maxSize {
			return nil, fmt.Errorf("it has more than %d bytes when its references are expanded", maxSize)
		}
		below, d.odd = max(below, ref.depth), d.odd || ref.odd
		p := part{text: pattern[rest:r.start], ref: ref, field: r.field}
		for f := range ref.owner {
			put(&d.owner, f, i)
		}
		if p.field != "" {
			put(&own, p.field, i)
		}
		d.parts = append(d.parts, p)
		rest = r.end
	}
	for f, i := range own {
		put(&d.owner, f, i)
	}
	d.parts = append(d.parts, part{text: pattern[rest:]})
	for _, p := range d.parts {
		d.odd = d.odd || strings.Contains(p.text, "(?P<") || strings.Contains(p.text, "(?<") || strings.Contains(p.text, `\Q`)
		// A group can be a capture of an alternative of a sequence.
		d.depth += 3*strings.Count(p.text, "(") + strings.Count(p.text, "*") +
			strings.Count(p.text, "+") + strings.Count(p.text, "?") + strings.Count(p.text, "{") + 3
	}
	d.depth += below
	return d, nil
}

// put adds to a map that most definitions have no use for.
func put(m *map[string]int, key string, value int) {
	if *m == nil {
		*m = make(map[string]int)
	}
	(*m)[key] = value
}

// check tells whether the expression of d is valid and has a group for each
// field, given that all definitions it refers to are valid.
func (d *definition) check() error {
	if d.sound() {
		return nil
	}
	re, err := syntax.Parse(d.expression(), syntax.Perl)
	if err != nil {
		return err
	}
	names := re.CapNames()
	for f := range d.owner {
		if !slices.Contains(names, groupPrefix+f) {
			return fmt.Errorf("field %s stands where nothing can be captured", f)
		}
	}
	return nil
}

// maxDepth is below the depth of syntax trees that regexp/syntax refuses, 1000.
const maxDepth = 900

// sound tells whether d passes the check for certain. That saves parsing the
// whole expression, of which there are megabytes in a hub. Proper places can take
// any valid expression, unless names occur twice, a quotation has no end, or what is
// repeated by a number is so itself, which has limits.
func (d *definition) sound() bool {
	for _, p := range d.parts {
		if strings.Contains(p.text, "{") {
			return false
		}
	}
	return d.isProper() && !d.odd && d.depth <= maxDepth
}

// isProper tells whether all references, those on lower levels included, stand where
// a group does. Within brackets or a quotation it would be none.
func (d *definition) isProper() bool {
	if d.proper == unknown {
		d.proper = no
		if d.placesAreProper() {
			d.proper = yes
		}
	}
	return d.proper == yes
}

func (d *definition) placesAreProper() bool {
	var plain, groups strings.Builder
	for _, p := range d.parts {
		plain.WriteString(p.text)
		groups.WriteString(p.text)
		if p.ref == nil {
			break
		}
		if !p.ref.isProper() {
			return false
		}
		plain.WriteString("(?:x)")
		groups.WriteString("(x)")
	}
	a, err := syntax.Parse(plain.String(), syntax.Perl)
	if err != nil {
		return false
	}
	b, err := syntax.Parse(groups.String(), syntax.Perl)
	return err == nil && b.MaxCap()-a.MaxCap() == len(d.parts)-1
}

// expression returns the regular expression of d with one group named
// groupPrefix+field for every field. All other references become groups that
// don't capture: a match program costs more for every group it keeps.
func (d *definition) expression() string {
	var b strings.Builder
	d.write(&b, func(string) bool { return true })
	return b.String()
}

// write appends the expression of d with groups for the wanted fields.
func (d *definition) write(b *strings.Builder, want func(field string) bool) {
	for i, p := range d.parts {
		b.WriteString(p.text)
		if p.ref == nil {
			continue
		}
		wanted := func(field string) bool { return d.owner[field] == i && want(field) }
		if p.field != "" && wanted(p.field) {
			b.WriteString("(?P<" + groupPrefix + p.field + ">")
		} else {
			b.WriteString("(?:")
		}
		p.ref.write(b, func(field string) bool { return field != p.field && wanted(field) })
		b.WriteString(")")
	}
}

// groupPrefix keeps the names of our groups apart from (?P<name>) groups that
// a pattern may contain and that are never fields.
const groupPrefix = "grok_field_"

// Compile compiles a pattern with its references expanded.
func (l *Library) Compile(pattern string) (*Pattern, error) {
	d, err := l.parse(pattern)
	if err != nil {
		return nil, fmt.Errorf("cannot compile grok pattern: %w", err)
	}
	p, err := d.compile()
	if err != nil {
		return nil, fmt.Errorf("cannot compile grok pattern: %w", err)
	}
	return p, nil
}

// CompileName compiles the pattern that a name stands for.
func (l *Library) CompileName(name string) (*Pattern, error) {
	d := l.defs[name]
	if d == nil {
		return nil, fmt.Errorf("cannot compile grok pattern: no pattern is named %s", name)
	}
	p, err := d.compile()
	if err != nil {
		return nil, fmt.Errorf("cannot compile grok pattern %s: %w", name, err)
	}
	return p, nil
}

func (d *definition) compile() (*Pattern, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	fields := slices.Sorted(maps.Keys(d.owner))
	return &Pattern{Fields: fields, prog: match.Later(func() (string, []string) {
		groups := make([]string, len(fields))
		for i, f := range fields {
			groups[i] = groupPrefix + f
		}
		return d.expression(), groups
	})}, nil
}

// Pattern is a compiled grok, safe for use by many workers. Fields are the
// names it gives values to, sorted, each once; Match fills values in that
// order.
type Pattern struct {
	Fields []string
	prog   *match.Program
}

// Literal returns a text that is in every text that matches, "" if none is known.
func (p *Pattern) Literal() string { return p.prog.Literal() }

// Match searches text. On success values[i] is what Fields[i] captured, ""
// where it took no part; the values are views of text. A pattern without
// fields never matches, as upstream. len(values) must be at least
// len(p.Fields); values is untouched when nothing matches.
func (p *Pattern) Match(m *match.Machine, text string, values []string) bool {
	if len(p.Fields) == 0 {
		return false
	}
	caps := m.Caps(1 + len(p.Fields))
	if !p.prog.Match(m, text, caps) {
		return false
	}
	values = values[:len(p.Fields)]
	for i := range values {
		values[i] = ""
		if from := caps[2+2*i]; from >= 0 {
			values[i] = text[from:caps[3+2*i]]
		}
	}
	return true
}

// Program is the match program of the pattern; its kept groups are the fields
// in order.
func (p *Pattern) Program() *match.Program { return p.prog }

package xmlpath

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Path is a compiled path, safe for concurrent use. It is the subset of XPath
// that github.com/beevik/etree documents: . .. * / // and names, followed by
// the filters [n] [@attr] [@attr='v'] [child] [child='v'] [text()] [text()='v'],
// and the same for name(), local-name() and namespace-prefix().
type Path struct{ segments []segment }

type segment struct {
	axis    axis
	name    name
	filters []filter
}

type axis uint8

const (
	byTag axis = iota
	all
	self
	parent
	descendants // and self
	root
)

type filter struct {
	kind  kind
	name  name
	value string
	equal bool // value is asked for; else only that there is one
	index int  // from 0, from the end if it is negative
}

type kind uint8

const (
	byPosition kind = iota
	byAttr
	byChild
	byText
	byName
	byLocalName
	byPrefix
)

var functions = map[string]kind{"text()": byText, "name()": byName, "local-name()": byLocalName, "namespace-prefix()": byPrefix}

// Compile compiles a path.
func Compile(src string) (*Path, error) {
	p, err := compile(src)
	if err != nil {
		return nil, fmt.Errorf("cannot compile XML path %s: %w", src, err)
	}
	return p, nil
}

func compile(src string) (*Path, error) {
	p := &Path{}
	if strings.HasSuffix(src, "//") {
		src += "*"
	}
	if strings.HasPrefix(src, "/") {
		p.segments = append(p.segments, segment{axis: root})
		src = src[1:]
	}
	for more := true; more; {
		var part string
		part, src, more = cutUnquoted(src)
		s, err := compileSegment(part)
		if err != nil {
			return nil, err
		}
		p.segments = append(p.segments, s)
	}
	return p, nil
}

// cutUnquoted cuts a path at its first slash that is not within quotes.
func cutUnquoted(s string) (before, after string, found bool) {
	if i := indexUnquoted(s, '/'); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// indexUnquoted finds the first c that is not within quotes, -1 if there is none.
func indexUnquoted(s string, c byte) int {
	quote := byte(0)
	for i := range len(s) {
		switch {
		case quote != 0:
			if s[i] == quote {
				quote = 0
			}
		case s[i] == '\'' || s[i] == '"':
			quote = s[i]
		case s[i] == c:
			return i
		}
	}
	return -1
}

func compileSegment(s string) (seg segment, err error) {
	sel, filters, filtered := strings.Cut(s, "[")
	switch sel {
	case "":
		seg.axis = descendants
	case ".":
		seg.axis = self
	case "..":
		seg.axis = parent
	case "*":
		seg.axis = all
	default:
		if seg.name, err = nameOf(sel); err != nil {
			return seg, err
		}
	}
	for filtered {
		end := indexUnquoted(filters, ']')
		if end < 0 {
			return seg, errors.New("a [ is not closed")
		}
		f, err := compileFilter(filters[:end])
		if err != nil {
			return seg, err
		}
		seg.filters = append(seg.filters, f)
		rest := filters[end+1:]
		if filters, filtered = strings.CutPrefix(rest, "["); !filtered && rest != "" {
			return seg, fmt.Errorf("%q is behind a filter", rest)
		}
	}
	return seg, nil
}

func compileFilter(s string) (f filter, err error) {
	key, value, equal := strings.Cut(s, "=")
	if equal {
		if len(value) < 2 || value[0] != '\'' && value[0] != '"' || strings.IndexByte(value[1:], value[0]) != len(value)-2 {
			return f, fmt.Errorf("%s is no text in quotes", value)
		}
		f.equal, f.value = true, value[1:len(value)-1]
	}
	if attr, ok := strings.CutPrefix(key, "@"); ok {
		f.kind = byAttr
		f.name, err = nameOf(attr)
		return f, err
	}
	if strings.HasSuffix(key, "()") {
		k, ok := functions[key]
		if !ok {
			return f, fmt.Errorf("unknown function %s", key)
		}
		f.kind = k
		return f, nil
	}
	if n, err := strconv.Atoi(key); err == nil && !equal {
		f.index = n
		if n > 0 {
			f.index = n - 1
		}
		return f, nil
	}
	f.kind = byChild
	f.name, err = nameOf(key)
	return f, err
}

func nameOf(s string) (name, error) {
	for i := range len(s) {
		if !isNameByte(s[i]) {
			return name{}, fmt.Errorf("%q is no name", s)
		}
	}
	n, ok := qualified(s)
	if s == "" || !ok {
		return n, fmt.Errorf("%q is no name", s)
	}
	return n, nil
}

// step is work that a search has before it: the rest of the path from an
// element on.
type step struct {
	at  Element
	seg int32
}

// maxCost bounds a search, in elements that are looked at: a path with several
// // could look at each element once for every other one.
const maxCost = 1 << 16

// Find returns the first element that the path leads to from the document
// itself: the nearest to the start of the path first, then in the order of the
// document. A search that takes too long finds nothing.
func (d *Doc) Find(p *Path) (e Element, ok bool) {
	if len(d.elements) == 0 {
		return 0, false
	}
	d.steps = append(d.steps[:0], step{})
	d.cost = 0
	for i := 0; i < len(d.steps) && d.cost <= maxCost; i++ {
		s := d.steps[i]
		if int(s.seg) == len(p.segments) {
			return s.at, true
		}
		seg := &p.segments[s.seg]
		d.found = d.found[:0]
		d.collect(s.at, seg)
		for i := range seg.filters {
			d.filter(&seg.filters[i])
		}
		for _, e := range d.found {
			d.steps = append(d.steps, step{e, s.seg + 1})
		}
	}
	return 0, false
}

// collect puts the elements that a segment selects into d.found.
func (d *Doc) collect(e Element, seg *segment) {
	d.cost++
	switch seg.axis {
	case self:
		d.found = append(d.found, e)
	case root:
		d.found = append(d.found, 0)
	case parent:
		if e != 0 {
			d.found = append(d.found, d.elements[e].parent)
		}
	case all, byTag:
		for c := d.elements[e].child; c != 0; c = d.elements[c].next {
			d.cost++
			if seg.axis == all || d.elements[c].name.is(seg.name) {
				d.found = append(d.found, c)
			}
		}
	case descendants:
		d.found = append(d.found, e)
		for i := 0; i < len(d.found); i++ {
			for c := d.elements[d.found[i]].child; c != 0; c = d.elements[c].next {
				d.found = append(d.found, c)
			}
		}
		d.cost += len(d.found)
	}
}

// filter keeps those of d.found that a filter accepts.
func (d *Doc) filter(f *filter) {
	if f.kind == byPosition {
		i := f.index
		if i < 0 {
			i += len(d.found)
		}
		if i < 0 || i >= len(d.found) {
			d.found = d.found[:0]
			return
		}
		d.found = append(d.found[:0], d.found[i])
		return
	}
	kept := d.found[:0]
	for _, e := range d.found {
		if d.accepts(f, e) {
			kept = append(kept, e)
		}
	}
	d.found = kept
}

func (d *Doc) accepts(f *filter, e Element) bool {
	el := &d.elements[e]
	switch f.kind {
	case byAttr:
		for _, a := range d.attrs[el.attrs : el.attrs+el.nattr] {
			if a.name.is(f.name) && (!f.equal || d.is(a.value, f.value)) {
				return true
			}
		}
		return false
	case byChild:
		for c := el.child; c != 0; c = d.elements[c].next {
			d.cost++
			if d.elements[c].name.is(f.name) && (!f.equal || d.is(d.elements[c].text, f.value)) {
				return true
			}
		}
		return false
	case byText:
		if f.equal {
			return d.is(el.text, f.value)
		}
		return !d.is(el.text, "")
	}
	text := el.name.local
	switch {
	case f.kind == byPrefix:
		text = el.name.space
	case f.kind == byName && el.name.space != "":
		d.scratch = append(append(append(d.scratch[:0], el.name.space...), ':'), el.name.local...)
		return !f.equal || string(d.scratch) == f.value
	}
	if f.equal {
		return text == f.value
	}
	return text != ""
}

// is compares a text with a constant.
func (d *Doc) is(v Value, want string) bool {
	if s, ok := v.Plain(); ok {
		return s == want
	}
	d.cost += len(v.raw) / 64
	d.scratch = v.AppendTo(d.scratch[:0])
	return string(d.scratch) == want
}

// Package strict reads YAML written by people: every key must be known, every
// value of the right type, and what is wrong is named by file, line and key,
// with the key that was probably meant.
//
// Scalars follow yaml.v2, with which the public hub was written: unquoted
// numbers and booleans go into texts as they are spelt, and yes/no/on/off are
// booleans. Content (pipeline/node, pipeline/scenario) and configuration
// (roles/config) decode through it.
package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// ErrUnknownKey is in the errors of keys that the struct doesn't have, for
// formats that only warn of them.
var ErrUnknownKey = errors.New("unknown key")

const (
	maxSize  = 1 << 20 // bytes of a file
	maxDepth = 64      // of nested values
	maxOpen  = 1024    // of what deepest counts; the YAML parser recurses
	maxNodes = 100_000 // of a document, aliases expanded

	maxErrors = 100 // that are told of a document
)

// Place is where a value stands.
type Place struct {
	File   string
	Line   int
	Column int    // in characters; 0: not told, see Doc.WithColumns
	Key    string // path from the top: "nodes[2].grok.pattern"
}

// Errorf returns an error about the value at p.
func (p Place) Errorf(format string, args ...any) error {
	return &Error{p, fmt.Errorf(format, args...)}
}

// Error is a complaint about a place in a file.
type Error struct {
	Place Place
	Err   error
}

// String is where to look: "file:line", "file:line:column".
func (p Place) String() string {
	if p.Column == 0 {
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

func (e *Error) Error() string {
	if e.Place.Key == "" {
		return fmt.Sprintf("%s: %v", e.Place, e.Err)
	}
	return fmt.Sprintf("%s: %s: %v", e.Place, e.Place.Key, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Text is the text of a scalar that remembers its place.
type Text struct {
	Value string
	Place Place
}

// Map is a mapping of texts in the order of the file.
type Map []Pair

// Pair is an entry of a Map.
type Pair struct {
	Key   string
	Value Text
}

// Doc is one document of a file.
type Doc struct {
	file    string
	root    *yaml.Node
	columns bool
}

// WithColumns returns the document such that its places, and so its errors,
// tell the column, too.
func (d Doc) WithColumns() Doc {
	d.columns = true
	return d
}

// Place returns where the document begins.
func (d Doc) Place() Place {
	line, _ := position(d.root)
	return Place{File: d.file, Line: line}
}

// Places returns where the scalars and the lists of scalars of a document stand,
// by their keys.
func (d Doc) Places() map[string]Place {
	found := make(map[string]Place)
	r := &reader{file: d.file, columns: d.columns}
	var walk func(n *yaml.Node, key string, depth int)
	walk = func(n *yaml.Node, key string, depth int) {
		n, ok := r.resolve(n, key, depth)
		switch {
		case !ok || isNull(n):
		case n.Kind == yaml.MappingNode:
			r.pairs(n, key, depth, func(_ entry, key string, val *yaml.Node) { walk(val, key, depth+1) })
		default:
			found[key] = r.place(n, key)
		}
	}
	walk(d.root, "", 0)
	return found
}

// Parse splits a file into its documents; empty ones are left out.
func Parse(file string, data []byte) (docs []Doc, err error) {
	p := Place{File: file, Line: 1}
	if len(data) > maxSize {
		return nil, p.Errorf("file has %d bytes, more than %d", len(data), maxSize)
	}
	if n := deepest(data); n > maxOpen {
		return nil, p.Errorf("%d brackets are open at once, more than %d", n, maxOpen)
	}
	roots, err := parse(bytes.NewReader(data))
	if err != nil {
		p.Line, err = explain(data, err)
		return nil, p.Errorf("cannot parse YAML: %w", err)
	}
	for _, n := range roots {
		if !isNull(n) {
			docs = append(docs, Doc{file: file, root: n})
		}
	}
	return docs, nil
}

// parse returns the top nodes of the documents.
func parse(text io.Reader) (roots []*yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil { // the YAML parser's, on text that it never saw the like of
			err = fmt.Errorf("%v", r)
		}
	}()
	for d := yaml.NewDecoder(text); ; {
		var n yaml.Node
		if err := d.Decode(&n); err == io.EOF {
			return roots, nil
		} else if err != nil {
			return nil, err
		}
		roots = append(roots, n.Content...)
	}
}

// explain returns the line that the YAML parser fails at, and why. The parser
// tells where a text or a list that it can't finish begins, but for some errors
// only where the mapping begins that they are in, or nothing: these are on the last
// line of the shortest start of the file that fails the same way.
func explain(data []byte, err error) (line int, cause error) {
	line, why := complaint(err)
	for _, s := range []string{"did not find expected", "unknown anchor", "control characters", "UTF-8"} {
		if !strings.Contains(why, s) {
			continue
		}
		l := &lineReader{rest: data}
		_, _ = parse(l)
		for line = l.n; line > max(1, l.n-8); line-- {
			_, err := parse(&lineReader{rest: data, most: line - 1})
			if _, shorter := complaint(err); shorter != why {
				break
			}
		}
		break
	}
	return max(1, line), errors.New(why)
}

// complaint takes an error of the YAML parser apart, "yaml: line 2: unknown escape character".
func complaint(err error) (line int, why string) {
	if err == nil {
		return 0, ""
	}
	why = strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(why, "line "); ok {
		number, text, _ := strings.Cut(rest, ": ")
		if n, err := strconv.Atoi(number); err == nil {
			return n, text
		}
	}
	return 0, why
}

// lineReader hands out one line a call, and no more than most of them unless that is 0.
type lineReader struct {
	rest []byte
	n    int // lines handed out
	most int
}

func (l *lineReader) Read(dst []byte) (int, error) {
	if len(l.rest) == 0 || l.most > 0 && l.n == l.most {
		return 0, io.EOF
	}
	end := bytes.IndexByte(l.rest, '\n') + 1
	if end == 0 {
		end = len(l.rest)
	}
	if end > len(dst) {
		end = len(dst)
	} else {
		l.n++
	}
	copy(dst, l.rest[:end])
	l.rest = l.rest[end:]
	return end, nil
}

// deepest returns the greatest number of brackets open at once, or of columns
// a line is indented by: an upper bound of what the parser will recurse. It takes
// brackets in texts for such, too: regular expressions have many without a partner.
func deepest(data []byte) int {
	open, most := 0, 0
	blank, indent := true, 0
	for _, c := range data {
		switch c {
		case '[', '{':
			open++
		case ']', '}':
			open = max(open-1, 0)
		case '\n':
			blank, indent = true, 0
			continue
		}
		if blank && (c == ' ' || c == '-' || c == '?') {
			indent++
			most = max(most, indent/16) // texts may be indented far
			continue
		}
		blank = false
		most = max(most, open)
	}
	return most
}

// Decode fills the struct that dst points to. Fields carry the key in a
// `yaml` tag. It goes on after an error and returns all of them joined.
// Structs behind pointers that are there already are filled too, so that a
// second document can be laid over a first one. The keys of one document may
// be spread over several structs, such as those that all kinds of it have and those of its own.
func (d Doc) Decode(dst ...any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = d.Place().Errorf("cannot read YAML: %v", r)
		}
	}()
	r := &reader{file: d.file, columns: d.columns}
	if len(dst) == 1 {
		r.value(reflect.ValueOf(dst[0]).Elem(), d.root, "", 0)
		return errors.Join(r.errs...)
	}
	structs := make([]reflect.Value, len(dst))
	for i := range dst {
		structs[i] = reflect.ValueOf(dst[i]).Elem()
	}
	if root, ok := r.resolve(d.root, "", 0); ok {
		r.object(root, "", 0, structs...)
	}
	return errors.Join(r.errs...)
}

// PlaceOf returns where the value of a key stands, given by its path from the
// top ("tls.ca_cert"), and whether it is there. One that is not gets the place
// of the document.
func (d Doc) PlaceOf(key string) (Place, bool) {
	n := d.root
	for name := range strings.SplitSeq(key, ".") {
		var found *yaml.Node
		if n != nil && n.Kind == yaml.MappingNode {
			for i := 0; i < len(n.Content); i += 2 {
				if n.Content[i].Value == name {
					found = n.Content[i+1]
				}
			}
		}
		if n = found; n == nil {
			p := d.Place()
			p.Key = key
			return p, false
		}
	}
	line, _ := position(n)
	return Place{File: d.file, Line: line, Key: key}, true
}

type reader struct {
	file    string
	columns bool
	nodes   int
	errs    []error
}

func (r *reader) fail(n *yaml.Node, key, format string, args ...any) {
	switch p := r.place(n, key); {
	case len(r.errs) < maxErrors:
		r.errs = append(r.errs, p.Errorf(format, args...))
	case len(r.errs) == maxErrors:
		r.errs = append(r.errs, p.Errorf("there are more errors from here on"))
	}
}

func (r *reader) place(n *yaml.Node, key string) Place {
	p := Place{File: r.file, Key: key}
	p.Line, p.Column = position(n)
	if !r.columns {
		p.Column = 0
	}
	return p
}

var (
	textType     = reflect.TypeFor[Text]()
	mapType      = reflect.TypeFor[Map]()
	durationType = reflect.TypeFor[time.Duration]()
)

// value decodes a node into v.
func (r *reader) value(v reflect.Value, n *yaml.Node, key string, depth int) {
	n, ok := r.resolve(n, key, depth)
	if !ok {
		return
	}
	if isNull(n) {
		return // as if the key were not there
	}
	switch v.Type() {
	case textType:
		if s, ok := r.scalar(n, key); ok {
			v.Set(reflect.ValueOf(Text{s, r.place(n, key)}))
		}
		return
	case mapType:
		r.texts(v, n, key, depth)
		return
	case durationType:
		if s, ok := r.scalar(n, key); ok {
			d, err := time.ParseDuration(s)
			if err != nil {
				r.fail(n, key, "%q is no duration like 10s or 1m30s", s)
			}
			v.SetInt(int64(d))
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		r.value(v.Elem(), n, key, depth)
	case reflect.Struct:
		r.object(n, key, depth, v)
	case reflect.Slice:
		r.list(v, n, key, depth)
	case reflect.String:
		if s, ok := r.scalar(n, key); ok {
			v.SetString(s)
		}
	case reflect.Bool:
		if b, ok := boolOf(n); ok {
			v.SetBool(b)
		} else {
			r.fail(n, key, "want true or false, this is %s", kind(n))
		}
	case reflect.Int, reflect.Int64:
		if i, ok := intOf(n); ok {
			v.SetInt(i)
		} else {
			r.fail(n, key, "want a whole number, this is %s", kind(n))
		}
	case reflect.Float64:
		if f, ok := floatOf(n); ok {
			v.SetFloat(f)
		} else {
			r.fail(n, key, "want a number, this is %s", kind(n))
		}
	case reflect.Interface:
		if a := r.free(n, key, depth); a != nil {
			v.Set(reflect.ValueOf(a))
		}
	case reflect.Map: // by name
		m := reflect.MakeMap(v.Type())
		elem := v.Type().Elem()
		r.pairs(n, key, depth, func(k entry, key string, val *yaml.Node) {
			if elem.Kind() != reflect.Interface {
				e := reflect.New(elem).Elem()
				r.value(e, val, key, depth+1)
				m.SetMapIndex(reflect.ValueOf(k.name), e)
				return
			}
			if a := r.free(val, key, depth+1); a != nil {
				m.SetMapIndex(reflect.ValueOf(k.name), reflect.ValueOf(a))
			}
		})
		v.Set(m)
	default:
		panic("BUG: strict can't decode into " + v.Type().String())
	}
}

func (r *reader) object(n *yaml.Node, key string, depth int, structs ...reflect.Value) {
	fields := map[string]reflect.Value{}
	var names []string
	for _, v := range structs {
		for i := range v.NumField() {
			name := v.Type().Field(i).Tag.Get("yaml")
			if name != "" {
				fields[name] = v.Field(i)
				names = append(names, name)
			}
		}
	}
	r.pairs(n, key, depth, func(k entry, key string, val *yaml.Node) {
		field, ok := fields[k.name]
		if !ok {
			r.fail(k.node, key, "%w%s", ErrUnknownKey, Suggest(k.name, names))
			return
		}
		r.value(field, val, key, depth+1)
	})
}

func (r *reader) list(v reflect.Value, n *yaml.Node, key string, depth int) {
	if n.Kind != yaml.SequenceNode {
		r.fail(n, key, "want a list, this is %s", kind(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, e := range n.Content {
		r.value(out.Index(i), e, fmt.Sprintf("%s[%d]", key, i), depth+1)
	}
	v.Set(out)
}

func (r *reader) texts(v reflect.Value, n *yaml.Node, key string, depth int) {
	var m Map
	r.pairs(n, key, depth, func(k entry, key string, val *yaml.Node) {
		val, ok := r.resolve(val, key, depth+1)
		if !ok {
			return
		}
		if s, ok := r.scalar(val, key); ok {
			m = append(m, Pair{k.name, Text{s, r.place(val, key)}})
		}
	})
	v.Set(reflect.ValueOf(m))
}

// entry is the key of an entry of a mapping.
type entry struct {
	name string
	node *yaml.Node
}

// pairs calls f for each entry of a mapping, merged ones (<<) after its own.
func (r *reader) pairs(n *yaml.Node, key string, depth int, f func(k entry, key string, val *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.fail(n, key, "want a mapping, this is %s", kind(n))
		return
	}
	seen := make(map[string]int, len(n.Content)/2) // by line
	var merged []*yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Tag == "!!merge" {
			merged = append(merged, n.Content[i+1])
			continue
		}
		k, ok := r.resolve(n.Content[i], key, depth)
		if !ok {
			continue
		}
		name, ok := r.scalar(k, key)
		if !ok {
			continue
		}
		path := name
		if key != "" {
			path = key + "." + name
		}
		if first, ok := seen[name]; ok {
			r.fail(k, path, "key is there twice, first on line %d", first)
			continue
		}
		seen[name] = k.Line
		f(entry{name, k}, path, n.Content[i+1])
	}
	for _, m := range merged {
		m, ok := r.resolve(m, key, depth+1)
		if !ok {
			continue
		}
		r.pairs(m, key, depth+1, func(k entry, path string, val *yaml.Node) {
			if _, ok := seen[k.name]; !ok {
				seen[k.name] = k.node.Line
				f(k, path, val)
			}
		})
	}
}

// resolve follows an alias. What a node holds counts before anything is made of it.
func (r *reader) resolve(n *yaml.Node, key string, depth int) (*yaml.Node, bool) {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || r.nodes > maxNodes {
		return n, n == nil
	}
	if r.nodes += len(n.Content); r.nodes > maxNodes || depth > maxDepth {
		r.fail(n, key, "document is too large or nested too deep")
		r.nodes = maxNodes + 1 // an alias that holds itself says it once
		return nil, false
	}
	return n, true
}

// scalar returns the text of a scalar as it is spelt.
func (r *reader) scalar(n *yaml.Node, key string) (string, bool) {
	switch {
	case isNull(n):
		return "", true
	case n.Kind == yaml.ScalarNode:
		return n.Value, true
	}
	r.fail(n, key, "want a text, this is %s", kind(n))
	return "", false
}

// free decodes a value of any type, nil for what can't be.
func (r *reader) free(n *yaml.Node, key string, depth int) any {
	n, ok := r.resolve(n, key, depth)
	if !ok {
		return nil
	}
	switch {
	case isNull(n):
		return nil
	case n.Kind == yaml.SequenceNode:
		l := make([]any, 0, len(n.Content))
		for i, e := range n.Content {
			l = append(l, r.free(e, fmt.Sprintf("%s[%d]", key, i), depth+1))
		}
		return l
	case n.Kind == yaml.MappingNode:
		m := map[string]any{}
		r.pairs(n, key, depth, func(k entry, key string, val *yaml.Node) { m[k.name] = r.free(val, key, depth+1) })
		return m
	}
	if b, ok := boolOf(n); ok {
		return b
	}
	if i, ok := intOf(n); ok {
		return int(i)
	}
	if f, ok := floatOf(n); ok {
		return f
	}
	return n.Value
}

// The tags of scalars are those of yaml.v3's rules unless the file has its own.

func isNull(n *yaml.Node) bool { return n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func boolOf(n *yaml.Node) (b, ok bool) {
	if n.Kind != yaml.ScalarNode || n.Style != 0 && n.Tag != "!!bool" {
		return false, false
	}
	switch strings.ToLower(n.Value) {
	case "true", "y", "yes", "on":
		return true, true
	case "false", "n", "no", "off":
		return false, true
	}
	return false, false
}

func intOf(n *yaml.Node) (int64, bool) {
	switch n.Tag {
	case "!!int":
		i, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 0, strconv.IntSize)
		return i, err == nil
	case "!!float":
		if f, ok := floatOf(n); ok && f == math.Trunc(f) && math.Abs(f) < 1<<31 {
			return int64(f), true
		}
	}
	return 0, false
}

func floatOf(n *yaml.Node) (float64, bool) {
	switch n.Tag {
	case "!!int":
		i, ok := intOf(n)
		return float64(i), ok
	case "!!float":
		text := strings.ToLower(strings.ReplaceAll(n.Value, "_", ""))
		if strings.HasSuffix(text, ".inf") || text == ".nan" {
			text = strings.Replace(text, ".", "", 1)
		}
		f, err := strconv.ParseFloat(text, 64)
		return f, err == nil
	}
	return 0, false
}

// kind says what a node is, for messages.
func kind(n *yaml.Node) string {
	switch {
	case n == nil:
		return "nothing"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return "a text"
	case n.Tag == "!!str":
		return fmt.Sprintf("the text %q", short(n.Value))
	}
	return short(n.Value)
}

func short(s string) string {
	if len(s) > 40 {
		return s[:37] + "..."
	}
	return s
}

// position returns the line and the column of a node, of a mapping those of its
// first key.
func position(n *yaml.Node) (line, column int) {
	for n != nil && n.Kind == yaml.MappingNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	if n == nil {
		return 1, 1
	}
	return n.Line, n.Column
}

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
	"iter"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// ErrUnknownKey is in the errors of keys that the struct doesn't have, for
// formats that only warn of them.
var ErrUnknownKey = errors.New("unknown key")

const (
	maxSize  = 1 << 20 // bytes of a file
	maxDepth = 64      // of nested values
	maxOpen  = 1024    // of what deepest counts; the YAML parser recurses
	maxNodes = 100_000 // of a document, aliases expanded
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
	skip    int // lines of the file before the text that root was parsed from
	root    ast.Node
	columns bool
}

// WithColumns returns the document such that its places, and so its errors,
// tell the column, too.
func (d Doc) WithColumns() Doc {
	d.columns = true
	return d
}

// Place returns where the document begins.
func (d Doc) Place() Place { return Place{File: d.file, Line: d.skip + line(d.root)} }

// Places returns where the scalars and the lists of scalars of a document stand,
// by their keys.
func (d Doc) Places() map[string]Place {
	found := make(map[string]Place)
	r := &reader{file: d.file, skip: d.skip, columns: d.columns, anchors: map[string]ast.Node{}}
	var walk func(n ast.Node, key string, depth int)
	walk = func(n ast.Node, key string, depth int) {
		n, ok := r.resolve(n, key, depth)
		if !ok {
			return
		}
		switch n.(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
			r.pairs(n, key, depth, func(_ entry, key string, val ast.Node) { walk(val, key, depth+1) })
		case nil, *ast.NullNode:
		default:
			found[key] = r.place(n, key)
		}
	}
	walk(d.root, "", 0)
	return found
}

// Parse splits a file into its documents; empty ones are left out.
func Parse(file string, data []byte) (docs []Doc, err error) {
	if len(data) > maxSize {
		return nil, Place{File: file, Line: 1}.Errorf("file has %d bytes, more than %d", len(data), maxSize)
	}
	if n := deepest(data); n > maxOpen {
		return nil, Place{File: file, Line: 1}.Errorf("%d brackets are open at once, more than %d", n, maxOpen)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	// YAML has one line break in texts, however the file spells it; the parser
	// folds lines that end otherwise wrongly.
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	for text, skip := range split(data) {
		more, err := parse(file, skip, text)
		if err != nil {
			return nil, err
		}
		docs = append(docs, more...)
	}
	return docs, nil
}

// split yields the documents of a file and the number of lines before each.
// The YAML parser could do it, but drops the document behind an empty one. A
// line that begins with three hyphens is a marker wherever it stands.
func split(data []byte) iter.Seq2[[]byte, int] {
	return func(yield func([]byte, int) bool) {
		start, skip, lines := 0, 0, 0
		for i := 0; i < len(data); {
			if rest := data[i:]; i > start && bytes.HasPrefix(rest, []byte("---")) &&
				(len(rest) == 3 || bytes.IndexByte([]byte(" \t\r\n"), rest[3]) >= 0) {
				if !yield(data[start:i], skip) {
					return
				}
				start, skip = i, lines
			}
			end := bytes.IndexByte(data[i:], '\n')
			if end < 0 {
				break
			}
			i += end + 1
			lines++
		}
		yield(data[start:], skip)
	}
}

func parse(file string, skip int, text []byte) (docs []Doc, err error) {
	p := Place{File: file, Line: skip + 1}
	defer func() {
		if r := recover(); r != nil { // the YAML parser's, on text that it never saw the like of
			docs, err = nil, p.Errorf("cannot parse YAML: %v", r)
		}
	}()
	f, err := parser.ParseBytes(text, 0)
	if err != nil {
		var at interface {
			error
			GetToken() *token.Token
			GetMessage() string
		}
		if errors.As(err, &at) {
			if t := at.GetToken(); t != nil && t.Position != nil {
				p.Line = skip + t.Position.Line
			}
			err = errors.New(at.GetMessage())
		}
		return nil, p.Errorf("cannot parse YAML: %w", err)
	}
	for _, d := range f.Docs {
		switch d.Body.(type) {
		case nil, *ast.NullNode, *ast.CommentGroupNode, *ast.DirectiveNode:
		default:
			docs = append(docs, Doc{file: file, skip: skip, root: d.Body})
		}
	}
	return docs, nil
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
	r := &reader{file: d.file, skip: d.skip, columns: d.columns, anchors: map[string]ast.Node{}}
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
		var entries []*ast.MappingValueNode
		switch m := n.(type) {
		case *ast.MappingNode:
			entries = m.Values
		case *ast.MappingValueNode:
			entries = []*ast.MappingValueNode{m}
		}
		n = nil
		for _, e := range entries {
			if t := e.Key.GetToken(); t != nil && t.Value == name {
				n = e.Value
			}
		}
		if n == nil {
			p := d.Place()
			p.Key = key
			return p, false
		}
	}
	return Place{File: d.file, Line: d.skip + line(n), Key: key}, true
}

type reader struct {
	file    string
	skip    int
	columns bool
	anchors map[string]ast.Node
	nodes   int
	errs    []error
}

func (r *reader) fail(n ast.Node, key, format string, args ...any) {
	r.errs = append(r.errs, r.place(n, key).Errorf(format, args...))
}

func (r *reader) place(n ast.Node, key string) Place {
	p := Place{File: r.file, Line: r.skip + line(n), Key: key}
	if r.columns {
		p.Column = column(n)
	}
	return p
}

var (
	textType     = reflect.TypeFor[Text]()
	mapType      = reflect.TypeFor[Map]()
	durationType = reflect.TypeFor[time.Duration]()
)

// value decodes a node into v.
func (r *reader) value(v reflect.Value, n ast.Node, key string, depth int) {
	n, ok := r.resolve(n, key, depth)
	if !ok {
		return
	}
	if _, null := n.(*ast.NullNode); null || n == nil {
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
		r.pairs(n, key, depth, func(k entry, key string, val ast.Node) {
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

func (r *reader) object(n ast.Node, key string, depth int, structs ...reflect.Value) {
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
	r.pairs(n, key, depth, func(k entry, key string, val ast.Node) {
		field, ok := fields[k.name]
		if !ok {
			r.fail(k.node, key, "%w%s", ErrUnknownKey, Suggest(k.name, names))
			return
		}
		r.value(field, val, key, depth+1)
	})
}

func (r *reader) list(v reflect.Value, n ast.Node, key string, depth int) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		r.fail(n, key, "want a list, this is %s", kind(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
	for i, e := range seq.Values {
		r.value(out.Index(i), e, fmt.Sprintf("%s[%d]", key, i), depth+1)
	}
	v.Set(out)
}

func (r *reader) texts(v reflect.Value, n ast.Node, key string, depth int) {
	var m Map
	r.pairs(n, key, depth, func(k entry, key string, val ast.Node) {
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
	node ast.Node
}

// pairs calls f for each entry of a mapping, merged ones (<<) after its own.
func (r *reader) pairs(n ast.Node, key string, depth int, f func(k entry, key string, val ast.Node)) {
	var entries []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	default:
		r.fail(n, key, "want a mapping, this is %s", kind(n))
		return
	}
	seen := map[string]bool{}
	var merged []ast.Node
	for _, e := range entries {
		if e.Key.IsMergeKey() {
			merged = append(merged, e.Value)
			continue
		}
		k, ok := r.resolve(e.Key, key, depth)
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
		if seen[name] {
			r.fail(e.Key, path, "key is there twice")
			continue
		}
		seen[name] = true
		f(entry{name, e.Key}, path, e.Value)
	}
	for _, m := range merged {
		m, ok := r.resolve(m, key, depth+1)
		if !ok {
			continue
		}
		r.pairs(m, key, depth+1, func(k entry, path string, val ast.Node) {
			if !seen[k.name] {
				seen[k.name] = true
				f(k, path, val)
			}
		})
	}
}

// resolve strips anchors and tags and follows aliases.
func (r *reader) resolve(n ast.Node, key string, depth int) (ast.Node, bool) {
	if r.nodes++; r.nodes > maxNodes || depth > maxDepth {
		if r.nodes <= maxNodes+1 {
			r.fail(n, key, "document is too large or nested too deep")
		}
		return nil, false
	}
	for hops := 0; ; hops++ {
		switch x := n.(type) {
		case *ast.AnchorNode:
			r.anchors[x.Name.GetToken().Value] = x.Value
			n = x.Value
		case *ast.TagNode:
			n = x.Value
		case *ast.MappingKeyNode:
			n = x.Value
		case *ast.AliasNode:
			to, ok := r.anchors[x.Value.GetToken().Value]
			if !ok || hops > maxDepth {
				r.fail(n, key, "unknown alias %s", x.Value)
				return nil, false
			}
			n = to
		default:
			return n, true
		}
	}
}

// scalar returns the text of a scalar as it is spelt.
func (r *reader) scalar(n ast.Node, key string) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		if n.Token.Type == token.SingleQuoteType {
			return unquoted(n), true
		}
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case *ast.NullNode, nil:
		return "", true
	}
	r.fail(n, key, "want a text, this is %s", kind(n))
	return "", false
}

// unquoted returns the text of a scalar in single quotes. The parser loses blanks
// behind a quote that begins a line, so what spans lines is read from the source.
func unquoted(n *ast.StringNode) string {
	from, to := strings.IndexByte(n.Token.Origin, '\''), strings.LastIndexByte(n.Token.Origin, '\'')
	if from >= to || !strings.Contains(n.Token.Origin[from:to], "\n") {
		return n.Value
	}
	lines := strings.Split(n.Token.Origin[from+1:to], "\n")
	var b strings.Builder
	b.WriteString(strings.TrimRight(lines[0], " \t"))
	empty := 0
	for i, l := range lines[1:] {
		if l = strings.TrimLeft(l, " \t"); i < len(lines)-2 {
			l = strings.TrimRight(l, " \t")
			if l == "" {
				empty++
				continue
			}
		}
		if empty == 0 {
			b.WriteByte(' ')
		}
		for ; empty > 0; empty-- {
			b.WriteByte('\n')
		}
		b.WriteString(l)
	}
	return strings.ReplaceAll(b.String(), "''", "'")
}

// free decodes a value of any type, nil for what can't be.
func (r *reader) free(n ast.Node, key string, depth int) any {
	n, ok := r.resolve(n, key, depth)
	if !ok {
		return nil
	}
	switch x := n.(type) {
	case nil, *ast.NullNode:
		return nil
	case *ast.SequenceNode:
		l := make([]any, 0, len(x.Values))
		for i, e := range x.Values {
			l = append(l, r.free(e, fmt.Sprintf("%s[%d]", key, i), depth+1))
		}
		return l
	case *ast.MappingNode, *ast.MappingValueNode:
		m := map[string]any{}
		r.pairs(n, key, depth, func(k entry, key string, val ast.Node) { m[k.name] = r.free(val, key, depth+1) })
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
	s, _ := r.scalar(n, key)
	return s
}

func boolOf(n ast.Node) (b, ok bool) {
	switch n := n.(type) {
	case *ast.BoolNode:
		return n.Value, true
	case *ast.StringNode:
		if n.Token.Type != token.StringType { // quoted
			return false, false
		}
		switch strings.ToLower(n.Value) {
		case "y", "yes", "on":
			return true, true
		case "n", "no", "off":
			return false, true
		}
	}
	return false, false
}

func intOf(n ast.Node) (int64, bool) {
	switch n := n.(type) {
	case *ast.IntegerNode:
		i, err := strconv.ParseInt(n.Token.Value, 0, strconv.IntSize)
		return i, err == nil
	case *ast.FloatNode:
		if f := n.Value; f == math.Trunc(f) && math.Abs(f) < 1<<31 {
			return int64(f), true
		}
	}
	return 0, false
}

func floatOf(n ast.Node) (float64, bool) {
	switch n := n.(type) {
	case *ast.IntegerNode:
		i, ok := intOf(n)
		return float64(i), ok
	case *ast.FloatNode:
		return n.Value, true
	case *ast.StringNode: // 1e-3, which the parser takes for a text
		if n.Token.Type == token.StringType && strings.Trim(n.Value, "0123456789+-.eE") == "" {
			f, err := strconv.ParseFloat(n.Value, 64)
			return f, err == nil
		}
	}
	return 0, false
}

// kind says what a node is, for messages.
func kind(n ast.Node) string {
	switch n := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.LiteralNode:
		return "a text"
	case *ast.StringNode:
		return fmt.Sprintf("the text %q", short(n.Value))
	case nil:
		return "nothing"
	default:
		return short(n.String())
	}
}

func short(s string) string {
	if len(s) > 40 {
		return s[:37] + "..."
	}
	return s
}

func line(n ast.Node) int {
	if at := position(n); at != nil {
		return at.Line
	}
	return 1
}

func column(n ast.Node) int {
	if at := position(n); at != nil {
		return at.Column
	}
	return 1
}

// position may be nil.
func position(n ast.Node) *token.Position {
	if n == nil {
		return nil
	}
	switch x := n.(type) { // their own token is the colon after the first key
	case *ast.MappingNode:
		if len(x.Values) > 0 {
			return position(x.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return position(x.Key)
	}
	if t := n.GetToken(); t != nil {
		return t.Position
	}
	return nil
}

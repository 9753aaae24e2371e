package expr

import (
	"errors"
	"regexp"
	"strings"

	"cs/pipeline/match"
)

// fileFuncs look things up in the data files of content.
func fileFuncs() map[string]*function {
	return map[string]*function{
		"File": {params: []param{aString}, build: func(u *unit, a []value) value {
			if name, ok := a[0].constText(); ok {
				return constant(u.lines(name))
			}
			f, files := a[0].str, u.Files
			return texts(func(x *Ctx) []string {
				if files == nil {
					return nil
				}
				l, _ := files.Lines(f(x))
				return l
			})
		}},
		"RegexpInFile": {params: []param{aString, aString}, build: func(u *unit, a []value) value {
			name, ok := a[1].constText()
			if !ok {
				return refuse("the name of a file must be a constant")
			}
			any := u.fileRegexps(name)
			return u.recalled(a[0], func(x *Ctx, s string) bool { return any.Match(x.Machine, s) })
		}},
		"FileMap": {params: []param{aString}, build: func(u *unit, a []value) value {
			name, ok := a[0].constText()
			if !ok {
				return refuse("the name of a file must be a constant")
			}
			list := []any{}
			for _, row := range u.rows(name) {
				list = append(list, row)
			}
			v := dynamic(typ{kind: listKind, elem: &textMapType}, func(*Ctx) any { return list })
			v.konst = true
			return v
		}},
		"LookupFile": {params: []param{aString, aString}, build: func(u *unit, a []value) value {
			f := a[0].str
			name, ok := a[1].constText()
			if !ok {
				return refuse("the name of a file must be a constant")
			}
			t, err := newTagTable(u.rows(name))
			if err != nil {
				u.warn("the bad rows of data file " + name + " are left out: " + err.Error())
			}
			return text(func(x *Ctx) string { return t.find(f(x)) })
		}},
	}
}

// lines returns the lines of a data file, none when it is not there.
func (u *unit) lines(name string) []string {
	if u.Files != nil {
		if l, ok := u.Files.Lines(name); ok {
			return l
		}
	}
	u.warn("there is no data file " + name + ": File gives an empty list")
	return nil
}

// fileRegexps compiles the expressions of a data file, once an engine.
func (u *unit) fileRegexps(name string) *match.Any {
	if any := u.regexpFiles[name]; any != nil {
		return any
	}
	var exprs []string
	ok := false
	if u.Files != nil {
		exprs, ok = u.Files.Regexps(name)
	}
	if !ok {
		u.warn("there is no data file " + name + ": RegexpInFile gives false")
	}
	any, err := match.NewAny(exprs)
	if err != nil {
		u.warn("the bad lines of data file " + name + " are left out: " + err.Error())
		var good []string
		for _, e := range exprs {
			if _, err := regexp.Compile(e); err == nil {
				good = append(good, e)
			}
		}
		if any, err = match.NewAny(good); err != nil {
			u.warn("data file " + name + " is left out: " + err.Error())
			any, _ = match.NewAny(nil)
		}
	}
	if u.regexpFiles == nil {
		u.regexpFiles = make(map[string]*match.Any)
	}
	u.regexpFiles[name] = any
	return any
}

// rows returns the rows of a data file of type map, none when it is not there.
func (u *unit) rows(name string) []map[string]string {
	if u.Files != nil {
		if rows, ok := u.Files.Rows(name); ok {
			return rows
		}
	}
	u.warn("there is no data file " + name + ": the look-up gives nothing")
	return nil
}

func (c *Compiler) warn(message string) {
	if c.Warn != nil {
		c.Warn(message)
	}
}

// tagTable is a data file of type map as LookupFile uses it (spec: engine
// §4.2): equal rows first, then the leftmost that the text contains, then the
// first expression that matches.
type tagTable struct {
	equal    map[string]string
	contains []tagRow
	regexps  []tagRegexp
}

type tagRow struct{ pattern, tag string }

type tagRegexp struct {
	re  *regexp.Regexp
	tag string
}

// newTagTable makes a table of rows. Those with a bad expression are left out and named by
// the error.
func newTagTable(rows []map[string]string) (*tagTable, error) {
	t := &tagTable{equal: make(map[string]string)}
	var errs []error
	for _, r := range rows {
		switch r["type"] {
		case "equals":
			t.equal[r["pattern"]] = r["tag"]
		case "contains":
			t.contains = append(t.contains, tagRow{r["pattern"], r["tag"]})
		case "regex":
			re, err := regexp.Compile(r["pattern"])
			if err != nil {
				errs = append(errs, err)
				continue
			}
			t.regexps = append(t.regexps, tagRegexp{re, r["tag"]})
		}
	}
	return t, errors.Join(errs...)
}

func (t *tagTable) find(s string) string {
	if tag, ok := t.equal[s]; ok {
		return tag
	}
	best, tag := len(s)+1, ""
	for _, r := range t.contains {
		// a later row must be found further left
		if i := strings.Index(s[:min(len(s), best+len(r.pattern)-1)], r.pattern); i >= 0 && i < best {
			best, tag = i, r.tag
		}
	}
	if best <= len(s) {
		return tag
	}
	for _, r := range t.regexps {
		if r.re.MatchString(s) {
			return r.tag
		}
	}
	return ""
}

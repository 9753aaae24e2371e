package expr

import "cs/pipeline/match"

// fileFuncs look things up in the data files of content.
var fileFuncs = map[string]*function{
	"File": {params: []param{aString}, build: func(u *unit, a []value) value {
		f := a[0].str
		files := u.Files
		if name, ok := a[0].constText(); ok {
			return constant(u.lines(name))
		}
		return texts(func(x *Ctx) []string {
			if files == nil {
				return nil
			}
			l, _ := files.Lines(f(x))
			return l
		})
	}},
	"RegexpInFile": {params: []param{aString, aString}, build: func(u *unit, a []value) value {
		f := a[0].str
		name, ok := a[1].constText()
		if !ok {
			return boolean(func(x *Ctx) bool { x.fail("the file of RegexpInFile must be a constant"); return false }).asRisky()
		}
		res := u.fileRegexps(name)
		return boolean(func(x *Ctx) bool {
			s := f(x)
			for _, re := range res {
				if re.Match(x.Machine, s, nil) {
					return true
				}
			}
			return false
		})
	}},
}

// lines returns the lines of a data file, none when it is not there.
func (u *unit) lines(name string) []string {
	if u.Files != nil {
		if l, ok := u.Files.Lines(name); ok {
			return l
		}
	}
	u.warn("data file " + name + " is not there: File gives an empty list")
	return nil
}

// fileRegexps compiles the expressions of a data file.
func (u *unit) fileRegexps(name string) []*match.Program {
	if u.Files == nil {
		return nil
	}
	exprs, ok := u.Files.Regexps(name)
	if !ok {
		u.warn("data file " + name + " is not there: RegexpInFile gives false")
	}
	var res []*match.Program
	for _, e := range exprs {
		re, err := u.regexp(e)
		if err != nil {
			u.warn("regular expression of data file " + name + " is left out: " + err.Error())
			continue
		}
		res = append(res, re)
	}
	return res
}

func (c *Compiler) warn(message string) {
	if c.Warn != nil {
		c.Warn(message)
	}
}

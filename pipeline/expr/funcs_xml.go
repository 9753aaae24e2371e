package expr

import (
	"unsafe"

	"cs/pipeline/expr/xmlpath"
)

// xmlFuncs look into XML documents. What is bad or missing gives "".
func xmlFuncs() map[string]*function {
	return map[string]*function{
		"XMLGetNodeValue": {params: []param{aString, aString}, build: func(u *unit, a []value) value {
			f, path := a[0].str, u.xmlPath(a[1])
			return text(func(x *Ctx) string {
				s := f(x)
				p := path(x)
				doc := x.document(s)
				if doc == nil || p == nil {
					return ""
				}
				e, ok := doc.Find(p)
				if !ok {
					return ""
				}
				return x.xmlText(doc.Text(e))
			})
		}},
		"XMLGetAttributeValue": {params: []param{aString, aString, aString}, build: func(u *unit, a []value) value {
			f, path, key := a[0].str, u.xmlPath(a[1]), a[2].str
			return text(func(x *Ctx) string {
				s := f(x)
				p := path(x)
				k := key(x)
				doc := x.document(s)
				if doc == nil || p == nil {
					return ""
				}
				e, ok := doc.Find(p)
				if !ok {
					return ""
				}
				v, ok := doc.Attr(e, k)
				if !ok {
					return ""
				}
				return x.xmlText(v)
			})
		}},
	}
}

// xmlPath compiles a path, now if it is a constant. It gives nil for a bad one.
func (u *unit) xmlPath(v value) func(*Ctx) *xmlpath.Path {
	if k, ok := v.constText(); ok {
		p, err := xmlpath.Compile(k)
		if err != nil {
			u.warn(err.Error() + `: it gives ""`)
		}
		return func(*Ctx) *xmlpath.Path { return p }
	}
	f := v.str
	return func(x *Ctx) *xmlpath.Path {
		p, _ := xmlpath.Compile(f(x))
		return p
	}
}

func (x *Ctx) xmlText(v xmlpath.Value) string {
	if s, ok := v.Plain(); ok {
		return s
	}
	return x.arena.Built(v.AppendTo(x.arena.Build()))
}

// documents are the last XML documents of a line: content asks for dozens of
// fields of the same one. They are known by where they lie, as those of a memo
// are.
type documents struct {
	docs [2]struct {
		epoch uint64
		in    string
		bad   bool
		doc   xmlpath.Doc
	}
	last int
}

// document reads a document, nil if it is bad. It is valid until the next call.
func (x *Ctx) document(s string) *xmlpath.Doc {
	if x.xml == nil {
		x.xml = new(documents)
	}
	l := x.xml
	for i := range l.docs {
		d := &l.docs[i]
		if d.epoch == x.epoch && len(d.in) == len(s) && unsafe.StringData(d.in) == unsafe.StringData(s) {
			if d.bad {
				return nil
			}
			l.last = i
			return &d.doc
		}
	}
	l.last = (l.last + 1) % len(l.docs)
	d := &l.docs[l.last]
	d.epoch, d.in = x.epoch, s
	d.bad = d.doc.Parse(s) != nil
	if d.bad {
		return nil
	}
	return &d.doc
}

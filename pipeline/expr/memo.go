package expr

import "unsafe"

// memo remembers what a function made of a text, so that the dozens of filters
// that look at Upper(evt.Meta.http_path) compute it once a line.
//
// It is keyed by where the text lies, not by what it says: within one line the
// bytes at an address don't change (a view of the line, a constant, or the
// arena, which only grows), and a field that is set anew lies elsewhere.
type memo struct {
	epoch uint64
	in    string
	out   string
}

// memoised wraps a function of a text that costs more than a comparison.
func (u *unit) memoised(name string, a value, f func(*Ctx, string) string) value {
	in := a.str
	if a.konst {
		return text(func(x *Ctx) string { return f(x, in(x)) })
	}
	if u.memos == nil {
		u.memos = make(map[string]int)
	}
	if a.key == "" {
		return text(func(x *Ctx) string { return f(x, in(x)) })
	}
	key := name + "(" + a.key + ")"
	k, ok := u.memos[key]
	if !ok {
		k = len(u.memos)
		u.memos[key] = k
	}
	v := text(func(x *Ctx) string {
		s := in(x)
		m := &x.memo[k]
		if m.epoch == x.epoch && len(m.in) == len(s) && unsafe.StringData(m.in) == unsafe.StringData(s) {
			return m.out
		}
		out := f(x, s)
		*m = memo{epoch: x.epoch, in: s, out: out}
		return out
	})
	v.key = key
	return v
}

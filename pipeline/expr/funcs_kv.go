package expr

import "strings"

func kvFuncs() map[string]*function {
	return map[string]*function{
		"ParseKV":    pairsFunc(parseKV),
		"ParseKVLax": pairsFunc(parseKVLax),
	}
}

// pairsFunc makes a function that leaves the pairs of a text as a document.
func pairsFunc(parse func(text string, pair func(key, val string))) *function {
	return &function{params: []param{aString, anything, aString}, risky: true, varying: true, build: func(u *unit, a []value) value {
		f := a[0].str
		put, get, ok := u.document(a[1], a[2])
		if !ok {
			return refuse("the second argument must be evt.Unmarshaled, this is %s", a[1].typ)
		}
		return dynamic(typ{kind: nilKind}, func(x *Ctx) any {
			s := f(x)
			if x.failed() {
				return nil
			}
			var m map[string]string
			switch old := get(x).(type) {
			case nil:
			case map[string]string:
				m = old
			default:
				x.fail("cannot add pairs to %s", typeName(old))
				return nil
			}
			found := false
			parse(s, func(key, val string) {
				if m == nil {
					m = make(map[string]string)
				}
				m[key] = val
				found = true
			})
			if !found {
				x.fail("there is no key=value pair")
				return nil
			}
			put(x, m)
			return nil
		})
	}}
}

func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' && c != '\v' }

// parseKV finds all key=value pairs: a key has neither = nor blanks; a value is
// a text in double quotes (whose escapes are kept), or has neither = nor
// blanks, or is empty.
func parseKV(s string, pair func(key, val string)) {
	start := 0 // of what may still be a key
	for i := 0; i < len(s); i++ {
		switch {
		case isBlank(s[i]):
			start = i + 1
			continue
		case s[i] != '=':
			continue
		case start == i:
			start = i + 1
			continue
		}
		key := s[start:i]
		i++
		end := i
		val := ""
		if n, ok := quoted(s[i:]); ok {
			val, end = s[i+1:i+n-1], i+n
		} else {
			for end < len(s) && s[end] != '=' && !isBlank(s[end]) {
				end++
			}
			val = s[i:end]
		}
		pair(key, val)
		start, i = end, end-1
	}
}

// quoted returns the length of the quoted text that s begins with. A backslash
// takes the next character with it, which can't be the end of a line.
func quoted(s string) (int, bool) {
	if s == "" || s[0] != '"' {
		return 0, false
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return i + 1, true
		case '\\':
			if i++; i < len(s) && s[i] == '\n' {
				return 0, false
			}
		}
	}
	return 0, false
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }

func isKeyByte(c byte) bool { return isLetter(c) || c-'0' <= 9 || c == '.' || c == '-' }

// parseKVLax finds pairs whose values may hold blanks: a value ends where the
// next key begins. A key is not looked for inside double quotes.
func parseKVLax(s string, pair func(key, val string)) {
	key, from := "", -1 // the pair that is still open
	inside := false     // an odd number of quotes so far
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i += 2
		case c == '"':
			inside = !inside
			i++
		case isLetter(c):
			end := i + 1
			for end < len(s) && isKeyByte(s[end]) {
				end++
			}
			if end < len(s) && s[end] == '=' && !inside {
				if from >= 0 {
					pair(key, laxValue(s[from:i]))
				}
				key, from = s[i:end], end+1
				end++
			}
			i = end
		default:
			i++
		}
	}
	if from >= 0 {
		pair(key, laxValue(s[from:]))
	}
}

var (
	unbackslash = strings.NewReplacer(`\\`, `\`)
	unquote     = strings.NewReplacer(`\"`, `"`)
)

// laxValue trims a value and takes its quotes away.
func laxValue(v string) string {
	v = strings.TrimSpace(v)
	switch {
	case len(v) > 1 && v[0] == '"' && v[len(v)-1] == '"':
		v = v[1 : len(v)-1]
		if strings.IndexByte(v, '\\') >= 0 {
			v = unquote.Replace(unbackslash.Replace(v))
		}
	case v != "" && v[0] == '"':
		v = v[1:]
	}
	return v
}

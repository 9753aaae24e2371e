package expr

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// findJSON walks a JSON text along a path of keys and "[n]" indexes and
// returns the text of the value there, the quotes of a string included. It
// looks at no more of the text than it needs, allocates nothing and does not
// check what it skips, nor a value but for how it begins.
func findJSON(s string, path []string) (raw string, ok bool) {
	i := blanks(s, 0)
	for _, key := range path {
		if i >= len(s) {
			return "", false
		}
		switch {
		case s[i] == '{':
			i, ok = findKey(s, i+1, key)
		case s[i] == '[' && len(key) > 2 && key[0] == '[' && key[len(key)-1] == ']':
			n, err := strconv.ParseUint(key[1:len(key)-1], 10, 31)
			if err != nil {
				return "", false
			}
			i, ok = findElement(s, i+1, int(n))
		default:
			return "", false
		}
		if !ok {
			return "", false
		}
	}
	end, ok := skipValue(s, i)
	if !ok || end == i {
		return "", false
	}
	raw = s[i:end]
	switch c := raw[0]; {
	case c == '"', c == '{', c == '[', c == '-', c-'0' <= 9:
	default:
		ok = raw == "true" || raw == "false" || raw == "null"
	}
	return raw, ok
}

// findKey returns where the value of a key begins; i is behind the brace.
func findKey(s string, i int, key string) (int, bool) {
	for {
		i = blanks(s, i)
		if i >= len(s) || s[i] != '"' {
			return 0, false
		}
		end, ok := skipString(s, i)
		if !ok {
			return 0, false
		}
		name := s[i+1 : end-1]
		i = blanks(s, end)
		if i >= len(s) || s[i] != ':' {
			return 0, false
		}
		i = blanks(s, i+1)
		if sameKey(name, key) {
			return i, true
		}
		if i, ok = skipValue(s, i); !ok {
			return 0, false
		}
		i = blanks(s, i)
		if i >= len(s) || s[i] != ',' {
			return 0, false
		}
		i++
	}
}

func sameKey(name, key string) bool {
	if strings.IndexByte(name, '\\') < 0 {
		return name == key
	}
	b, ok := appendUnescaped(nil, name)
	return ok && string(b) == key
}

// findElement returns where an element begins; i is behind the bracket.
func findElement(s string, i, n int) (int, bool) {
	for {
		i = blanks(s, i)
		if i >= len(s) || s[i] == ']' {
			return 0, false
		}
		if n == 0 {
			return i, true
		}
		n--
		var ok bool
		if i, ok = skipValue(s, i); !ok {
			return 0, false
		}
		i = blanks(s, i)
		if i >= len(s) || s[i] != ',' {
			return 0, false
		}
		i++
	}
}

func blanks(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the end of the string that begins at i.
func skipString(s string, i int) (int, bool) {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1, true
		}
	}
	return 0, false
}

// skipValue returns the end of the value that begins at i.
func skipValue(s string, i int) (int, bool) {
	depth := 0
	for i < len(s) {
		switch s[i] {
		case '"':
			end, ok := skipString(s, i)
			if !ok {
				return 0, false
			}
			i = end
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			if depth == 0 {
				return i, true // the end of what surrounds the value
			}
			depth--
			i++
		default:
			if depth > 0 {
				i++
				continue
			}
			for i < len(s) && !strings.ContainsRune(",]} \t\r\n", rune(s[i])) {
				i++
			}
		}
		if depth == 0 {
			return i, true
		}
	}
	return 0, false
}

// appendUnescaped appends the text that the inside of a JSON string stands
// for; ok is false for a bad escape.
func appendUnescaped(b []byte, s string) (_ []byte, ok bool) {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		if i++; i >= len(s) {
			return b, false
		}
		switch s[i] {
		case '"', '\\', '/':
			b = append(b, s[i])
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, ok := hexRune(s, i+1)
			if !ok {
				return b, false
			}
			i += 4
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if i+2 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
					low, ok = hexRune(s, i+3)
				}
				if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
					i += 6
				}
			}
			b = utf8.AppendRune(b, r)
		default:
			return b, false
		}
	}
	return b, true
}

// hexRune reads the four hex digits at i.
func hexRune(s string, i int) (rune, bool) {
	if i+4 > len(s) {
		return 0, false
	}
	n := rune(0)
	for _, c := range []byte(s[i : i+4]) {
		if !isHex(c) {
			return 0, false
		}
		n = n<<4 | rune(unhex(c))
	}
	return n, true
}

// jsonPath splits the path of JsonExtract: dots separate keys, [n] selects an
// element. A path that begins with a bracket must write the dots itself.
func jsonPath(into []string, path string) []string {
	if strings.HasPrefix(path, "[") {
		for key := range strings.SplitSeq(path, ".") {
			into = append(into, key)
		}
		return into
	}
	start := 0
	for i := range len(path) {
		switch path[i] {
		case '.':
			into = append(into, path[start:i])
			start = i + 1
		case '[':
			into = append(into, path[start:i])
			start = i
		}
	}
	return append(into, path[start:])
}

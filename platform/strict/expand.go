package strict

import "bytes"

// Expand replaces $NAME and ${NAME} where env knows the variable. Every other
// dollar stays: passwords hold some.
func Expand(text []byte, env func(string) (string, bool)) []byte {
	if bytes.IndexByte(text, '$') < 0 {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		if text[i] == '$' {
			if name, end := variable(text, i+1); name != "" {
				if value, ok := env(name); ok {
					out = append(out, value...)
					i = end
					continue
				}
			}
		}
		out = append(out, text[i])
		i++
	}
	return out
}

// variable reads NAME or {NAME} at i and returns the name and what is behind it.
func variable(text []byte, i int) (name string, end int) {
	braces := i < len(text) && text[i] == '{'
	if braces {
		i++
	}
	end = i
	for end < len(text) && (isNameByte(text[end]) || end > i && text[end]-'0' < 10) {
		end++
	}
	name = string(text[i:end])
	if braces {
		if end == len(text) || text[end] != '}' {
			return "", i
		}
		end++
	}
	return name, end
}

func isNameByte(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }

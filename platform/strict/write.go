package strict

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Append writes v, a struct with yaml tags, a list of such, or a scalar, as a
// YAML document. It writes what the YAML library's marshaller would, without
// that one's weight, and quotes every text that some reader could take for
// something else.
func Append(dst []byte, v any) []byte {
	return appendValue(dst, reflect.ValueOf(v), "")
}

// appendValue writes a value whose first line continues the current one.
func appendValue(dst []byte, v reflect.Value, indent string) []byte {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if i > 0 {
				dst = append(dst, indent...)
			}
			key := v.Type().Field(i).Tag.Get("yaml")
			if key == "" {
				key = strings.ToLower(v.Type().Field(i).Name)
			}
			dst = append(append(dst, key...), ':')
			f := v.Field(i)
			switch {
			case f.Kind() == reflect.Struct:
				dst = append(append(append(dst, '\n'), indent...), "  "...)
				dst = appendValue(dst, f, indent+"  ")
			case f.Kind() == reflect.Slice && f.Len() > 0:
				dst = append(append(dst, '\n'), indent...)
				dst = appendValue(dst, f, indent)
			default:
				dst = appendValue(append(dst, ' '), f, indent)
			}
		}
		return dst
	case reflect.Slice:
		if v.Len() == 0 {
			return append(dst, "[]\n"...)
		}
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, indent...)
			}
			dst = appendValue(append(dst, "- "...), v.Index(i), indent+"  ")
		}
		return dst
	case reflect.String:
		dst = append(dst, Scalar(v.String())...)
	case reflect.Bool:
		dst = strconv.AppendBool(dst, v.Bool())
	case reflect.Int, reflect.Int32, reflect.Int64:
		dst = strconv.AppendInt(dst, v.Int(), 10)
	case reflect.Float32, reflect.Float64:
		dst = strconv.AppendFloat(dst, v.Float(), 'g', -1, v.Type().Bits())
	default:
		panic(fmt.Sprintf("BUG: no YAML for %s", v.Type()))
	}
	return append(dst, '\n')
}

// Scalar returns the YAML of a text, quoted as JSON does, unless it surely is
// a text without.
func Scalar(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "y", "n", "null":
	default:
		if surelyText(s) {
			return s
		}
	}
	text, _ := json.Marshal(s) // a string: it can't fail
	return string(text)
}

// surelyText tells whether every reader of YAML takes the value for the text
// it is: a word or a path of plain characters, or a URL.
func surelyText(s string) bool {
	url := strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
	if s == "" || !url && !isLetter(s[0]) && s[0] != '/' || s[len(s)-1] == ':' {
		return false
	}
	for _, c := range []byte(s) {
		plain := isLetter(c) || c-'0' < 10 || strings.IndexByte("._/@-", c) >= 0
		if !plain && !(url && c > ' ' && c < 0x7f && strings.IndexByte("\"'#", c) < 0) {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

package strict

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cs/platform/order"
)

// Append writes v, a struct with yaml tags, a list, a map with text keys, or a
// scalar, as a YAML document. It writes what the YAML library's marshaller would,
// without that one's weight, and quotes every text that some reader could take
// for something else. Maps are sorted by their keys, a field with the option
// omitempty is left out when it is zero or empty, and text that is not UTF-8 is
// written as !!binary.
func Append(dst []byte, v any) []byte {
	return appendValue(dst, reflect.ValueOf(v), "", "")
}

// AppendIndented is Append with lists that stand further to the right than
// their key.
func AppendIndented(dst []byte, v any) []byte {
	return appendValue(dst, reflect.ValueOf(v), "", "  ")
}

// appendValue writes a value whose first line continues the current one.
func appendValue(dst []byte, v reflect.Value, indent, list string) []byte {
	v = concrete(v)
	switch v.Kind() {
	case reflect.Invalid:
		dst = append(dst, "null"...)
	case reflect.Struct:
		if t, ok := v.Interface().(time.Time); ok {
			dst = t.AppendFormat(dst, time.RFC3339Nano)
			break
		}
		first := true
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if key == "" {
				key = strings.ToLower(f.Name)
			}
			if options == "omitempty" && isEmpty(v.Field(i)) {
				continue
			}
			if !first {
				dst = append(dst, indent...)
			}
			first = false
			dst = appendPair(dst, key, v.Field(i), indent, list)
		}
		if !first {
			return dst
		}
		dst = append(dst, "{}"...)
	case reflect.Map:
		if v.Len() == 0 {
			dst = append(dst, "{}"...)
			break
		}
		keys := v.MapKeys()
		order.Sort(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for i, k := range keys {
			if i > 0 {
				dst = append(dst, indent...)
			}
			dst = appendPair(dst, Scalar(k.String()), v.MapIndex(k), indent, list)
		}
		return dst
	case reflect.Slice:
		if v.Len() == 0 {
			dst = append(dst, "[]"...)
			break
		}
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, indent...)
			}
			dst = appendValue(append(dst, "- "...), v.Index(i), indent+"  ", list)
		}
		return dst
	case reflect.String:
		if s := v.String(); utf8.ValidString(s) {
			dst = append(dst, Scalar(s)...)
		} else {
			dst = base64.StdEncoding.AppendEncode(append(dst, "!!binary "...), []byte(s))
		}
	case reflect.Bool:
		dst = strconv.AppendBool(dst, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		dst = strconv.AppendInt(dst, v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		dst = strconv.AppendUint(dst, v.Uint(), 10)
	case reflect.Float32, reflect.Float64:
		dst = appendFloat(dst, v.Float(), v.Type().Bits())
	default:
		panic(fmt.Sprintf("BUG: no YAML for %s", v.Type()))
	}
	return append(dst, '\n')
}

// appendPair writes a key and its value, which goes below the key if it has
// several lines.
func appendPair(dst []byte, key string, v reflect.Value, indent, list string) []byte {
	dst = append(append(dst, key...), ':')
	v = concrete(v)
	switch {
	case v.Kind() == reflect.Slice && v.Len() > 0:
		indent += list
		dst = append(append(dst, '\n'), indent...)
		return appendValue(dst, v, indent, list)
	case v.Kind() == reflect.Map && v.Len() > 0, v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		indent += "  "
		dst = append(append(dst, '\n'), indent...)
		return appendValue(dst, v, indent, list)
	}
	return appendValue(append(dst, ' '), v, indent, list)
}

// concrete returns what a pointer or an interface holds, the zero Value for nil.
func concrete(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	return v
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return v.IsZero()
}

func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, ".nan"...)
	case math.IsInf(f, 1):
		return append(dst, ".inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-.inf"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, bits)
}

// Scalar returns the YAML of a text, quoted as JSON does unless it surely is
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
	return escapeUnprintable(string(text))
}

// escapeUnprintable escapes the characters that JSON lets through and readers of
// YAML refuse.
func escapeUnprintable(quoted string) string {
	unprintable := func(r rune) bool {
		return r >= 0x7f && r < 0xa0 || r >= 0xfdd0 && r < 0xfdf0 || r == 0xfeff || r&0xfffe == 0xfffe
	}
	if strings.IndexFunc(quoted, unprintable) < 0 {
		return quoted
	}
	var b strings.Builder
	for _, r := range quoted {
		switch {
		case !unprintable(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// surelyText tells whether every reader of YAML takes the value for the text
// it is: words or a path of plain characters, or a URL.
func surelyText(s string) bool {
	url := strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
	if s == "" || !url && !isLetter(s[0]) && s[0] != '/' || s[len(s)-1] == ':' || s[len(s)-1] == ' ' {
		return false
	}
	for _, c := range []byte(s) {
		plain := isLetter(c) || c-'0' < 10 || strings.IndexByte("._/@- ,()+", c) >= 0
		if !plain && !(url && c > ' ' && c < 0x7f && strings.IndexByte("\"'#", c) < 0) {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

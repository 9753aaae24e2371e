//go:build !edge

package notify

import (
	"encoding/json"
	"fmt"
	"html"
	"os"
	"slices"
	"strings"
	"text/template"
	"time"
)

// maxText bounds a message.
const maxText = 4 << 20

type templated struct{ t *template.Template }

func (t templated) format(alerts []Alert) (string, error) {
	var b bounded
	err := t.t.Execute(&b, alerts)
	return b.String(), err
}

// bounded is a text that doesn't get longer than maxText.
type bounded struct{ strings.Builder }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxText {
		return 0, fmt.Errorf("the text has more than %d bytes", maxText)
	}
	return b.Builder.Write(p)
}

func parseTemplate(text string) (formatter, error) {
	t, err := template.New("format").Funcs(functions).Parse(text)
	if err != nil {
		return nil, err
	}
	return templated{t}, nil
}

// functions are upstream's own, and of those of sprig that turn up in
// notifications. Their arguments stand in sprig's order: the text comes last.
var functions = template.FuncMap{
	"GetMeta":    getMeta,
	"HTMLEscape": html.EscapeString,
	"Hostname":   os.Hostname,

	"toJson":       toJSON,
	"toPrettyJson": func(v any) (string, error) { b, err := json.MarshalIndent(v, "", "  "); return string(b), err },
	"env":          os.Getenv,
	"now":          time.Now,
	"date":         func(layout string, t time.Time) string { return t.Format(layout) },
	"upper":        strings.ToUpper,
	"lower":        strings.ToLower,
	"title":        title,
	"trim":         strings.TrimSpace,
	"trimAll":      func(set, s string) string { return strings.Trim(s, set) },
	"trimPrefix":   func(prefix, s string) string { return strings.TrimPrefix(s, prefix) },
	"trimSuffix":   func(suffix, s string) string { return strings.TrimSuffix(s, suffix) },
	"replace":      func(old, with, s string) string { return strings.ReplaceAll(s, old, with) },
	"contains":     func(part, s string) bool { return strings.Contains(s, part) },
	"hasPrefix":    func(prefix, s string) bool { return strings.HasPrefix(s, prefix) },
	"hasSuffix":    func(suffix, s string) bool { return strings.HasSuffix(s, suffix) },
	"join":         func(sep string, list []string) string { return strings.Join(list, sep) },
	"splitList":    func(sep, s string) []string { return strings.Split(s, sep) },
	"trunc":        trunc,
	"quote":        func(v any) string { return fmt.Sprintf("%q", fmt.Sprint(v)) },
	"squote":       func(v any) string { return "'" + fmt.Sprint(v) + "'" },
	"indent": func(n int, s string) string {
		pad := strings.Repeat(" ", min(max(n, 0), 1000))
		return pad + strings.ReplaceAll(s, "\n", "\n"+pad)
	},
	"default": func(otherwise, v any) any { return pick(v, otherwise) },
	"empty":   func(v any) bool { truth, _ := template.IsTrue(v); return !truth },
	"ternary": func(yes, no any, which bool) any {
		if which {
			return yes
		}
		return no
	},
	"list": func(v ...any) []any { return v },
	"uniq": func(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) },
	"add":  func(a, b int) int { return a + b },
	"add1": func(a int) int { return a + 1 },
	"sub":  func(a, b int) int { return a - b },
	"mul":  func(a, b int) int { return a * b },
	"int":  func(v any) (n int, err error) { _, err = fmt.Sscan(fmt.Sprint(v), &n); return n, err },
}

// getMeta returns the values of a key in the events of an alert, repeats included.
func getMeta(a Alert, key string) (values []string) {
	for _, e := range a.Events {
		for _, m := range e.Meta {
			if m.Key == key {
				values = append(values, m.Value)
			}
		}
	}
	return values
}

func title(s string) string {
	words := strings.Fields(s)
	for i, w := range words {
		r := []rune(w)
		words[i] = strings.ToUpper(string(r[:1])) + string(r[1:])
	}
	return strings.Join(words, " ")
}

// trunc keeps the first n bytes of a text, or the last if n is below zero.
func trunc(n int, s string) string {
	switch {
	case n >= 0 && n < len(s):
		return strings.ToValidUTF8(s[:n], "")
	case n < 0 && -n < len(s):
		return strings.ToValidUTF8(s[len(s)+n:], "")
	}
	return s
}

func pick(v, otherwise any) any {
	if truth, _ := template.IsTrue(v); truth {
		return v
	}
	return otherwise
}

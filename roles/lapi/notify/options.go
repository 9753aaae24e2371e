package notify

import (
	"fmt"
	"time"

	"cs/platform/strict"
	"cs/roles/api"
)

// options reads the keys of a document and collects what is wrong with them.
type options struct {
	keys    map[string]any
	scalars map[string]strict.Text // the text of those that have one; may be nil
	env     func(string) (string, bool)
	errs    []error
}

func (o *options) fail(key, format string, args ...any) {
	o.errs = append(o.errs, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
}

// literal returns a text as it stands there.
func (o *options) literal(key string) string {
	switch v := o.keys[key].(type) {
	case nil:
		return ""
	case map[string]any, []any:
		o.fail(key, "want a text")
		return ""
	case string:
		return v
	default:
		if t, ok := o.scalars[key]; ok {
			return t.Value
		}
		return fmt.Sprint(v)
	}
}

// text returns a text with the variables of the environment in it. One that is
// not set stays as it is.
func (o *options) text(key string) string { return o.expanded(o.literal(key)) }

func (o *options) expanded(s string) string {
	if o.env == nil {
		return s
	}
	return string(strict.Expand([]byte(s), o.env))
}

// required returns a text that must be there.
func (o *options) required(key string) string {
	v := o.text(key)
	if v == "" {
		o.fail(key, "it is required")
	}
	return v
}

func (o *options) texts(key string) (out []string) {
	list, ok := o.keys[key].([]any)
	if !ok && o.keys[key] != nil {
		o.fail(key, "want a list")
	}
	for _, v := range list {
		out = append(out, o.expanded(fmt.Sprint(v)))
	}
	return out
}

func (o *options) table(key string) map[string]string {
	table, ok := o.keys[key].(map[string]any)
	if !ok && o.keys[key] != nil {
		o.fail(key, "want a table of texts")
	}
	out := make(map[string]string)
	for k, v := range table {
		out[k] = o.expanded(fmt.Sprint(v))
	}
	return out
}

func (o *options) bool(key string) bool {
	switch v := o.keys[key].(type) {
	case nil:
	case bool:
		return v
	default:
		o.fail(key, "want true or false")
	}
	return false
}

func (o *options) number(key string, otherwise int) int {
	switch v := o.keys[key].(type) {
	case nil:
		return otherwise
	case int:
		return v
	}
	o.fail(key, "want a whole number")
	return otherwise
}

func (o *options) duration(key string, otherwise time.Duration) time.Duration {
	v := o.literal(key)
	if v == "" || v == "0" {
		return otherwise
	}
	d, err := api.ParseDuration(v)
	if err != nil {
		o.fail(key, "%w", err)
	}
	return d
}

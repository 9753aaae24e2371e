// Package flagset fills the structs that describe commands without the kong
// library, which keeps every exported method of the program alive and so
// costs the smallest build a third of its size. It understands what our
// structs use of kong's tags: name, short, env, sep, help, placeholder and
// embedded structs; fields are string, bool, int and []string.
package flagset

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// ErrHelp means that help was asked for.
var ErrHelp = errors.New("help wanted")

// Set is the flags of one command.
type Set struct{ flags []flag }

type flag struct {
	name, short, env, sep, help, placeholder string
	value                                    reflect.Value
}

// New returns the flags that the given pointers to structs describe.
func New(structs ...any) *Set {
	s := &Set{}
	for _, p := range structs {
		s.add(reflect.ValueOf(p).Elem())
	}
	return s
}

func (s *Set) add(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			s.add(v.Field(i))
			continue
		}
		name := f.Tag.Get("name")
		if name == "" {
			name = dashed(f.Name)
		}
		placeholder := f.Tag.Get("placeholder")
		if placeholder == "" {
			placeholder = "VALUE"
		}
		switch v.Field(i).Interface().(type) {
		case string, bool, int, []string:
		default:
			panic(fmt.Sprintf("BUG: flag --%s has type %s", name, f.Type))
		}
		s.flags = append(s.flags, flag{name, f.Tag.Get("short"), f.Tag.Get("env"), f.Tag.Get("sep"), f.Tag.Get("help"), placeholder, v.Field(i)})
	}
}

// dashed turns OnStop into on-stop.
func dashed(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// Parse fills the structs from the command line and, for what it leaves out,
// from the environment. ErrHelp is returned for -h and --help.
func (s *Set) Parse(args []string, lookup func(string) (string, bool)) error {
	given := map[string]bool{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "-h" || arg == "--help" {
			return ErrHelp
		}
		name, value, hasValue := strings.Cut(arg, "=")
		f := s.find(name)
		switch {
		case f == nil && strings.HasPrefix(arg, "-"):
			return fmt.Errorf("unknown flag: %s", name)
		case f == nil:
			return fmt.Errorf("unexpected argument %q", arg)
		case !hasValue && f.value.Kind() == reflect.Bool:
			value = "true"
		case !hasValue && len(args) == 0:
			return fmt.Errorf("flag needs an argument: %s", name)
		case !hasValue:
			value, args = args[0], args[1:]
		}
		if err := f.set(value); err != nil {
			return fmt.Errorf("invalid argument %q for %s: %w", value, name, err)
		}
		given[f.name] = true
	}
	for i := range s.flags {
		f := &s.flags[i]
		value, ok := lookup(f.env)
		if f.env == "" || given[f.name] || !ok {
			continue
		}
		if err := f.set(value); err != nil {
			return fmt.Errorf("invalid value %q of $%s: %w", value, f.env, err)
		}
	}
	return nil
}

func (s *Set) find(arg string) *flag {
	for i := range s.flags {
		if f := &s.flags[i]; arg == "--"+f.name || f.short != "" && arg == "-"+f.short {
			return f
		}
	}
	return nil
}

func (f *flag) set(text string) error {
	switch p := f.value.Addr().Interface().(type) {
	case *string:
		*p = text
	case *bool:
		b, err := strconv.ParseBool(text)
		*p = b
		return err
	case *int:
		n, err := strconv.Atoi(text)
		*p = n
		return err
	case *[]string:
		if f.sep == "" {
			*p = append(*p, text)
		} else {
			*p = append(*p, strings.Split(text, f.sep)...)
		}
	}
	return nil
}

// Usage prints a line or two for each flag.
func (s *Set) Usage(w io.Writer) error {
	var b strings.Builder
	for _, f := range s.flags {
		b.WriteString("  ")
		if f.short != "" {
			b.WriteString("-" + f.short + ", ")
		}
		b.WriteString("--" + f.name)
		if f.value.Kind() != reflect.Bool {
			b.WriteString("=" + f.placeholder)
		}
		b.WriteString("\n        " + f.help)
		if f.env != "" {
			b.WriteString(" ($" + f.env + ")")
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

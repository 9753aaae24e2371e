// Package flagset reads a command line into the structs that describe the
// commands, where the kong library can't be afforded: kong looks methods up by
// their names, so that the linker must keep every exported method of the
// program. It understands what our structs use of kong's tags:
//
//	cmd            a command (a struct; its fields are flags, arguments and commands)
//	arg, optional  an argument, required unless said otherwise; a []string takes all that follow
//	embed          the fields of a struct as if they stood here (also: embedded structs)
//	name, aliases  other names than the field's, a list with commas
//	short          one letter
//	env            variable that is read when the flag is not given
//	default        value of a flag that neither is given; default:"withargs" makes a
//	               command the one that is meant by its parent's name alone
//	required       the flag must be given, or its variable set
//	type           "path" makes a value absolute, with "~/" at home; "-" stays
//	sep            what separates the values of a []string: "," by default, or none
//	help, placeholder, group, hidden  for Usage
//	kong:"-"       nothing to fill
//
// Fields are string, bool, int, int64, []string, or have an UnmarshalText. The
// command line is the one that operators know from cscli: flags stand anywhere,
// take any value ("-l -1"), and errors have the words that scripts match on.
//
// The small builds call it (see the execute functions of package main). It runs
// nothing: the caller finds the filled struct in Command.Target.
package flagset

import (
	"encoding"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// A Command is what the command line can call: the program or one of its
// commands.
type Command struct {
	// Name is the first of the words that call it.
	Name string
	// Target points to the struct that describes the command and that Parse
	// fills. It is nil for the program itself.
	Target any

	parent      *Command
	aliases     []string
	help, group string
	hidden      bool
	flags       []*field
	args        []*field
	children    []*Command
	fallback    *Command // meant by our name alone

	unread reflect.Value // the struct, until the command is called: most of them never are
}

// A field is a flag or an argument, and where its value goes.
type field struct {
	name                                       string
	aliases                                    []string
	short, env, sep, help, placeholder, preset string
	path, hidden, required                     bool
	value                                      reflect.Value
}

// New returns the program called name, which does what help says, with the
// flags, arguments and commands that the given pointers to structs describe. It
// panics if they describe nothing that this package understands, and Parse and
// Complete do if what is wrong is in the commands.
func New(name, help string, structs ...any) *Command {
	c := &Command{Name: name, help: help}
	c.flags = []*field{{name: "help", short: "h", help: "Show context-sensitive help.", value: reflect.ValueOf(new(bool)).Elem()}}
	for _, p := range structs {
		c.add(reflect.ValueOf(p).Elem())
	}
	return c
}

func (c *Command) add(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case f.Anonymous || has(f.Tag, "embed"):
			c.add(v.Field(i))
		case !f.IsExported() || f.Tag.Get("kong") == "-":
		case has(f.Tag, "cmd"):
			c.addCommand(f, v.Field(i))
		case has(f.Tag, "arg"):
			a := newField(f, v.Field(i), !has(f.Tag, "optional"))
			a.sep = "" // each word is one
			c.args = append(c.args, a)
		default:
			c.flags = append(c.flags, newField(f, v.Field(i), has(f.Tag, "required")))
		}
	}
}

func (c *Command) addCommand(f reflect.StructField, v reflect.Value) {
	child := &Command{
		Name: nameOf(f), Target: v.Addr().Interface(), parent: c,
		aliases: split(f.Tag.Get("aliases"), ","),
		help:    f.Tag.Get("help"), group: f.Tag.Get("group"), hidden: has(f.Tag, "hidden"),
		unread: v,
	}
	c.children = append(c.children, child)
	if f.Tag.Get("default") == "withargs" {
		c.fallback = child.read()
	}
}

// read learns what the command's struct describes.
func (c *Command) read() *Command {
	if v := c.unread; v.IsValid() {
		c.unread = reflect.Value{}
		c.add(v)
	}
	return c
}

func newField(f reflect.StructField, v reflect.Value, required bool) *field {
	n := &field{
		name: nameOf(f), aliases: split(f.Tag.Get("aliases"), ","),
		short: f.Tag.Get("short"), env: f.Tag.Get("env"), sep: f.Tag.Get("sep"), help: f.Tag.Get("help"),
		placeholder: f.Tag.Get("placeholder"), preset: f.Tag.Get("default"),
		path: f.Tag.Get("type") == "path", hidden: has(f.Tag, "hidden"), required: required, value: v,
	}
	switch v.Addr().Interface().(type) {
	case encoding.TextUnmarshaler, *string, *bool, *int, *int64, *[]string:
	default:
		panic(fmt.Sprintf("BUG: %s has type %s", n.name, f.Type))
	}
	switch n.sep {
	case "":
		n.sep = ","
	case "none":
		n.sep = ""
	}
	return n
}

func has(tag reflect.StructTag, key string) bool {
	_, ok := tag.Lookup(key)
	return ok
}

func nameOf(f reflect.StructField) string {
	if name := f.Tag.Get("name"); name != "" {
		return name
	}
	return dashed(f.Name)
}

// dashed turns OnStop into on-stop and APIKey into api-key.
func dashed(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) &&
			(unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// split is strings.Split, but nothing holds no elements; without a separator
// there is always one.
func split(text, sep string) []string {
	switch {
	case sep == "":
		return []string{text}
	case text == "":
		return nil
	}
	return strings.Split(text, sep)
}

// isBool tells whether a flag needs no value.
func (f *field) isBool() bool {
	_, ok := f.value.Addr().Interface().(*bool)
	return ok
}

// isList tells whether there can be several values.
func (f *field) isList() bool {
	_, ok := f.value.Addr().Interface().(*[]string)
	return ok
}

// set gives the field a value; again says that it has got one before.
func (f *field) set(text string, again bool) (err error) {
	switch p := f.value.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(text))
	case *string:
		if f.path {
			text = absolute(text)
		}
		*p = text
	case *bool:
		*p, err = strconv.ParseBool(text)
	case *int:
		var n int64
		n, err = strconv.ParseInt(text, 10, strconv.IntSize)
		*p = int(n)
	case *int64:
		*p, err = strconv.ParseInt(text, 10, 64)
	case *[]string:
		if !again {
			*p = nil
		}
		*p = append(*p, split(text, f.sep)...)
	}
	return err
}

// absolute returns the absolute form of a path, but for nothing and "-".
func absolute(path string) string {
	if path == "" || path == "-" {
		return path
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path // without a working directory
}

// Path returns the words that call the command, without the program's: ""
// for the program, "decisions add". The one that is meant by its parent's name
// has that name.
func (c *Command) Path() string {
	switch {
	case c.parent == nil:
		return ""
	case c.parent.fallback == c:
		return c.parent.Path()
	}
	return strings.TrimSpace(c.parent.Path() + " " + c.Name)
}

// line is Path after the name of the program.
func (c *Command) line() string {
	root := c
	for root.parent != nil {
		root = root.parent
	}
	return strings.TrimSpace(root.Name + " " + c.Path())
}

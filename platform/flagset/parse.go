package flagset

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

var (
	// ErrHelp means that help was asked for.
	ErrHelp = errors.New("help wanted")
	// ErrNoCommand means that the command only groups others, none of which is
	// named.
	ErrNoCommand = errors.New("a command is missing")
)

// An option is a flag as given.
type option struct {
	*field
	value    string
	hasValue bool
}

// Parse fills the structs from the command line and, for what it leaves out,
// from the environment and the defaults. It returns the command that is
// called; with an error, the one as far as it is known, to show the Usage of.
func (c *Command) Parse(args []string, lookup func(string) (string, bool)) (*Command, error) {
	// Flags may stand before the word of the command that they belong to: first
	// find the command.
	type dashes struct {
		word, next string // with a dash, and the word after it if that is its value
		hasNext    bool
	}
	var flags []dashes
	var words []string
	help := false
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			words = append(words, args...)
			args = nil
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			if p := c.parent; p != nil && p.fallback == c && len(c.args) == 0 && p.child(arg) != nil {
				c = p // flags before it made it look like the one that is meant by its parent's name
			}
			if len(c.children) == 0 {
				words = append(words, arg)
				continue
			}
			child := c.child(arg)
			if child == nil {
				return c, c.unknown(arg)
			}
			c = child
		default:
			options, err := c.options(arg)
			if err != nil && c.fallback != nil {
				if more, err := c.fallback.options(arg); err == nil {
					c, options = c.fallback, more
				}
			}
			d := dashes{word: arg}
			if n := len(options); n > 0 {
				help = help || slices.ContainsFunc(options, func(o option) bool { return o.name == "help" })
				if !options[n-1].hasValue && len(args) > 0 {
					d.next, d.hasNext = args[0], true
					args = args[1:]
				}
			}
			flags = append(flags, d)
		}
	}
	if help {
		return c, ErrHelp
	}
	if len(c.children) > 0 && len(words) > 0 {
		return c, c.unknown(words[0])
	}
	group := c
	if c.fallback != nil {
		c = c.fallback
	}
	if c.parent != nil && c.parent.fallback == c && len(c.args) == 0 && len(words) > 0 {
		return c.parent, c.parent.unknown(words[0])
	}
	given := map[*field]bool{}
	for _, d := range flags {
		options, err := c.options(d.word)
		if err != nil {
			return group, err
		}
		for _, o := range options {
			if !o.hasValue && !d.hasNext {
				return group, fmt.Errorf("flag needs an argument: --%s", o.name)
			} else if !o.hasValue {
				o.value = d.next
			}
			if err := o.set(o.value, given[o.field]); err != nil {
				return group, fmt.Errorf("invalid argument %q for %q flag: %w", o.value, o.title(), err)
			}
			given[o.field] = true
		}
	}
	if len(c.children) > 0 {
		return c, ErrNoCommand
	}
	if err := c.arguments(words); err != nil {
		return group, err
	}
	if err := c.complete(given, lookup); err != nil {
		return group, err
	}
	return c, nil
}

// options reads a word that begins with a dash: "--name", "--name=value",
// "-x", "-x=value", "-xvalue", or letters of several flags of which only the
// last takes a value. That one may lack it: it is the next word then.
func (c *Command) options(word string) (list []option, err error) {
	if strings.HasPrefix(word, "--") {
		name, value, hasValue := strings.Cut(word, "=")
		f := c.find(name)
		switch {
		case f == nil:
			return nil, fmt.Errorf("unknown flag: %s", name)
		case !hasValue && f.isBool():
			value, hasValue = "true", true
		}
		return []option{{f, value, hasValue}}, nil
	}
	for rest := word[1:]; rest != ""; {
		_, size := utf8.DecodeRuneInString(rest)
		letter := rest[:size]
		rest = rest[size:]
		f := c.find("-" + letter)
		value, joined := strings.CutPrefix(rest, "=")
		switch {
		case f == nil:
			return nil, fmt.Errorf("unknown shorthand flag: '%s' in %s", letter, word)
		case f.isBool() && !joined:
			list = append(list, option{f, "true", true})
			continue
		}
		return append(list, option{f, value, joined || value != ""}), nil
	}
	return list, nil
}

// find returns the flag "--name" or "-x" of the command or of those that it
// belongs to, nil if there is none.
func (c *Command) find(word string) *field {
	for ; c != nil; c = c.parent {
		for _, f := range c.flags {
			if word == "--"+f.name || f.short != "" && word == "-"+f.short {
				return f
			}
			for _, a := range f.aliases {
				if word == "--"+a {
					return f
				}
			}
		}
	}
	return nil
}

func (c *Command) child(word string) *Command {
	for _, child := range c.children {
		if child.Name == word || slices.Contains(child.aliases, word) {
			return child.read()
		}
	}
	return nil
}

// title returns a flag as messages name it: "-d, --duration".
func (f *field) title() string {
	if f.short == "" {
		return "--" + f.name
	}
	return "-" + f.short + ", --" + f.name
}

// arguments gives the words to the arguments of the command.
func (c *Command) arguments(words []string) error {
	least, list := 0, false
	for _, a := range c.args {
		list = a.isList()
		if a.required {
			least++
		}
	}
	switch {
	case len(words) < least && list:
		return fmt.Errorf("requires at least %d arg(s), only received %d", least, len(words))
	case len(words) < least, len(words) > len(c.args) && !list:
		return fmt.Errorf("accepts %d arg(s), received %d", len(c.args), len(words))
	}
	for i, word := range words {
		a := c.args[min(i, len(c.args)-1)]
		if err := a.set(word, i >= len(c.args)); err != nil {
			return fmt.Errorf("invalid argument %q for <%s>: %w", word, a.name, err)
		}
	}
	return nil
}

// complete fills the flags that were not given.
func (c *Command) complete(given map[*field]bool, lookup func(string) (string, bool)) error {
	var missing []string
	for ; c != nil; c = c.parent {
		for _, f := range c.flags {
			if given[f] {
				continue
			}
			if f.env != "" {
				if value, ok := lookup(f.env); ok {
					if err := f.set(value, false); err != nil {
						return fmt.Errorf("invalid value %q of $%s: %w", value, f.env, err)
					}
					continue
				}
			}
			switch {
			case f.preset != "":
				if err := f.set(f.preset, false); err != nil {
					return fmt.Errorf("BUG: default of --%s: %w", f.name, err)
				}
			case f.required:
				missing = append(missing, fmt.Sprintf("%q", f.name))
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("required flag(s) %s not set", strings.Join(missing, ", "))
	}
	return nil
}

// unknown says that no command has this name, and which ones are close.
func (c *Command) unknown(word string) error {
	text := fmt.Sprintf("unknown command %q for %q", word, c.line())
	guesses := ""
	for _, child := range c.children {
		if !child.hidden && (strings.HasPrefix(child.Name, word) || distance(child.Name, word) <= 2) {
			guesses += "\n  " + child.Name
		}
	}
	if guesses != "" {
		text += "\n\nDid you mean this?" + guesses
	}
	return errors.New(text)
}

// distance returns how many letters must be changed, added or removed to make
// one word of the other: V. I. Levenshtein, "Binary codes capable of correcting
// deletions, insertions and reversals", 1966.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // distances of what we have seen of a to each start of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

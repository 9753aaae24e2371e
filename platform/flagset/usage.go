package flagset

import (
	"io"
	"strings"
	"unicode/utf8"
)

const (
	width   = 80 // columns of a line
	padding = 4  // columns between the names and what they mean
	// Names with more columns get a line of their own.
	maxName = 30
)

// A row is a name and what it means; the empty row is a line of space.
type row struct{ name, help string }

// Usage prints how the command is called.
func (c *Command) Usage(w io.Writer) error {
	var b strings.Builder
	b.WriteString("Usage: " + c.line() + c.synopsis() + "\n")
	if c.help != "" {
		b.WriteString("\n" + strings.Join(wrap(c.help, width), "\n") + "\n")
	}
	var args []row
	for _, a := range c.args {
		args = append(args, row{a.argument(), a.help})
	}
	write(&b, "Arguments:", args)
	flags := c.flagRows()
	if c.fallback != nil {
		flags = join(flags, c.fallback.ownRows())
	}
	write(&b, "Flags:", flags)
	var groups []string
	members := map[string][]row{}
	for _, child := range c.children {
		if child.hidden {
			continue
		}
		title := child.group
		if title == "" {
			title = "Commands:"
		}
		if members[title] == nil {
			groups = append(groups, title)
		}
		name := child.Name
		if len(child.aliases) > 0 {
			name += " (" + strings.Join(child.aliases, ",") + ")"
		}
		members[title] = append(members[title], row{name, child.help})
	}
	for _, title := range groups {
		write(&b, title, members[title])
	}
	if len(c.children) > 0 {
		b.WriteString("\nRun \"" + c.line() + " <command> --help\" for more information on a command.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// synopsis is what follows the name of the command.
func (c *Command) synopsis() string {
	var b strings.Builder
	for _, f := range c.flags {
		if f.required {
			b.WriteString(" " + f.option())
		}
	}
	for _, a := range c.args {
		b.WriteString(" " + a.argument())
	}
	switch {
	case c.fallback != nil:
		b.WriteString(" [<command>]")
	case len(c.children) > 0:
		b.WriteString(" <command>")
	}
	b.WriteString(" [flags]")
	return b.String()
}

// flagRows lists the flags of the commands that we belong to, and then our own.
func (c *Command) flagRows() []row {
	if c.parent == nil {
		return c.ownRows()
	}
	return join(c.parent.flagRows(), c.ownRows())
}

func (c *Command) ownRows() (rows []row) {
	for _, f := range c.flags {
		if f.hidden {
			continue
		}
		name := f.option()
		if f.short != "" {
			name = "-" + f.short + ", " + name
		} else {
			name = "    " + name
		}
		help := f.help
		if f.env != "" {
			help = strings.TrimSuffix(help, ".") + " ($" + f.env + ")."
		}
		rows = append(rows, row{name, help})
	}
	return rows
}

// join puts a line of space between two lists.
func join(a, b []row) []row {
	if len(a) > 0 && len(b) > 0 {
		a = append(a, row{})
	}
	return append(a, b...)
}

// option is "--flag=PLACEHOLDER".
func (f *field) option() string {
	what := f.placeholder
	switch {
	case f.isBool():
		return "--" + f.name
	case what == "" && f.preset != "":
		what = f.preset
	case what == "":
		what = "VALUE"
	}
	if f.isList() && f.sep != "" {
		what += f.sep + "..."
	}
	return "--" + f.name + "=" + what
}

// argument is "<name>", "<name> ..." or one of them in brackets.
func (f *field) argument() string {
	s := "<" + f.name + ">"
	if f.isList() {
		s += " ..."
	}
	if !f.required {
		s = "[" + s + "]"
	}
	return s
}

// write prints rows in two columns below a title, if there are any.
func write(b *strings.Builder, title string, rows []row) {
	if len(rows) == 0 {
		return
	}
	b.WriteString("\n" + title + "\n")
	column := 0
	for _, r := range rows {
		if n := utf8.RuneCountInString(r.name); n < maxName {
			column = max(column, n)
		}
	}
	column += padding
	for _, r := range rows {
		line := "  " + r.name
		for i, text := range wrap(r.help, width-2-column) {
			if i > 0 || utf8.RuneCountInString(r.name) >= maxName {
				b.WriteString(strings.TrimRight(line, " ") + "\n")
				line = "  "
			}
			line += strings.Repeat(" ", max(0, column+2-utf8.RuneCountInString(line))) + text
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// wrap breaks a text into lines of so many columns; longer words stay whole.
// Nothing is one empty line.
func wrap(text string, columns int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) <= columns:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

package flagset

import (
	"slices"
	"strings"
)

// Candidate is a word that may come next on a command line.
type Candidate struct{ Word, Help string }

// Complete returns what the last of some words may be completed to: commands,
// or flags if it begins with a dash. An argument of the command that the words
// call is for the caller to complete: isArg tells that one is meant. The value
// of a flag is nothing that could be completed.
func (c *Command) Complete(words []string) (called *Command, list []Candidate, isArg bool) {
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	wantsValue, onlyArgs := false, false
	for _, word := range words[:len(words)-1] {
		switch {
		case wantsValue:
			wantsValue = false
		case onlyArgs:
		case word == "--":
			onlyArgs = true
		case len(word) > 1 && word[0] == '-':
			options, err := c.options(word)
			if err != nil && c.fallback != nil {
				options, _ = c.fallback.options(word)
			}
			wantsValue = len(options) > 0 && !options[len(options)-1].hasValue
		default:
			if child := c.child(word); child != nil {
				c = child
			}
		}
	}
	switch {
	case wantsValue:
		return c, nil, false
	case !onlyArgs && strings.HasPrefix(last, "-"):
		return c, c.flagCandidates(last), false
	case !onlyArgs && len(c.children) > 0:
		for _, child := range c.children {
			if !child.hidden && strings.HasPrefix(child.Name, last) {
				list = append(list, Candidate{child.Name, child.help})
			}
		}
		return c, list, false
	}
	return c, nil, true
}

func (c *Command) flagCandidates(prefix string) (list []Candidate) {
	for of := c; of != nil; of = of.parent {
		flags := of.flags
		if of.fallback != nil {
			flags = slices.Concat(flags, of.fallback.flags)
		}
		for _, f := range flags {
			if word := "--" + f.name; !f.hidden && strings.HasPrefix(word, prefix) {
				list = append(list, Candidate{word, f.help})
			}
		}
	}
	return list
}

package pf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"cs/decisions"
	"cs/remediate"
)

// pfctl is where it is on every BSD.
const pfctl = "/sbin/pfctl"

// programTimeout bounds one call.
const programTimeout = 20 * time.Second

// runner calls pfctl and returns all that it printed. What it did is told on
// standard error: "2/3 addresses added."
type runner func(ctx context.Context, stdin []byte, args ...string) (string, error)

func run(ctx context.Context, stdin []byte, args ...string) (string, error) {
	return call(ctx, pfctl, stdin, args...)
}

func call(ctx context.Context, program string, stdin []byte, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, programTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		text := strings.Join(strings.Fields(string(out)), " ")
		return "", refused(fmt.Errorf("cannot run pfctl %s: %w (%s)", strings.Join(args, " "), err, text[:min(len(text), 300)]), text)
	}
	return string(out), nil
}

// refused finds the condition that pfctl's words tell of.
func refused(err error, text string) error {
	switch {
	case strings.Contains(text, "Cannot allocate memory"):
		// Too many table entries, which is a limit of pf.conf and not of memory.
		return fmt.Errorf("%w: %w", remediate.ErrFull, err)
	case strings.Contains(text, "Permission denied"):
		return fmt.Errorf("%w: pf needs root", err)
	}
	return err
}

// ctl is pfctl and the anchor that it works on.
type ctl struct {
	run    runner
	anchor string
}

// in puts the anchor before arguments.
func (c *ctl) in(args ...string) []string {
	if c.anchor == "" {
		return args
	}
	return append([]string{"-a", c.anchor}, args...)
}

// limit returns how many table entries pf takes, 0 if it doesn't say:
//
//	table-entries hard limit   200000
func (c *ctl) limit(ctx context.Context) (int, error) {
	out, err := c.run(ctx, nil, "-s", "memory")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == "table-entries" {
			n, _ := strconv.Atoi(f[len(f)-1]) // "unlimited" is none
			return n, nil
		}
	}
	return 0, nil
}

// counts returns the tables of the anchor and how much is in them:
//
//	-pa-r--	crowdsec-blacklists	crowdsec
//		Addresses:   5
//		Cleared:     Mon Nov 30 10:00:00 2026
//		References:  [ Anchors: 0                  Rules: 1                  ]
func (c *ctl) counts(ctx context.Context) (map[string]int, error) {
	out, err := c.run(ctx, nil, c.in("-v", "-v", "-s", "Tables")...)
	if err != nil {
		if strings.Contains(err.Error(), "Anchor does not exist") || strings.Contains(err.Error(), "Anchor or Ruleset does not exist") {
			return nil, nil
		}
		return nil, err
	}
	return parseTables(out), nil
}

func parseTables(text string) map[string]int {
	tables, name := map[string]int{}, ""
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 2 && line[0] != '\t' && line[0] != ' ':
			name = f[1]
		case len(f) == 2 && f[0] == "Addresses:" && name != "":
			if n, err := strconv.Atoi(f[1]); err == nil {
				tables[name] = n
			}
		}
	}
	return tables
}

// called tells whether the main ruleset calls the anchor: by its name, or by a
// pattern that fits.
func (c *ctl) called(ctx context.Context) (bool, error) {
	out, err := c.run(ctx, nil, "-s", "rules")
	if err != nil {
		return false, err
	}
	return callsAnchor(out, c.anchor), nil
}

func callsAnchor(rules, anchor string) bool {
	parent, _, nested := cutLast(anchor, "/")
	for line := range strings.Lines(rules) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "anchor" {
			continue
		}
		name := strings.Trim(f[1], `"`)
		if name == anchor || nested && name == parent+"/*" || !nested && name == "*" {
			return true
		}
		// Anchors within one that is called are the operator's to call.
		if nested && name == parent {
			return true
		}
	}
	return false
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// rules replaces the rules of the anchor. Tables that are declared without
// addresses keep theirs.
func (c *ctl) rules(ctx context.Context, text string) error {
	_, err := c.run(ctx, []byte(text), c.in("-f", "-")...)
	return err
}

// ruleCount returns how many rules the anchor has.
func (c *ctl) ruleCount(ctx context.Context) (int, error) {
	out, err := c.run(ctx, nil, c.in("-s", "rules")...)
	if err != nil {
		return 0, err
	}
	n := 0
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "block ") {
			n++
		}
	}
	return n, nil
}

// replace makes a table hold exactly a list.
func (c *ctl) replace(ctx context.Context, table string, list, negated []netip.Prefix) error {
	if len(list)+len(negated) == 0 {
		return c.empty(ctx, table) // an empty file is no list
	}
	var b bytes.Buffer
	prefixLines(&b, "", list)
	prefixLines(&b, "!", negated)
	_, err := c.run(ctx, b.Bytes(), c.in("-t", table, "-T", "replace", "-f", "-")...)
	return err
}

// change adds or deletes prefixes and returns how many entries that made more or fewer.
func (c *ctl) change(ctx context.Context, table, verb string, list []netip.Prefix) (int, error) {
	var b bytes.Buffer
	prefixLines(&b, "", list)
	out, err := c.run(ctx, b.Bytes(), c.in("-t", table, "-T", verb, "-f", "-")...)
	if err != nil {
		return 0, err
	}
	n, found := number(out, "addresses "+strings.TrimSuffix(verb, "e")+"ed") // added, deleted
	if !found {
		return 0, errors.New("cannot read what pfctl says: " + out[:min(len(out), 200)])
	}
	return n, nil
}

// show returns what is in a table, without what is negated:
//
//	 203.0.113.4
//	!203.0.113.0/24
func (c *ctl) show(ctx context.Context, table string) (map[netip.Prefix]bool, error) {
	list := map[netip.Prefix]bool{}
	out, err := c.run(ctx, nil, c.in("-t", table, "-T", "show")...)
	if err != nil && strings.Contains(err.Error(), "Table does not exist") {
		return list, nil
	}
	for line := range strings.Lines(out) {
		if p, err := decisions.ParsePrefix(strings.TrimSpace(line)); err == nil {
			list[p] = true
		}
	}
	return list, err
}

// empty removes everything from a table, if it is there.
func (c *ctl) empty(ctx context.Context, table string) error {
	_, err := c.run(ctx, nil, c.in("-t", table, "-T", "flush")...)
	if err != nil && strings.Contains(err.Error(), "Table does not exist") {
		return nil
	}
	return err
}

// remove takes rules and tables of the anchor away.
func (c *ctl) remove(ctx context.Context) error {
	if _, err := c.run(ctx, nil, c.in("-F", "rules")...); err != nil {
		return err
	}
	_, err := c.run(ctx, nil, c.in("-F", "Tables")...)
	return err
}

package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"cs/decisions"
)

// Bot is a row of a data file of type bots: a crawler that tells its name, and
// how to find out whether it lies (spec: engine §2.9).
type Bot struct {
	Name string

	agent  *regexp.Regexp   // of its user agents; nil: any
	paths  []*regexp.Regexp // one of which it asks for; none: any
	ips    []netip.Addr
	ranges []netip.Prefix
	names  []*regexp.Regexp // of its hosts
}

// ParseBot reads a row, a JSON object with name, optional user_agent and paths,
// and at least one of ips, ranges and rdns. Expressions ignore case.
func ParseBot(row string) (*Bot, error) {
	var written struct {
		Name      string   `json:"name"`
		UserAgent string   `json:"user_agent"`
		Paths     []string `json:"paths"`
		IPs       []string `json:"ips"`
		Ranges    []string `json:"ranges"`
		RDNS      []string `json:"rdns"`
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(row)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&written); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("something is behind the object")
	}
	switch {
	case written.Name == "":
		return nil, errors.New("it has no name")
	case len(written.IPs)+len(written.Ranges)+len(written.RDNS) == 0:
		return nil, errors.New("it has none of ips, ranges and rdns")
	case slices.Contains(written.RDNS, ""):
		return nil, errors.New("an rdns is empty")
	}
	b := &Bot{Name: written.Name}
	var err error
	if written.UserAgent != "" {
		agents, err := ignoringCase(written.UserAgent)
		if err != nil {
			return nil, err
		}
		b.agent = agents[0]
	}
	if b.paths, err = ignoringCase(written.Paths...); err != nil {
		return nil, err
	}
	if b.names, err = ignoringCase(written.RDNS...); err != nil {
		return nil, err
	}
	for _, s := range written.IPs {
		ip, err := decisions.ParseAddr(s)
		if err != nil {
			return nil, err
		}
		b.ips = append(b.ips, ip)
	}
	for _, s := range written.Ranges {
		p, err := decisions.ParsePrefix(s)
		if err != nil {
			return nil, err
		}
		b.ranges = append(b.ranges, p)
	}
	return b, nil
}

func ignoringCase(patterns ...string) (res []*regexp.Regexp, err error) {
	for _, p := range patterns {
		re, err := regexp.Compile("(?i)" + p)
		if err != nil {
			return nil, fmt.Errorf("cannot compile regular expression: %w", err)
		}
		res = append(res, re)
	}
	return res, nil
}

// is tells whether a request comes from the bot: it says so, and its address
// or a confirmed name of it is the bot's.
func (b *Bot) is(look Lookups, ip netip.Addr, agent, path string) bool {
	matches := func(s string) func(*regexp.Regexp) bool {
		return func(re *regexp.Regexp) bool { return re.MatchString(s) }
	}
	switch {
	case b.agent != nil && !b.agent.MatchString(agent):
		return false
	case len(b.paths) > 0 && !slices.ContainsFunc(b.paths, matches(path)):
		return false
	case slices.Contains(b.ips, ip):
		return true
	case slices.ContainsFunc(b.ranges, func(p netip.Prefix) bool { return p.Contains(ip) }):
		return true
	case len(b.names) == 0 || look == nil:
		return false
	}
	for _, name := range look.Names(ip) {
		name = strings.TrimSuffix(name, ".")
		if slices.ContainsFunc(b.names, matches(name)) && confirms(look, name, ip) {
			return true
		}
	}
	return false
}

// confirms tells whether a name leads back to the address that claims it.
// Anybody can claim any name for their own address.
func confirms(look Lookups, name string, ip netip.Addr) bool {
	return slices.ContainsFunc(look.Hosts(name), func(s string) bool {
		a, ok := address(s)
		return ok && a == ip
	})
}

func botFuncs() map[string]*function {
	return map[string]*function{
		"MatchKnownBot": {params: []param{aString, aString, aString, aString}, variadic: true, varying: true, build: func(u *unit, a []value) value {
			var bots []*Bot
			for _, file := range a[3:] {
				name, ok := file.constText()
				if !ok {
					return refuse("the name of a file must be a constant")
				}
				bots = append(bots, u.bots(name)...)
			}
			f, g, h, look := a[0].str, a[1].str, a[2].str, u.Lookups
			return boolean(func(x *Ctx) bool {
				ip, ok := address(f(x))
				agent := g(x)
				path := h(x)
				if !ok || x.failed() {
					return false
				}
				for _, b := range bots {
					if b.is(look, ip, agent, path) {
						return true
					}
				}
				return false
			})
		}},
	}
}

// bots returns the rows of a data file of type bots, none when it is not there.
func (u *unit) bots(name string) []*Bot {
	if u.Files != nil {
		if bots, ok := u.Files.Bots(name); ok {
			return bots
		}
	}
	u.warn("there is no data file " + name + ": MatchKnownBot does not know its bots")
	return nil
}

package profile

import (
	"fmt"
	"time"

	"cs/decisions"
	"cs/pipeline/expr"
)

// Users returns the names of the rules that name each notification, in their order.
func (p *Profiles) Users() map[string][]string {
	users := make(map[string][]string)
	for i := range p.rules {
		for _, name := range p.rules[i].notify {
			users[name] = append(users[name], p.rules[i].name)
		}
	}
	return users
}

// Match tells f of each rule, up to one that ends the search, whether it
// matches an alert and which notifications it names. It decides nothing.
func (p *Profiles) Match(a *decisions.Alert, now time.Time, f func(rule string, matched bool, notify []string, err error)) {
	x := p.ctxs.Get().(*expr.Ctx)
	defer p.ctxs.Put(x)
	x.Now = now
	x.Vars = append(x.Vars[:0], a)
	defer clear(x.Vars)
	for i := range p.rules {
		r := &p.rules[i]
		matched, err := r.matches(x)
		if err != nil {
			err = fmt.Errorf("cannot apply profile %q: %w", r.name, err)
			matched = r.applied
		}
		f(r.name, matched, r.notify, err)
		if matched && r.last {
			return
		}
	}
}

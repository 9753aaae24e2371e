package match

import "regexp/syntax"

// CompileLimited is Compile with automata that are full after some states, so
// that tests reach the stages behind them.
func CompileLimited(expr string, keep []int, states uint32) (*Program, error) {
	return compileLimited(expr, keep, limits{states: states, bytes: 1 << 20, relearn: 50})
}

// compileLimited builds the program at once, since tests look into it.
func compileLimited(expr string, keep []int, limit limits) (*Program, error) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	p, err := newProgram(expr, re, keep, limit)
	if err == nil {
		p.once.Do(p.build)
	}
	return p, err
}

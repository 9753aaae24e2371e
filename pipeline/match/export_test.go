package match

// CompileLimited is Compile with automata that are full after some states, so
// that tests reach the stages behind them.
func CompileLimited(expr string, keep []int, states uint32) (*Program, error) {
	return compile(expr, keep, limits{states: states, bytes: 1 << 20, relearn: 50})
}

//go:build edge

package expr

// injectionFuncs would need libinjection: 336 kB, which the small build has no
// room for.
func injectionFuncs() map[string]*function {
	return map[string]*function{
		"LibInjectionIsSQLI": notInEdge("LibInjectionIsSQLI"),
		"LibInjectionIsXSS":  notInEdge("LibInjectionIsXSS"),
	}
}

func notInEdge(name string) *function {
	return &function{params: []param{aString}, build: func(*unit, []value) value {
		return refuse("%s is not part of this small build: use the full one", name)
	}}
}

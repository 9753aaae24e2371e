package expr

import "cs/pipeline/expr/injection"

// injectionFuncs recognise SQL injections and cross-site scripting in a text. They
// take time in proportion to the text.
func injectionFuncs() map[string]*function {
	return map[string]*function{
		"LibInjectionIsSQLI": textTest(injection.SQLi),
		"LibInjectionIsXSS":  textTest(injection.XSS),
	}
}

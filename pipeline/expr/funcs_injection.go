//go:build !edge

package expr

import "github.com/corazawaf/libinjection-go"

// injectionFuncs recognise SQL injections and cross-site scripting in a text, by
// the fingerprints of libinjection. They take time in proportion to the text.
func injectionFuncs() map[string]*function {
	return map[string]*function{
		"LibInjectionIsSQLI": textTest(func(s string) bool { found, _ := libinjection.IsSQLi(s); return found }),
		"LibInjectionIsXSS":  textTest(libinjection.IsXSS),
	}
}

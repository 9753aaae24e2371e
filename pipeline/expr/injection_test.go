package expr

import (
	"testing"

	"cs/pipeline/event"
)

func TestInjection(t *testing.T) {
	f := func(src string, want bool) {
		t.Helper()
		if got := evaluate(t, &Compiler{Schema: event.NewSchema()}, &Ctx{}, src); got != want {
			t.Errorf("%s: %v", src, got)
		}
	}
	f(`LibInjectionIsSQLI("1' OR '1'='1")`, true)
	f(`LibInjectionIsSQLI("1 UNION SELECT password FROM users")`, true)
	f(`LibInjectionIsSQLI("a plain text")`, false)
	f(`LibInjectionIsXSS("<script>alert(1)</script>")`, true)
	f(`LibInjectionIsXSS("<a href='javascript:alert(1)'>")`, true)
	f(`LibInjectionIsXSS("a plain text")`, false)
}

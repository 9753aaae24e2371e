//go:build edge

package expr

import (
	"strings"
	"testing"

	"cs/pipeline/event"
)

func TestInjectionNeedsTheFullBuild(t *testing.T) {
	for _, name := range []string{"LibInjectionIsSQLI", "LibInjectionIsXSS"} {
		_, err := (&Compiler{Schema: event.NewSchema()}).Compile(name + "(evt.Line.Raw)")
		if err == nil || !strings.Contains(err.Error(), name+" is not part of this small build") {
			t.Error(err)
		}
	}
}

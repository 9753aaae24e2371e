package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseDSN(t *testing.T) {
	got, err := ParseDSN("file://x?y")
	want := Acquisition{Source: "file", Cat: true, Labels: map[string]string{}, DSN: "file://x?y"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := ParseDSN("/var/log/auth.log"); err == nil || !strings.Contains(err.Error(), "want SOURCE://WHAT") {
		t.Errorf("got %v", err)
	}
}

func TestParseLabels(t *testing.T) {
	got, err := ParseLabels("a:1,b:,c:x y")
	if diff := cmp.Diff(map[string]string{"a": "1", "b": "", "c": "x y"}, got); err != nil || diff != "" {
		t.Errorf("%v, want -, got +:\n%s", err, diff)
	}
	for _, bad := range []string{"", "a", "a:1,", "a:b:c"} {
		if got, err := ParseLabels(bad); err == nil {
			t.Errorf("%q gives %v", bad, got)
		}
	}
}

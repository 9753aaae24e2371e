package api

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// gather puts the decisions that come before an alert into it.
func gather(body io.Reader) (list []Alert, err error) {
	var own []Decision
	err = eachAlert(body, func(d *Decision) { own = append(own, *d) }, func(a *Alert) error {
		a.Decisions, own = own, nil
		list = append(list, *a)
		return nil
	})
	return list, err
}

// FuzzEachAlert: what encoding/json reads at once is read in pieces too, as the
// same.
func FuzzEachAlert(f *testing.F) {
	for _, seed := range []string{
		`null`, `[]`, ` [ ] `, `[{}]`, `[{"id":1},{"decisions":null,"id":2}]`,
		`[{"decisions":[{"id":7,"value":"a\"]}b","simulated":true},{"value":"\u003c"}],"message":"[{\\","source":{"scope":"Ip"}}]`,
		`[{"capacity":1,"decisions":[],"events":[{"meta":[{"key":"k","value":"v"}],"timestamp":"t"}],"events_count":1,"id":3,"labels":null,"leakspeed":"0",` +
			`"message":"m","scenario":"s","scenario_hash":"","scenario_version":"","simulated":false,"source":{"scope":"","value":""},"start_at":"","stop_at":""}]`,
		`[{"decisions":[1]}]`, `[{"id":"x"}]`, `[{"id":1`, `{"a":1}`, `[{"id" 1}]`, `[1]`, `["\`, `[{"events":[{"meta":null}]}]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		low := strings.ToLower(body)
		if strings.Contains(low, `\u00`) || strings.Contains(low, "null") && low != "null" {
			t.Skip("keys may hide in escapes, and elements may be null")
		}
		var want []Alert
		if json.Unmarshal([]byte(body), &want) != nil || strings.Count(low, `"decisions"`) > len(want) {
			t.Skip("we may be lenient, and what is given twice is given twice")
		}
		got, err := gather(iotest.HalfReader(strings.NewReader(body)))
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q (-at once +in pieces):\n%s", body, diff)
		}
	})
}

// An answer that breaks off, or is none, is an error, and so is what the
// receiver says.
func TestEachAlertFails(t *testing.T) {
	for _, body := range []string{``, `[`, `[{`, `[{"id"`, `[{"id":`, `[{"id":1`, `[{"decisions":[{"id":1}`, `{}`, `"x"`, `[{"id":1}}`, `[{"decisions":[{"id":"x"}]}]`, `<html>`} {
		if got, err := gather(strings.NewReader(body)); err == nil {
			t.Errorf("%q: no error, but %v", body, got)
		}
	}
	enough := errors.New("enough")
	n := 0
	err := eachAlert(strings.NewReader(`[{"id":1},{"id":2}]`), nil, func(*Alert) error { n++; return enough })
	if n != 1 || !errors.Is(err, enough) {
		t.Errorf("%d alerts, error %v", n, err)
	}
	endless := io.MultiReader(strings.NewReader(`[{"message":"`), iotest.HalfReader(zeros{}))
	if _, err := gather(endless); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("an endless text: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

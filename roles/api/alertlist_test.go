package api

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
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
// same, and a part of it is an error. The list is made by choices, since few
// random texts are one; what is no list must only end.
func FuzzEachAlert(f *testing.F) {
	for _, seed := range []string{"", "\x01", "\x03\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09", strings.Repeat("\x02\x07\xff\x10\x33", 40), "an alert with \"]} in its texts"} {
		f.Add([]byte(seed), uint16(7), `[{"id":1}`)
	}
	for _, raw := range []string{`null`, `[1]`, `["\`, `[{"events":[{"meta":null}]}]`, `[{"id" 1}]`, `{"a":1}`, `[null]`, `[{"decisions":[1]}]`} {
		f.Add([]byte{2, 1, 0}, uint16(1), raw)
	}
	f.Fuzz(func(t *testing.T, choices []byte, cut uint16, raw string) {
		_, _ = gather(strings.NewReader(raw))
		c := chooser(choices)
		body := c.alerts()
		var want []Alert
		if err := json.Unmarshal([]byte(body), &want); err != nil {
			t.Fatalf("BUG of the test: %v in %s", err, body)
		}
		got, err := gather(iotest.HalfReader(strings.NewReader(body)))
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-at once +in pieces):\n%s", body, diff)
		}
		part := body[:int(cut)%len(strings.TrimSpace(body))]
		if got, err := gather(strings.NewReader(part)); err == nil {
			t.Errorf("%s: no error, but %v", part, got)
		}
	})
}

// TestEachAlertByChance does what the fuzz target does, with lists of chance.
func TestEachAlertByChance(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	long := 0
	for range 2000 {
		choices := make(chooser, r.IntN(300))
		for i := range choices {
			choices[i] = byte(r.Uint32())
		}
		body := choices.alerts()
		var want []Alert
		if err := json.Unmarshal([]byte(body), &want); err != nil {
			t.Fatalf("BUG of the test: %v in %s", err, body)
		}
		got, err := gather(iotest.OneByteReader(strings.NewReader(body)))
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("%s: %v (-at once +in pieces):\n%s", body, err, diff)
		}
		if len(got) > 1 && len(got[0].Decisions) > 1 {
			long++
		}
	}
	if long < 20 {
		t.Errorf("only %d lists have several alerts with several decisions", long)
	}
}

// chooser makes a list of alerts of its bytes; when they end, it is short.
type chooser []byte

func (c *chooser) pick(n int) int {
	if len(*c) == 0 {
		return 0
	}
	b := (*c)[0]
	*c = (*c)[1:]
	return int(b) % n
}

func (c *chooser) one(of ...string) string { return of[c.pick(len(of))] }

func (c *chooser) space() string { return c.one("", "", "", " ", "\n\t", "\r\n  ") }

func (c *chooser) alerts() string {
	return c.space() + c.list(4, func() string {
		return c.object(map[string]func() string{
			"capacity": c.number, "created_at": c.text, "events_count": c.number, "id": c.number, "kind": c.text,
			"labels": c.anything, "leakspeed": c.text, "machine_id": c.text, "message": c.text, "remediation": c.truth,
			"scenario": c.text, "simulated": c.truth, "start_at": c.text, "uuid": c.text, "none of ours": c.anything,
			"decisions": func() string {
				if c.pick(5) == 0 {
					return "null"
				}
				return c.list(5, func() string {
					return c.object(map[string]func() string{
						"duration": c.text, "id": c.number, "origin": c.text, "scenario": c.text, "scope": c.text,
						"simulated": c.truth, "type": c.text, "until": c.text, "value": c.text, "more": c.anything,
					})
				})
			},
			"events": func() string {
				return c.list(3, func() string {
					return c.object(map[string]func() string{"timestamp": c.text, "meta": c.metas})
				})
			},
			"meta": c.metas,
			"source": func() string {
				return c.object(map[string]func() string{
					"as_name": c.text, "cn": c.text, "ip": c.text, "latitude": c.number, "scope": c.text, "value": c.text,
				})
			},
		})
	}) + c.space()
}

func (c *chooser) metas() string {
	return c.list(3, func() string { return c.object(map[string]func() string{"key": c.text, "value": c.text}) })
}

func (c *chooser) number() string { return c.one("0", "1", "-7", "2147483647") }

func (c *chooser) truth() string { return c.one("true", "false") }

func (c *chooser) text() string {
	var b strings.Builder
	for range c.pick(6) {
		b.WriteString(c.one(`a`, `\"`, `\\`, `]`, `}`, `[`, `{`, `,`, `:`, `\u003c`, `\u00e9`, `é`, `\n`, ` `, `decisions`, `\ud83d\ude00`, `\ud800`, "\u2028"))
	}
	return `"` + b.String() + `"`
}

func (c *chooser) anything() string {
	switch c.pick(6) {
	case 1:
		return c.number()
	case 2:
		return c.text()
	case 3:
		return c.list(3, c.anything)
	case 4:
		return c.object(map[string]func() string{"decisions": c.anything, "id": c.anything})
	}
	return "null"
}

func (c *chooser) list(most int, element func() string) string {
	var b strings.Builder
	b.WriteString("[" + c.space())
	for i := range c.pick(most) {
		if i > 0 {
			b.WriteString("," + c.space())
		}
		b.WriteString(element() + c.space())
	}
	return b.String() + "]"
}

// object has some of the members, in an order of chance.
func (c *chooser) object(members map[string]func() string) string {
	names := slices.Sorted(maps.Keys(members))
	var b strings.Builder
	b.WriteString("{" + c.space())
	for i := range c.pick(len(names) + 1) {
		if i > 0 {
			b.WriteString("," + c.space())
		}
		at := c.pick(len(names))
		b.WriteString(`"` + names[at] + `"` + c.space() + ":" + c.space() + members[names[at]]() + c.space())
		names = slices.Delete(names, at, at+1)
	}
	return b.String() + "}"
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

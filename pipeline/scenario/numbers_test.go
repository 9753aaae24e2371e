package scenario

import (
	"testing"
	"time"

	"cs/decisions"
	"cs/pipeline/event"
	"cs/pipeline/expr"
)

// Whatever a saved record holds, what is made of it can be read.
func FuzzTranslate(f *testing.F) {
	schema := event.NewSchema()
	c, err := newCodec(schema)
	if err != nil {
		f.Fatal(err)
	}
	c.seal()
	doc, err := schema.Intern(event.Unmarshaled, "doc")
	if err != nil {
		f.Fatal(err)
	}
	e := event.New(schema)
	e.Reset(event.Line{Raw: "x", Time: time.Unix(1, 0).In(time.FixedZone("", -12600)), Labels: map[string]string{"type": "x"}})
	e.Set(c.sourceIP, "192.0.2.1")
	e.SetDoc(doc, map[string]any{"a": []any{nil, true, 1.5, -1, "x", map[string]string{"k": "v"}}})
	sc := Scenario{fields: schema.Of(event.Parsed), parts: parts}
	x := expr.Ctx{Event: e, Alert: &decisions.Alert{}, Alerts: []decisions.Alert{{Scenario: "x"}}, Sources: []string{"k"}}
	record := sc.appendQueued(c.appendScopeValue(c.appendEvent(nil, e), "v"), &x)
	record = appendText(record, firstContext, "detail")
	details := []detail{{name: "a", text: "b"}}
	numbers := c.appendNumbers(nil, details)
	f.Add(numbers, record)
	f.Add(numbers[:20], c.appendOverflow(record, &Overflow{Keys: []string{"k"}, Alerts: nil}))
	f.Fuzz(func(t *testing.T, numbers, record []byte) {
		m, err := c.readNumbers(numbers, details)
		if err != nil {
			return
		}
		rec := m.translate(record)
		c.read(new(kept), string(rec), nil)
		c.fieldsOf(string(rec), event.Meta)
		textIn(rec, uint64(firstSlot)+uint64(c.sourceIP))
		text := func(number uint64) string { return textOf(string(rec), number) }
		for _, number := range []uint64{isTime, isRead} {
			if text := text(number); text != "" {
				_, _ = readTime(text)
			}
		}
		readDoc(&reader{[]byte(text(isUnmarshaled))})
		for rest := text(isLabels); rest != ""; {
			_, rest = cutWhole(rest)
		}
	})
}

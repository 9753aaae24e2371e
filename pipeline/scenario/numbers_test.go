package scenario

import (
	"testing"

	"cs/pipeline/event"
)

// Whatever a saved record holds, what is made of it can be read.
func FuzzTranslate(f *testing.F) {
	schema := event.NewSchema()
	c, err := newCodec(schema)
	if err != nil {
		f.Fatal(err)
	}
	e := event.New(schema)
	c.seal()
	e.Reset(event.Line{})
	e.Set(c.sourceIP, "192.0.2.1")
	record := c.appendQueued(c.appendScopeValue(c.appendEvent(nil, e), "v"), e, schema.Of(event.Parsed))
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
		_ = timeOf(string(rec))
	})
}

package enrich

import (
	"encoding/json"
	"fmt"

	"cs/pipeline/event"
)

// JSON decodes the line, a JSON object, into the Unmarshaled space: the values
// of those keys that content mentions, whose slots are given.
func JSON(e *event.Event, slots []event.Slot) error {
	var doc map[string]any
	if err := json.Unmarshal([]byte(e.Line.Raw), &doc); err != nil {
		return fmt.Errorf("cannot decode the line as JSON: %w", err)
	}
	for _, s := range slots {
		_, name := e.Schema().Name(s)
		if v, ok := doc[name]; ok {
			e.SetDoc(s, v)
		}
	}
	return nil
}

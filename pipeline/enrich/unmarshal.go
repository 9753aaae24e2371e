package enrich

import (
	"encoding/json"
	"fmt"

	"cs/pipeline/event"
)

// JSON decodes the line, a JSON object, into the Unmarshaled space.
func JSON(e *event.Event) error {
	var doc map[string]any
	if err := json.Unmarshal([]byte(e.Line.Raw), &doc); err != nil {
		return fmt.Errorf("cannot decode the line as JSON: %w", err)
	}
	for name, v := range doc {
		e.SetDocNamed(name, v)
	}
	return nil
}

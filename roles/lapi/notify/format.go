package notify

import (
	"encoding/json"
	"strings"
)

// plain is a format without a template, or with the one that is a function of
// its own: all alerts as JSON. A build without templates knows no other.
type plain struct{ text string }

func (p plain) format([]Alert) (string, error) { return p.text, nil }

type asJSON struct{}

func (asJSON) format(alerts []Alert) (string, error) { return toJSON(alerts) }

func parseFormat(text string) (formatter, error) {
	switch strings.NewReplacer(" ", "", "\n", "", "(", "", ")", "").Replace(text) {
	case "{{.|toJson}}", "{{toJson.}}", "{{-.|toJson-}}":
		return asJSON{}, nil
	}
	if !strings.Contains(text, "{{") {
		return plain{text}, nil
	}
	return parseTemplate(text)
}

func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// Package winevent is the source that reads Windows's event log: channels as
// they grow, behind a bookmark that survives restarts, and .evtx files once. Lines are
// events as XML.
package winevent

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cs/pipeline/source"
)

// Keys are those of an acquisition (spec engine §7).
type Keys struct {
	EventChannel string `yaml:"event_channel"`
	XPathQuery   string `yaml:"xpath_query"` // a QueryList
	EventLevel   string `yaml:"event_level"` // critical, error, warning, information, verbose
	EventIDs     []int  `yaml:"event_ids"`
	PrettyName   string `yaml:"pretty_name"`
}

// Kind makes sources of acquisitions, and of DSNs of the form
// wineventlog://FILE.evtx[?event_id=N&event_level=L].
var Kind = source.Kind{Open: open, Once: true, Tail: true}

// Source reads events. Acquisitions make it; see Kind.
type Source struct {
	spec   *source.Spec
	name   string
	path   string // of a file or a channel; "": the query says it
	isFile bool
	query  string

	log     eventLog
	trouble *source.Throttle
	now     func() time.Time
	// Those of winevent.go; tests make them short.
	pause, look time.Duration
}

func open(spec *source.Spec) (source.Source, error) {
	var k Keys
	s := &Source{spec: spec, log: systemLog(), trouble: source.NewThrottle(spec.Report), now: time.Now, pause: firstPause, look: lookEvery}
	err := spec.Decode(&k, func(d *source.DSN) {
		s.path, s.isFile = d.Target, true
		if s.path == "" {
			d.Fail("it has no file")
		}
		var ids []string
		d.Texts("event_id", &ids)
		for _, text := range ids {
			id, err := strconv.Atoi(text)
			if err != nil {
				d.Fail("event_id: want a whole number, not %q", text)
			}
			k.EventIDs = append(k.EventIDs, id)
		}
		d.Text("event_level", &k.EventLevel)
	})
	if err != nil {
		return nil, err
	}
	switch {
	case s.isFile:
	case k.EventChannel == "" && k.XPathQuery == "":
		return nil, spec.Errorf("event_channel", "there is none, and no xpath_query")
	case k.EventChannel != "" && k.XPathQuery != "":
		return nil, spec.Errorf("xpath_query", "it names its channels itself: event_channel or xpath_query")
	case k.XPathQuery != "" && (k.EventLevel != "" || len(k.EventIDs) > 0):
		return nil, spec.Errorf("xpath_query", "it chooses events itself: event_level and event_ids belong to event_channel")
	}
	selection, err := selectionOf(k.EventLevel, k.EventIDs)
	if err != nil {
		return nil, spec.Errorf("event_level", "%w", err)
	}
	switch {
	case s.isFile:
		s.query = selection
	case k.EventChannel != "":
		s.query = queryList(k.EventChannel, selection)
	default:
		s.query = strings.TrimSpace(k.XPathQuery)
		if err := xml.Unmarshal([]byte(s.query), new(struct{ XMLName xml.Name })); err != nil {
			return nil, spec.Errorf("xpath_query", "it is no XML: %w", err)
		}
	}
	s.name = k.PrettyName
	for _, name := range []string{s.path, s.query} {
		if s.name == "" {
			s.name = name
		}
	}
	return s, nil
}

// Name returns pretty_name, or else what is read.
func (s *Source) Name() string { return s.name }

// levels are those of events, by name. What the system itself logs has level 0
// and counts as information.
var levels = map[string][]int{"critical": {1}, "error": {2}, "warning": {3}, "information": {0, 4}, "verbose": {5}}

// selectionOf returns the XPath expression for events of a level and with some
// IDs; "" and none stand for all.
func selectionOf(level string, ids []int) (string, error) {
	var parts []string
	if len(ids) > 0 {
		parts = append(parts, anyOf("EventID", ids))
	}
	if level != "" {
		numbers, ok := levels[strings.ToLower(level)]
		if !ok {
			return "", fmt.Errorf("want critical, error, warning, information or verbose, not %q", level)
		}
		parts = append(parts, anyOf("Level", numbers))
	}
	if len(parts) == 0 {
		return "*", nil
	}
	return "*[System[" + strings.Join(parts, " and ") + "]]", nil
}

func anyOf(name string, values []int) string {
	var terms []string
	for _, v := range values {
		terms = append(terms, name+"="+strconv.Itoa(v))
	}
	return "(" + strings.Join(terms, " or ") + ")"
}

// queryList returns the query for a channel.
func queryList(channel, selection string) string {
	path := escape(channel)
	return `<QueryList><Query Id="0" Path="` + path + `"><Select Path="` + path + `">` + escape(selection) + `</Select></Query></QueryList>`
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes all
	return b.String()
}

// createdAt returns the time of an event; the zero time if there is none.
func createdAt(event []byte) time.Time {
	_, rest, ok := strings.Cut(string(event[:min(len(event), 4096)]), "<TimeCreated SystemTime=")
	if !ok || rest == "" {
		return time.Time{}
	}
	text, _, ok := strings.Cut(rest[1:], rest[:1])
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

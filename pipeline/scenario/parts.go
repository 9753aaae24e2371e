package scenario

import (
	"encoding/json"
	"math"
	"net/netip"
	"strings"
	"time"

	"cs/decisions"
	"cs/pipeline/expr"
)

// part is what an event has beside its fields and its time. A bucket keeps it if
// an expression about the bucket mentions it: most never do.
type part struct {
	name string // the member of an event
	keep func(b []byte, x *expr.Ctx) []byte
}

const (
	isRaw = firstPart + iota
	isSrc
	isModule
	isRead // when the line was read
	isLabels
	isStrTime
	isStrTimeFormat
	isStage
	isUnmarshaled
	isAlerts
)

var parts = []part{
	{"Line", func(b []byte, x *expr.Ctx) []byte {
		l := &x.Event.Line
		b = appendText(b, isRaw, l.Raw)
		b = appendText(b, isSrc, l.Src)
		b = appendText(b, isModule, l.Module)
		if !l.Time.IsZero() {
			b = appendTime(b, isRead, l.Time.UTC())
		}
		n := 0
		for name, text := range l.Labels {
			n += wholeLen(name) + wholeLen(text)
		}
		b = appendNumber(appendNumber(b, isLabels), uint64(n))
		for name, text := range l.Labels {
			b = appendWhole(appendWhole(b, name), text)
		}
		return b
	}},
	{"StrTime", func(b []byte, x *expr.Ctx) []byte { // StrTimeFormat, too
		return appendText(appendText(b, isStrTime, x.Event.StrTime), isStrTimeFormat, x.Event.StrTimeFormat)
	}},
	{"Stage", func(b []byte, x *expr.Ctx) []byte { return appendText(b, isStage, x.Stage) }},
	{"Unmarshaled", func(b []byte, x *expr.Ctx) []byte {
		docs := map[string]any{}
		room := maxKeptDocs
		for name, doc := range x.Event.Docs() {
			if n := len(appendDoc(nil, doc, room)); n > 0 && n <= room {
				docs[name] = doc
				room -= n
			}
		}
		return appendWhole(appendNumber(b, isUnmarshaled), string(appendDoc(nil, docs, math.MaxInt)))
	}},
	{"Overflow", func(b []byte, x *expr.Ctx) []byte {
		if x.Alert == nil {
			return b
		}
		o := keptOverflow{x.Mapkey, x.Reprocess, x.Sources, x.Alerts}
		text, err := json.Marshal(o)
		if len(text) > maxKeptDocs {
			o.Alerts = append([]decisions.Alert{}, o.Alerts...)
			for i := range o.Alerts {
				o.Alerts[i].Events = nil
			}
			text, err = json.Marshal(o)
		}
		if err != nil || len(text) > maxKeptDocs {
			return b
		}
		return appendWhole(appendNumber(b, isAlerts), string(text))
	}},
}

// maxKeptDocs bounds the documents that are kept of an event, and the alerts, in
// bytes. Documents that there is no room for are left out; so are the events of alerts.
const maxKeptDocs = 32 << 10

// keptLine and keptOverflow are evt.Line and evt.Overflow of a kept event.
type (
	keptLine     queued
	keptOverflow struct {
		Mapkey    string
		Reprocess bool
		Keys      []string
		Alerts    []decisions.Alert
	}
)

// keptMembers are the members of parts, and of kept events those that lead there.
func keptMembers() []expr.Member {
	text := func(name string, number uint64) expr.Member {
		return expr.Text(name, func(q *queued) string { return q.text(number) })
	}
	ofLine := func(name string, number uint64) expr.Member {
		return expr.Text(name, func(l *keptLine) string { return (*queued)(l).text(number) })
	}
	appsec := &expr.Appsec{}
	return []expr.Member{
		text("StrTime", isStrTime), text("StrTimeFormat", isStrTimeFormat), text("Stage", isStage),
		expr.Text("WhitelistReason", func(*queued) string { return "" }), // those that have one don't come here
		expr.Field("Line", func(q *queued) *keptLine { return (*keptLine)(q) }),
		expr.Field("Unmarshaled", (*queued).docs),
		expr.Field("Overflow", (*queued).overflow),
		expr.Field("Appsec", func(*queued) *expr.Appsec { return appsec }),
		expr.Method("ParseIPSources", (*queued).addresses),

		ofLine("Raw", isRaw), ofLine("Src", isSrc), ofLine("Module", isModule),
		expr.Moment("Time", func(l *keptLine) time.Time { return (*queued)(l).timeOf(isRead) }),
		expr.Field("Process", func(*keptLine) bool { return true }),
		expr.Texts("Labels", (*keptLine).labels, func(key string) func(*keptLine) string {
			return func(l *keptLine) string { return l.label(key) }
		}),

		expr.Text("Mapkey", func(o *keptOverflow) string { return o.Mapkey }),
		expr.Text("BucketId", func(o *keptOverflow) string { return o.Mapkey }),
		expr.Field("Whitelisted", func(*keptOverflow) bool { return false }),
		expr.Field("Reprocess", func(o *keptOverflow) bool { return o.Reprocess }),
		expr.Field("Alert", func(o *keptOverflow) *decisions.Alert {
			if len(o.Alerts) == 0 {
				return nil
			}
			return &o.Alerts[0]
		}),
		expr.Field("APIAlerts", func(o *keptOverflow) []*decisions.Alert {
			list := make([]*decisions.Alert, len(o.Alerts))
			for i := range list {
				list[i] = &o.Alerts[i]
			}
			return list
		}),
		expr.Field("Sources", func(o *keptOverflow) map[string]*decisions.Source {
			sources := map[string]*decisions.Source{}
			for i, key := range o.Keys {
				if i < len(o.Alerts) {
					sources[key] = &o.Alerts[i].Source
				}
			}
			return sources
		}),
		expr.Method("GetSources", func(o *keptOverflow) []string { return o.Keys }),
	}
}

// overflow returns what the event is about if it is an overflow, else an empty one.
func (q *queued) overflow() *keptOverflow {
	o := &keptOverflow{}
	if text := q.text(isAlerts); text != "" {
		_ = json.Unmarshal([]byte(text), o) // what was saved and damaged is as if it had not been kept
	}
	return o
}

// addresses are those that the event is about.
func (q *queued) addresses() []netip.Addr {
	list := []netip.Addr{}
	add := func(text string) {
		if ip, err := decisions.ParseAddr(text); err == nil {
			list = append(list, ip)
		}
	}
	if q.kind() == 0 {
		add(q.text(uint64(firstSlot) + uint64(q.in.codec.sourceIP)))
		return list
	}
	q.in.codec.each(q.record(), func(number uint64, text string) {
		if number == isKey {
			add(text)
		}
	})
	return list
}

func (l *keptLine) labels() map[string]string {
	labels := map[string]string{}
	for rest := (*queued)(l).text(isLabels); rest != ""; {
		var name, text string
		name, rest = cutWhole(rest)
		text, rest = cutWhole(rest)
		labels[strings.Clone(name)] = strings.Clone(text)
	}
	return labels
}

func (l *keptLine) label(key string) string {
	for rest := (*queued)(l).text(isLabels); rest != ""; {
		var name, text string
		name, rest = cutWhole(rest)
		if text, rest = cutWhole(rest); name == key {
			return text
		}
	}
	return ""
}

// docs are the documents that were kept of the event, nil if there are none.
func (q *queued) docs() map[string]any {
	doc, _ := readDoc(&reader{[]byte(q.text(isUnmarshaled))})
	docs, _ := doc.(map[string]any)
	return docs
}

// Documents are written as the letter of their kind and what is in them.
const (
	docNil = iota
	docFalse
	docTrue
	docText
	docNumber // float64
	docInt
	docTexts // map[string]string
	docMap   // map[string]any
	docList  // []any
)

// appendDoc appends a document. If that takes more than room bytes it may stop there.
func appendDoc(b []byte, doc any, room int) []byte {
	if len(b) > room {
		return b
	}
	switch d := doc.(type) {
	case bool:
		if d {
			return append(b, docTrue)
		}
		return append(b, docFalse)
	case string:
		if len(d) > room {
			return append(b, make([]byte, room+1)...)
		}
		return appendWhole(append(b, docText), d)
	case float64:
		return appendNumber(append(b, docNumber), math.Float64bits(d))
	case int:
		return appendNumber(append(b, docInt), uint64(d))
	case map[string]string:
		b = appendNumber(append(b, docTexts), uint64(len(d)))
		for name, text := range d {
			if len(b) > room {
				break
			}
			b = appendWhole(appendWhole(b, name), text)
		}
		return b
	case map[string]any:
		b = appendNumber(append(b, docMap), uint64(len(d)))
		for name, part := range d {
			if len(b) > room {
				break
			}
			b = appendDoc(appendWhole(b, name), part, room)
		}
		return b
	case []any:
		b = appendNumber(append(b, docList), uint64(len(d)))
		for _, part := range d {
			if len(b) > room {
				break
			}
			b = appendDoc(b, part, room)
		}
		return b
	}
	return append(b, docNil)
}

// readDoc reads what appendDoc wrote; ok is false if that is damaged.
func readDoc(p *reader) (doc any, ok bool) {
	if len(p.rest) == 0 {
		return nil, false
	}
	kind := p.rest[0]
	p.rest = p.rest[1:]
	switch kind {
	case docNil:
		return nil, true
	case docFalse, docTrue:
		return kind == docTrue, true
	case docText:
		text, ok := p.text()
		return string(text), ok
	}
	n, ok := p.number()
	switch kind {
	case docNumber:
		return math.Float64frombits(n), ok
	case docInt:
		return int(n), ok
	case docTexts:
		texts := map[string]string{}
		for ; ok && n > 0; n-- {
			var name, text []byte
			if name, ok = p.text(); ok {
				text, ok = p.text()
			}
			texts[string(name)] = string(text)
		}
		return texts, ok
	case docMap:
		m := map[string]any{}
		for ; ok && n > 0; n-- {
			var name []byte
			if name, ok = p.text(); ok {
				m[string(name)], ok = readDoc(p)
			}
		}
		return m, ok
	case docList:
		list := []any{}
		for ; ok && n > 0; n-- {
			var part any
			part, ok = readDoc(p)
			list = append(list, part)
		}
		return list, ok
	}
	return nil, false
}

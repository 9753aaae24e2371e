package api

import (
	"strconv"
	"time"
	"unicode/utf8"

	"cs/decisions"
)

// Rows encodes decisions of a log as AppendDecision does, byte for byte, but
// without making texts of them first. It is for one answer, by one goroutine.
type Rows struct {
	Now      time.Time
	WithUUID bool
	last     *decisions.Kind
	text     []byte                     // what follows from last
	kinds    map[*decisions.Kind][]byte // of others before it
}

// Append appends a row.
func (e *Rows) Append(dst []byte, r *decisions.Row) []byte {
	if r.Kind != e.last {
		e.turnTo(r.Kind)
	}
	dst = append(dst, `{"duration":"`...)
	dst = appendDuration(dst, r.Until.Sub(e.Now))
	dst = append(dst, `","id":`...)
	dst = strconv.AppendInt(dst, r.ID, 10)
	dst = append(dst, e.text...)
	ends := endString
	if r.Plain() {
		ends = endPlain
	}
	if e.WithUUID {
		before := len(dst)
		dst = append(dst, `,"uuid":"`...)
		start := len(dst)
		if dst = ends(r.AppendUUID(dst), start); len(dst) == start+1 {
			dst = dst[:before] // there is none
		}
	}
	dst = append(dst, `,"value":"`...)
	start := len(dst)
	dst = ends(r.AppendValue(dst), start)
	return append(dst, '}')
}

// turnTo makes text that of a kind. Sets have few kinds.
func (e *Rows) turnTo(k *decisions.Kind) {
	e.last = k
	text, ok := e.kinds[k]
	if !ok {
		text = appendKind(nil, k.Origin, k.Scenario, k.Scope, k.Type)
		if e.kinds == nil {
			e.kinds = make(map[*decisions.Kind][]byte)
		}
		e.kinds[k] = text
	}
	e.text = text
}

// appendKind appends the members in the middle of a decision.
func appendKind(dst []byte, origin, scenario, scope, kind string) []byte {
	dst = append(dst, `,"origin":`...)
	dst = appendString(dst, origin)
	dst = append(dst, `,"scenario":`...)
	dst = appendString(dst, scenario)
	dst = append(dst, `,"scope":`...)
	dst = appendString(dst, scope)
	dst = append(dst, `,"type":`...)
	return appendString(dst, kind)
}

// endString ends the JSON string that has begun before start. What has been
// appended to it since is replaced by its escaped form, if it needs one.
func endString(dst []byte, start int) []byte {
	for _, c := range dst[start:] {
		if c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text := string(dst[start:])
			return appendString(dst[:start-1], text)
		}
	}
	return append(dst, '"')
}

// endPlain is endString for what needs no escapes.
func endPlain(dst []byte, _ int) []byte { return append(dst, '"') }

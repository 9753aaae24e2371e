package node

import (
	"errors"
	"maps"
	"strings"

	"cs/decisions"
	"cs/pipeline/enrich"
	"cs/pipeline/event"
	"cs/pipeline/expr"
)

// static is one assignment.
type static struct {
	from  origin
	value string        // of fromValue
	field event.Slot    // of fromField
	expr  *expr.Program // of fromExpr
	dest  dest
	slot  event.Slot
	key   string                         // of toLabel
	alert func(*decisions.Alert) *string // the text in the alert of an overflow
	run   enrich.Method                  // of viaMethod
}

// origin is where the value of a static comes from.
type origin uint8

const (
	fromValue origin = iota
	fromField
	fromExpr
)

// dest is where the value of a static goes.
type dest uint8

const (
	toSlot dest = iota
	toStrTime
	toStrTimeFormat
	toMarshaledTime
	toRaw
	toSrc
	toModule
	toWhitelistReason
	toLabel
	toDoc // slot is of Unmarshaled
	toAlert
	viaParseDate // slot is Enriched.MarshaledTime
	viaJSON
	viaMethod
	toNothing
)

// targets are the places outside the maps that "target" may name.
var targets = map[string]dest{
	"StrTime":         toStrTime,
	"StrTimeFormat":   toStrTimeFormat,
	"MarshaledTime":   toMarshaledTime,
	"Line.Raw":        toRaw,
	"Line.Src":        toSrc,
	"Line.Module":     toModule,
	"WhitelistReason": toWhitelistReason,
}

// alertTargets are those in the alert of an overflow.
var alertTargets = map[string]func(*decisions.Alert) *string{
	"Overflow.Alert.Message":         func(a *decisions.Alert) *string { return &a.Message },
	"Overflow.Alert.Scenario":        func(a *decisions.Alert) *string { return &a.Scenario },
	"Overflow.Alert.Source.IP":       func(a *decisions.Alert) *string { return &a.Source.IP },
	"Overflow.Alert.Source.Range":    func(a *decisions.Alert) *string { return &a.Source.Range },
	"Overflow.Alert.Source.Scope":    func(a *decisions.Alert) *string { return &a.Source.Scope },
	"Overflow.Alert.Source.Value":    func(a *decisions.Alert) *string { return &a.Source.Value },
	"Overflow.Alert.Source.Cn":       func(a *decisions.Alert) *string { return &a.Source.Country },
	"Overflow.Alert.Source.AsName":   func(a *decisions.Alert) *string { return &a.Source.ASName },
	"Overflow.Alert.Source.AsNumber": func(a *decisions.Alert) *string { return &a.Source.ASNumber },
}

// assign runs statics in order. An error means that the event must be given
// up: an expression gave something that can't be a text.
func (n *Node) assign(r *Runner, statics []static) error {
	e := r.Expr.Event
	for i := range statics {
		s := &statics[i]
		var v string
		switch s.from {
		case fromValue:
			v = s.value
		case fromField:
			v = e.Get(s.field)
		case fromExpr:
			text, ok, err := s.expr.Text(r.Expr)
			if s.expr.Acts() {
				r.changes++
			}
			if err != nil {
				r.failed(n, err)
				if fatal := (*expr.StaticError)(nil); errors.As(err, &fatal) {
					return errAborted
				}
				continue
			}
			if ok {
				v = text
			}
		}
		if v == "" && s.dest != viaParseDate {
			continue // an old value stays
		}
		r.changes++
		if s.dest == toSlot {
			e.Set(s.slot, v)
		} else {
			s.set(n, r, v)
		}
	}
	return nil
}

func (s *static) set(n *Node, r *Runner, v string) {
	e := r.Expr.Event
	switch s.dest {
	case toStrTime:
		e.StrTime = v
	case toStrTimeFormat:
		e.StrTimeFormat = v
	case toMarshaledTime:
		e.MarshaledTime = v
	case toRaw:
		e.Line.Raw = v
	case toSrc:
		e.Line.Src = v
	case toModule:
		e.Line.Module = v
	case toWhitelistReason:
		e.WhitelistReason = v
	case toLabel: // other lines have the same map
		labels := maps.Clone(e.Line.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		labels[s.key] = strings.Clone(v)
		e.Line.Labels = labels
	case toDoc:
		e.SetDoc(s.slot, v)
	case toAlert:
		if r.Expr.Alert != nil { // a line has none
			// It outlives the event, and goes out into the world.
			v = strings.ReplaceAll(v, "\x00", "")
			*s.alert(r.Expr.Alert) = strings.Clone(strings.ToValidUTF8(v, "\uFFFD"))
		}
	case viaParseDate:
		d, ok := r.dates.Parse(v, e.StrTimeFormat, r.Expr.Now)
		if !ok {
			d.Time, d.Offset = r.Expr.Now.UTC(), 0 // an undated line happens now
		} else if e.Line.Mode != event.Live {
			e.Time = r.dates.In(d)
		}
		e.Set(s.slot, e.Built(r.dates.Append(e.Build(), d)))
	case viaMethod:
		s.run(e, v)
	case viaJSON: // of the line, whatever the value
		if err := enrich.JSON(e); err != nil {
			r.failed(n, err)
		}
	}
}

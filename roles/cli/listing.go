package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"

	"cs/roles/api"
)

// Lists of alerts may be long: a blocklist of 100,000 addresses is nothing
// special. They are read and written piece by piece, and between the two, where
// a table must know its widths first, what its rows share is held once.

// decisionRow is one of many decisions.
type decisionRow struct {
	id              int64
	kind            *decisionKind
	value, duration string
	rest            *decisionRest // what hardly any server tells; nil: nothing
}

type decisionKind struct {
	*actionKind
	origin, scenario string
}

// actionKind is what is done to whom, but for the value.
type actionKind struct {
	simulated   bool
	kind, scope string
}

type decisionRest struct{ until, uuid string }

// shared is what rows have in common, each once.
type shared struct {
	actions map[actionKind]*actionKind
	kinds   map[decisionKind]*decisionKind
	texts   map[string]string
}

func newShared() *shared {
	return &shared{map[actionKind]*actionKind{}, map[decisionKind]*decisionKind{}, map[string]string{}}
}

func (s *shared) row(d *api.Decision) decisionRow {
	a := actionKind{d.Simulated, d.Type, d.Scope}
	action := s.actions[a]
	if action == nil {
		action = &a
		s.actions[a] = action
	}
	k := decisionKind{action, d.Origin, d.Scenario}
	kind := s.kinds[k]
	if kind == nil {
		kind = &k
		s.kinds[k] = kind
	}
	r := decisionRow{d.ID, kind, strings.Clone(d.Value), strings.Clone(d.Duration), nil} // clones: they are parts of a longer text
	if d.Until != "" || d.UUID != "" {
		r.rest = &decisionRest{d.Until, d.UUID}
	}
	return r
}

func (s *shared) text(t string) string {
	known, ok := s.texts[t]
	if !ok {
		known = strings.Clone(t)
		s.texts[known] = known
	}
	return known
}

// wire is the decision as it came.
func (r *decisionRow) wire() api.Decision {
	k := r.kind
	d := api.Decision{
		ID: r.id, Origin: k.origin, Scenario: k.scenario, Scope: k.scope, Type: k.kind, Simulated: k.simulated,
		Value: r.value, Duration: r.duration,
	}
	if r.rest != nil {
		d.Until, d.UUID = r.rest.until, r.rest.uuid
	}
	return d
}

// folder finds decisions that do the same to the same as an earlier one, which
// is the newer one.
type folder map[fold]struct{}

type fold struct {
	*actionKind
	value string
}

func (f folder) isNew(r *decisionRow) bool {
	key := fold{r.kind.actionKind, r.value}
	_, known := f[key]
	f[key] = struct{}{}
	return !known
}

// longList is the number of decisions from which on memory is dearer than time.
// Below it no garbage is collected, which would be a fifth of a short list's time.
const longList = 1000

// eachAlert calls f with the alerts that a query selects and those of their
// decisions that keep wants, nil meaning all.
func (l *lapi) eachAlert(ctx context.Context, q query, s *shared, keep func(*decisionRow) bool, f func(*api.Alert, []decisionRow) error) error {
	var rows []decisionRow
	seen := 0
	return l.EachAlert(ctx, url.Values(q), func(d *api.Decision) {
		if seen++; seen == longList {
			debug.SetGCPercent(30)
		}
		if r := s.row(d); keep == nil || keep(&r) {
			rows = append(rows, r)
		}
	}, func(a *api.Alert) error {
		own := rows
		rows = nil
		return f(a, own)
	})
}

// list hands each alert of an answer over, and writes what remains of it: in
// JSON as it comes; else the rows that remember has kept, when all are known.
func (p *printer) list(each func(func(*api.Alert, []decisionRow) error) error, remember func(*api.Alert, []decisionRow)) error {
	if p.format != jsonText {
		return each(func(a *api.Alert, rows []decisionRow) error {
			remember(a, rows)
			return nil
		})
	}
	out := bufio.NewWriterSize(p.out, 64<<10)
	empty := true
	if err := each(func(a *api.Alert, rows []decisionRow) error {
		if empty {
			out.WriteString("[\n ")
		} else {
			out.WriteString(",\n ")
		}
		empty = false
		return writeAlert(out, a, rows)
	}); err != nil {
		out.Flush()
		return err
	}
	if empty {
		out.WriteString("[]\n")
	} else {
		out.WriteString("\n]\n")
	}
	return flush(out)
}

func flush(out *bufio.Writer) error {
	if err := out.Flush(); err != nil {
		return fmt.Errorf("cannot write the output: %w", err)
	}
	return nil
}

// writeAlert writes an element of a list of alerts, with these decisions.
func writeAlert(out *bufio.Writer, a *api.Alert, rows []decisionRow) error {
	if len(rows) > 0 {
		a.Decisions = nil
	}
	text, err := json.MarshalIndent(a, " ", " ")
	if err != nil {
		return fmt.Errorf("cannot encode the output: %w", err)
	}
	text = safeJSON(text)
	if len(rows) == 0 {
		_, err = out.Write(text)
		return err
	}
	before, after, _ := bytes.Cut(text, []byte("\n  \"decisions\": null"))
	out.Write(before)
	out.WriteString("\n  \"decisions\": [\n   ")
	for i := range rows {
		if i > 0 {
			out.WriteString(",\n   ")
		}
		text, err := json.MarshalIndent(rows[i].wire(), "   ", " ")
		if err != nil {
			return fmt.Errorf("cannot encode the output: %w", err)
		}
		out.Write(safeJSON(text))
	}
	out.WriteString("\n  ]")
	_, err = out.Write(after)
	return err
}

// rows writes CSV: a header line and rows, each of which is always one line.
func (p *printer) rows(header string, rows iter.Seq[[]string]) error {
	out := bufio.NewWriterSize(p.out, 64<<10)
	out.WriteString(header + "\n")
	w := csv.NewWriter(out)
	for row := range rows {
		safe := make([]string, len(row))
		for i, field := range row {
			safe[i] = plain(field)
		}
		if err := w.Write(safe); err != nil {
			return fmt.Errorf("cannot write the output: %w", err)
		}
	}
	w.Flush()
	return flush(out)
}

// csv writes rows that are few.
func (p *printer) csv(header string, rows [][]string) error {
	return p.rows(header, slices.Values(rows))
}

// boxed writes a table of any length.
func (p *printer) boxed(t *table) error {
	out := bufio.NewWriterSize(p.out, 64<<10)
	t.box(out)
	return flush(out)
}

package lapi

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"cs/decisions"
	"cs/platform"
	"cs/roles/api"
	"cs/storage"
)

// postAlerts takes what an agent, or an operator, reports.
func (s *Server) postAlerts(w http.ResponseWriter, r *http.Request, machineID string) {
	body, release, err := s.upload(w, r, machineID)
	defer release()
	if err != nil {
		refuseBody(w, err)
		return
	}
	if !s.machines.allowed(machineID) { // a body may take a minute to come
		denyToken(w, errMachineGone)
		return
	}
	wire, err := api.DecodeAlerts(body)
	var invalid *api.ValidationError
	switch {
	case errors.As(err, &invalid):
		refuse(w, http.StatusInternalServerError, invalid.Error())
		return
	case err != nil:
		refuseBody(w, err)
		return
	}
	now := s.now()
	alerts := make([]decisions.Alert, len(wire))
	for i := range wire {
		if alerts[i], err = wire[i].ToDomain(now); err != nil {
			refuse(w, http.StatusInternalServerError, err.Error()+": unable to parse duration")
			return
		}
	}
	ids, err := s.accept(r.Context(), machineID, alerts)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatInt(id, 10)
	}
	release() // the client may be slow in taking the answer
	answer(w, http.StatusCreated, texts)
}

// accept stores the alerts of a machine with the decisions they lead to, and
// returns their IDs. What names no valid address is left out, and what an
// allowlist forbids.
// The alerts are the server's from here on.
func (s *Server) accept(ctx context.Context, machineID string, alerts []decisions.Alert) (ids []int64, err error) {
	now := s.now()
	s.machines.push(machineID, now)
	lists := s.lists.now.Load()
	kept := alerts[:0]
	var notify [][]string // for each that is kept, which notifications to send
	var said remarks
	defer func() { said.tell(ctx, s.log, machineID) }()
	for i := range alerts {
		a := &alerts[i]
		a.ID, a.MachineID, a.Created = 0, machineID, now
		if !decisions.IsUUID(a.UUID) {
			a.UUID = decisions.NewUUID()
		}
		a.Source.Scope = decisions.NormalScope(a.Source.Scope)
		limitMeta(a, now)
		manual := len(a.Decisions) > 0
		if by, forbidden := lists.covers(a.Source.Scope, a.Source.Value, now); forbidden && !manual {
			said.add(slog.LevelInfo, "an alert is dropped: its source is on an allowlist", "alerts", 1, "scenario", clip(a.Scenario), "item", by)
			continue
		}
		outcome, errs := s.rules.Load().profiles.Decide(a, now)
		for _, err := range errs {
			said.add(slog.LevelError, "a profile is passed over", "alerts", 1, "scenario", clip(a.Scenario), "err", err)
		}
		if !manual {
			a.Decisions = outcome.Decisions
		}
		had := len(a.Decisions)
		a.Decisions = usable(a, &said)
		if had > 0 && len(a.Decisions) == 0 {
			said.add(slog.LevelWarn, "an alert is dropped: none of its decisions can be enforced", "alerts", 1, "scenario", clip(a.Scenario))
			continue
		}
		had = len(a.Decisions)
		if a.Decisions = lists.permitted(a.Decisions, now); len(a.Decisions) < had {
			said.add(slog.LevelInfo, "decisions are not made: an allowlist forbids them", "decisions", had-len(a.Decisions), "scenario", clip(a.Scenario))
			if manual && len(a.Decisions) == 0 {
				continue
			}
		}
		platform.Halves(len(a.Decisions), func(from, to int) {
			for j := from; j < to; j++ {
				d := &a.Decisions[j]
				d.ID, d.Created, d.Simulated = 0, now, a.Simulated
				if manual || d.UUID == "" {
					d.UUID = decisions.NewUUID()
				}
			}
		})
		if len(a.Decisions) > 0 && !manual && !a.Decisions[0].Active(now) {
			said.add(slog.LevelWarn, "nobody is banned: decisions are over already. Either the log is old, or the clock of the machine is behind", "alerts", 1)
		}
		if a.StopAt.Sub(now) > time.Minute {
			said.add(slog.LevelWarn, "bans will last longer than they should: the clock of the machine is ahead", "alerts", 1)
		}
		kept, notify = append(kept, *a), append(notify, outcome.Notify)
	}
	known, err := s.commit(ctx, kept)
	if err != nil {
		return nil, fmt.Errorf("cannot store %d alerts: %w", len(kept), err)
	}
	for i, names := range notify {
		if known[i] {
			continue // a repeated delivery
		}
		for _, name := range names {
			s.rules.Load().notify.Tell(name, &kept[i])
		}
	}
	if newer := s.lists.now.Load(); newer != lists {
		// Who changed the lists meanwhile has not seen these.
		if err := s.withdraw(ctx, kept, newer); err != nil {
			return nil, fmt.Errorf("cannot lift decisions that an allowlist forbids: %w", err)
		}
	}
	ids = make([]int64, len(kept))
	for i := range kept {
		ids[i] = kept[i].ID
	}
	return ids, nil
}

// longestText bounds what a decision is about, what it is and why, in bytes: it is
// in memory here and in each bouncer, and one that is sent 1 MiB gives up.
const longestText = 1024

// usable returns the decisions of an alert without those that can't be
// enforced by anybody. Why they were made is cut if it is long.
func usable(a *decisions.Alert, said *remarks) []decisions.Decision {
	n := 0
	var first error // told for all: there may be a million of them
	for i := range a.Decisions {
		d := &a.Decisions[i]
		d.Scope = decisions.NormalScope(d.Scope)
		if err := enforceable(d); err != nil {
			first = cmp.Or(first, err)
			continue
		}
		d.Origin, d.Scenario = cut(d.Origin, longestText), cut(d.Scenario, longestText)
		if n < i { // mostly all are kept
			a.Decisions[n] = *d
		}
		n++
	}
	if first != nil {
		said.add(slog.LevelWarn, "decisions are dropped", "decisions", len(a.Decisions)-n, "err", first)
	}
	return a.Decisions[:n]
}

func enforceable(d *decisions.Decision) error {
	if n := max(len(d.Scope), len(d.Value), len(d.Type)); n > longestText {
		return fmt.Errorf("scope, value and type of a decision may have %d bytes, not %d", longestText, n)
	}
	if d.Scope != decisions.ScopeIP && d.Scope != decisions.ScopeRange {
		return nil
	}
	_, err := decisions.ParsePrefix(d.Value)
	return err
}

// listAlerts answers a query of operators.
func (s *Server) listAlerts(w http.ResponseWriter, r *http.Request, machineID string) {
	ctx, end, err := s.reading(w, r, machineID)
	if err != nil {
		return
	}
	defer end()
	now := s.now()
	f, err := parseAlertFilter(r.URL.Query(), now, true)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	out, some := longAnswer{w: w}, false
	var gone error
	err = s.store.EachAlert(ctx, f.AlertFilter, func(a *decisions.Alert) bool {
		one := *a
		if f.withoutDecisions {
			one.Decisions = nil
		}
		mark := byte(',')
		if !some {
			mark, some = '[', true
		}
		if r.Method != "HEAD" {
			out.buf = append(out.buf, mark)
			gone = out.alert(ctx, &one, now)
		}
		return gone == nil && ctx.Err() == nil
	})
	switch {
	case ctx.Err() != nil && !out.begun:
		busy(w, 5*time.Second) // or nobody hears it
	case ctx.Err() != nil || gone != nil:
		panic(http.ErrAbortHandler)
	case err != nil && out.begun:
		s.log.Error("cannot list alerts to the end", "err", err)
		panic(http.ErrAbortHandler) // so that a part isn't taken for the whole
	case err != nil:
		s.fail(w, r, err)
	case r.Method == "HEAD":
	case !some:
		send(w, http.StatusOK, []byte("null"))
	default:
		out.buf = append(out.buf, ']')
		out.end()
	}
}

// showAlert answers with one alert.
func (s *Server) showAlert(w http.ResponseWriter, r *http.Request, machineID string) {
	ctx, end, err := s.reading(w, r, machineID)
	if err != nil {
		return
	}
	defer end()
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		refuse(w, http.StatusBadRequest, "alert_id must be valid integer")
		return
	}
	a, err := s.store.Alert(ctx, id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		refuse(w, http.StatusNotFound, "object not found")
	case ctx.Err() != nil:
		busy(w, 5*time.Second) // or nobody hears it
	case err != nil:
		s.fail(w, r, err)
	case r.Method != "HEAD":
		out := longAnswer{w: w}
		if out.alert(ctx, &a, s.now()) != nil {
			panic(http.ErrAbortHandler) // so that a part isn't taken for the whole
		}
		out.end()
	}
}

const (
	// readTurns is how many look at alerts at a time: one may have a million decisions, or 50
	// MiB of events. fairReading is how long one may take while others wait.
	readTurns   = 4
	fairReading = 10 * time.Second
)

// reading waits for a turn to look at alerts. ctx ends when the client has gone, or
// is slow while others wait. With an error the answer has been given.
func (s *Server) reading(w http.ResponseWriter, r *http.Request, machineID string) (ctx context.Context, end func(), err error) {
	ctx, cancel := context.WithCancel(r.Context())
	conn := http.NewResponseController(w)
	waiting, stop := context.WithTimeout(ctx, bodyTime)
	defer stop()
	t, err := s.reads.take(waiting, machineID, func() {
		cancel()
		conn.SetWriteDeadline(time.Now())
	})
	if err != nil {
		cancel()
		busy(w, 5*time.Second)
		return nil, nil, err
	}
	return ctx, func() { t.end(); cancel() }, nil
}

// alert adds an alert, piece by piece.
func (o *longAnswer) alert(ctx context.Context, a *decisions.Alert, now time.Time) error {
	const lists = `"decisions":null,"events":null` // what stands before has no texts of others
	const decisionsAtOnce, eventsAtOnce = 64, 8
	rest := *a
	rest.Decisions, rest.Events = nil, nil
	before, after, _ := bytes.Cut(marshal(shown(&rest, now)), []byte(lists))
	o.buf = append(o.buf, before...)
	o.buf = append(o.buf, `"decisions":`...)
	err := addList(ctx, o, a.Decisions, decisionsAtOnce, func(part []decisions.Decision) any {
		return shown(&decisions.Alert{Simulated: a.Simulated, Decisions: part}, now).Decisions
	})
	if err != nil {
		return err
	}
	o.buf = append(o.buf, `,"events":`...)
	err = addList(ctx, o, a.Events, eventsAtOnce, func(part []decisions.Event) any {
		return shown(&decisions.Alert{Events: part}, now).Events
	})
	o.buf = append(o.buf, after...)
	return err
}

// addList adds an array, or null for an empty one, some elements at a time.
func addList[T any](ctx context.Context, o *longAnswer, list []T, atOnce int, shown func([]T) any) error {
	if len(list) == 0 {
		o.buf = append(o.buf, "null"...)
		return nil
	}
	mark := byte('[')
	for part := range slices.Chunk(list, atOnce) {
		text := marshal(shown(part))
		o.buf = append(append(o.buf, mark), text[1:len(text)-1]...)
		mark = ','
		if err := o.flushIfLong(ctx); err != nil {
			return err
		}
	}
	o.buf = append(o.buf, ']')
	return nil
}

// shown is how an alert is told to operators: like it was sent, but for the
// times of its events and what nobody has asked for.
func shown(a *decisions.Alert, now time.Time) api.Alert {
	w := api.FromAlert(a, now)
	w.CreatedAt = a.Created.UTC().Format(time.RFC3339)
	if w.MachineID == "" {
		w.MachineID = "N/A"
	}
	for i := range w.Events {
		if t, err := time.Parse(time.RFC3339Nano, w.Events[i].Timestamp); err == nil {
			w.Events[i].Timestamp = t.String()
		}
	}
	for i := range w.Decisions {
		w.Decisions[i].UUID = ""
		w.Decisions[i].Simulated = a.Simulated
	}
	return w
}

// deleteAlerts deletes the alerts that a query selects.
func (s *Server) deleteAlerts(w http.ResponseWriter, r *http.Request, _ string) {
	if !s.mayDelete(w, r) {
		return
	}
	f, err := parseAlertFilter(r.URL.Query(), s.now(), false)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	var ids []int64
	err = s.store.EachAlert(r.Context(), f.AlertFilter, func(a *decisions.Alert) bool {
		ids = append(ids, a.ID)
		return true
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.answerDeleted(w, r, ids)
}

// deleteAlert deletes one alert.
func (s *Server) deleteAlert(w http.ResponseWriter, r *http.Request, _ string) {
	if !s.mayDelete(w, r) {
		return
	}
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		refuse(w, http.StatusBadRequest, "alert_id must be valid integer")
		return
	}
	if _, err := s.store.Alert(r.Context(), id); errors.Is(err, storage.ErrNotFound) {
		refuse(w, http.StatusInternalServerError, "ent: alert not found")
		return
	} else if err != nil {
		s.fail(w, r, err)
		return
	}
	s.answerDeleted(w, r, []int64{id})
}

func (s *Server) answerDeleted(w http.ResponseWriter, r *http.Request, ids []int64) {
	n, err := s.removeAlerts(r.Context(), ids)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, api.DeletedResponse{Deleted: strconv.Itoa(n)})
}

// mayDelete tells whether alerts may be deleted from where the request comes.
func (s *Server) mayDelete(w http.ResponseWriter, r *http.Request) bool {
	if from := peer(r); !from.IsLoopback() && !within(s.rules.Load().TrustedIPs, from) {
		refuse(w, http.StatusForbidden, fmt.Sprintf("access forbidden from this IP (%s)", from))
		return false
	}
	return true
}

// removeAlerts deletes alerts for good. Their decisions end with them, and
// bouncers are told, which CrowdSec's LAPI does not do.
func (s *Server) removeAlerts(ctx context.Context, ids []int64) (int, error) {
	if len(ids) == 0 {
		return 0, nil
	}
	doomed := make(map[int64]bool, len(ids))
	for _, id := range ids {
		doomed[id] = true
	}
	release, err := s.commits.hold(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	n, err := s.store.DeleteAlerts(ctx, ids)
	if err != nil {
		return 0, err
	}
	s.decisions.EndOfAlerts(doomed, s.now())
	return n, nil
}

const (
	longestEventMeta = 8191 // bytes of JSON, as upstream stores
	longestMetaKey   = 255
	longestMetaValue = 4095
)

// limitMeta bounds the texts of an alert as upstream's columns do, and gives
// events without a time one.
func limitMeta(a *decisions.Alert, now time.Time) {
	for i := range a.Meta {
		a.Meta[i].Key = cut(a.Meta[i].Key, longestMetaKey)
		a.Meta[i].Value = cut(a.Meta[i].Value, longestMetaValue)
	}
	for i := range a.Events {
		e := &a.Events[i]
		if _, err := time.Parse(time.RFC3339Nano, e.Timestamp); err != nil {
			e.Timestamp = now.UTC().Format(time.RFC3339)
		}
		for limit := 2048; metaSize(e.Meta) > longestEventMeta; limit /= 2 {
			if limit < 64 {
				e.Meta = nil
				break
			}
			for j := range e.Meta {
				if len(e.Meta[j].Value) > 2*limit {
					e.Meta[j].Value = cut(e.Meta[j].Value, limit) + "<stripped>"
				}
			}
		}
	}
}

// metaSize is about how long the JSON of a list is.
func metaSize(list []decisions.KeyValue) int {
	n := 2
	for _, kv := range list {
		n += len(`{"key":"","value":""},`) + len(kv.Key) + len(kv.Value)
	}
	return n
}

// cut shortens a text to so many bytes, between two characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

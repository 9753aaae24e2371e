package lapi

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"cs/decisions"
	"cs/platform/order"
	"cs/roles/api"
)

// decisionFilter is what a bouncer asks for (GET /v1/decisions). Keys that nobody
// knows are ignored: bouncers send all sorts of them.
type decisionFilter struct {
	places   []netip.Prefix // from ip= and range=; a decision must fit all
	contains bool
	// Of each of these a decision must have one; nil: any will do.
	scopes, values, kinds, origins []string

	words, not []string // lower case, looked for in the scenario
	simulated  bool
	limit      int // 0: none
	offset     int
	after      int64
}

// parseDecisionFilter reads a query. scopes is what counts when the query
// names none with "scopes"; nil means any.
func parseDecisionFilter(q params, scopes []string) (f decisionFilter, err error) {
	f.contains, f.scopes = true, scopes
	if list := q.Get("scopes"); list != "" {
		f.scopes = normalScopes(list)
	}
	if list := q.Get("scope"); list != "" {
		if q.Get("scopes") == "" && scopes != nil {
			// Upstream adds a lone scope to the default ones and then finds
			// nothing; who names a scope wants that scope.
			f.scopes = nil
		}
		f.scopes = append(slices.Clone(f.scopes), normalScopes(list)...)
	}
	// An empty one is one that no decision has: who could not find out the
	// country of a client must not be told the bans of all countries.
	f.values, f.kinds = q.exact("value"), q.exact("type")
	f.origins = split(q.Get("origins"))
	f.words = split(strings.ToLower(q.Get("scenarios_containing")))
	f.not = split(strings.ToLower(q.Get("scenarios_not_containing")))
	f.simulated = q.Has("simulated") && q.Get("simulated") != "false"
	for _, key := range []string{"ip", "range"} {
		if q.Has(key) {
			v := q.Get(key)
			p, err := decisions.ParsePrefix(v)
			if err != nil {
				return f, fmt.Errorf("unable to convert '%s' to int: invalid ip address '%s': invalid ip address / range", v, v)
			}
			f.places = append(f.places, p)
		}
	}
	if v := q.Get("contains"); v != "" {
		if f.contains, err = strconv.ParseBool(v); err != nil {
			return f, notBool(v, err)
		}
	}
	if f.limit, err = q.count("limit"); err != nil {
		return f, err
	}
	if f.offset, err = q.count("offset"); err != nil {
		return f, err
	}
	if v := q.Get("id_gt"); v != "" {
		if f.after, err = strconv.ParseInt(v, 10, 64); err != nil {
			return f, fmt.Errorf("invalid id_gt value : '%s'", v)
		}
	}
	return f, nil
}

// count returns the number that a key holds, 0 if it isn't there.
func (q params) count(key string) (n int, err error) {
	if v := q.Get(key); v != "" {
		if n, err = strconv.Atoi(v); err != nil || n < 0 {
			return 0, fmt.Errorf("invalid %s value : '%s'", key, v)
		}
	}
	return n, nil
}

// exact returns what a key demands: nil if it isn't there.
func (q params) exact(key string) []string {
	if !q.Has(key) {
		return nil
	}
	return []string{q.Get(key)}
}

// query returns what the log is asked for; limit, offset and after are not in it.
func (f *decisionFilter) query(longest bool) decisions.Query {
	q := decisions.Query{Kind: f.wantsKind, Longest: longest}
	if len(f.values) > 0 || len(f.places) > 0 {
		q.Want = f.wantsValue
	}
	return q
}

// wants tells whether a decision fits, but for limit, offset and after.
func (f *decisionFilter) wants(d *decisions.Decision) bool {
	k := decisions.Kind{Origin: d.Origin, Scenario: d.Scenario, Scope: d.Scope, Type: d.Type, Simulated: d.Simulated}
	return f.wantsKind(&k) && f.wantsValue(d)
}

// wantsKind tells it of what many decisions share.
func (f *decisionFilter) wantsKind(k *decisions.Kind) bool {
	switch {
	case k.Simulated && !f.simulated,
		len(f.scopes) > 0 && !slices.Contains(f.scopes, k.Scope),
		len(f.kinds) > 0 && !slices.Contains(f.kinds, k.Type),
		len(f.origins) > 0 && !slices.Contains(f.origins, k.Origin):
		return false
	case len(f.words) == 0 && len(f.not) == 0:
		return true
	}
	scenario := strings.ToLower(k.Scenario)
	in := func(word string) bool { return strings.Contains(scenario, word) }
	return (len(f.words) == 0 || slices.ContainsFunc(f.words, in)) && !slices.ContainsFunc(f.not, in)
}

// wantsValue tells it of the value.
func (f *decisionFilter) wantsValue(d *decisions.Decision) bool {
	if len(f.values) > 0 && !slices.Contains(f.values, d.Value) {
		return false
	}
	if len(f.places) > 0 {
		held, ok := d.Prefix()
		if !ok {
			return false
		}
		for _, p := range f.places {
			if !inside(p, held, f.contains) {
				return false
			}
		}
	}
	return true
}

// mostFound is how many decisions an index may find. Whoever asks for more is
// answered while all are looked through.
const mostFound = 4096

// find returns the live decisions that fit, by ID, of what an index can answer.
func (s *Server) find(f *decisionFilter, now time.Time) (found []decisions.Decision, indexed bool) {
	collect := func(d *decisions.Decision) bool {
		if d.Active(now) && f.wants(d) {
			found = append(found, *d)
		}
		return len(found) <= mostFound
	}
	switch {
	case len(f.places) > 0:
		s.decisions.View(func(set *decisions.Set) {
			if f.contains {
				set.Covering(f.places[0], collect)
			} else {
				set.Covered(f.places[0], collect)
			}
		})
	case len(f.values) == 1 && len(f.scopes) == 1 && f.scopes[0] != decisions.ScopeIP && f.scopes[0] != decisions.ScopeRange:
		s.decisions.View(func(set *decisions.Set) { set.Named(f.scopes[0], f.values[0], collect) })
	default:
		return nil, false
	}
	if len(found) > mostFound {
		return nil, false
	}
	order.Sort(found, func(a, b decisions.Decision) int { return cmp.Compare(a.ID, b.ID) })
	return found, true
}

// liveDecisions answers a bouncer that asks about one address, or for all.
func (s *Server) liveDecisions(w http.ResponseWriter, r *http.Request, bouncer string) {
	now := s.now()
	f, err := parseDecisionFilter(parseParams(r.URL.RawQuery), nil)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	if r.Method == "HEAD" {
		f.limit = 1 // only whether there is one counts
	} else {
		s.bouncers.asked(bouncer, now)
	}
	out := liveAnswer{longAnswer: longAnswer{w: w}, f: &f}
	if found, indexed := s.find(&f, now); indexed {
		for i := range found {
			if d := &found[i]; out.takes(d.ID, d.Until.Sub(now)) {
				out.buf = api.AppendDecision(out.next(), d, now, false)
			}
			if out.flushIfLong(r.Context()) != nil {
				return // the client has gone
			}
		}
	} else {
		rows := api.Rows{Now: now}
		to := s.decisions.Mark(now).ID
		for at, more := f.after, true; more && !out.full; {
			at, more = s.decisions.New(f.query(false), at, to, now, func(r *decisions.Row) {
				if out.takes(r.ID, r.Until.Sub(now)) {
					out.buf = rows.Append(out.next(), r)
				}
			})
			if out.flushIfLong(r.Context()) != nil {
				return
			}
		}
	}
	if bouncer != "" {
		s.requests.told(bouncer, out.n > 0)
	}
	if r.Method != "HEAD" {
		out.end()
	}
}

// liveAnswer is the array that a bouncer gets, with what its limit and offset select.
type liveAnswer struct {
	longAnswer
	f       *decisionFilter
	n, seen int
	full    bool
}

// takes tells whether a decision comes into the answer.
func (o *liveAnswer) takes(id int64, left time.Duration) bool {
	if o.full || id <= o.f.after || left < time.Second {
		return false
	}
	o.seen++
	return o.seen > o.f.offset
}

// next returns the buffer, with what must stand before another element.
func (o *liveAnswer) next() []byte {
	o.n++
	o.full = o.n == o.f.limit
	if o.n == 1 {
		return append(o.buf, '[')
	}
	return append(o.buf, ',')
}

func (o *liveAnswer) end() {
	if o.n == 0 {
		o.buf = []byte("null") // some bouncers compare the bytes
	} else {
		o.buf = append(o.buf, ']')
	}
	o.longAnswer.end()
}

// deleteDecisions ends the decisions that a query selects, all if it is empty.
// Its keys differ from those of the bouncers, and unknown ones are an error.
func (s *Server) deleteDecisions(w http.ResponseWriter, r *http.Request, machineID string) {
	q, now := r.URL.Query(), s.now()
	f := decisionFilter{contains: true, simulated: true}
	var scenarios, uuids []string
	for key, values := range q {
		v := values[0]
		var err error
		switch key {
		case "contains":
			if f.contains, err = strconv.ParseBool(v); err != nil {
				err = notBool(v, err)
			}
		case "scopes":
			f.scopes = []string{v}
		case "uuid":
			uuids = values
		case "origin":
			f.origins = []string{v}
		case "value":
			f.values = []string{v}
		case "type":
			f.kinds = []string{v}
		case "scenario":
			scenarios = []string{v}
		case "ip", "range":
			var p netip.Prefix
			if p, err = decisions.ParsePrefix(v); err != nil {
				err = fmt.Errorf("unable to convert '%s' to int: invalid ip address '%s': invalid ip address / range", v, v)
			}
			f.places = append(f.places, p)
		default:
			err = fmt.Errorf("'%s' doesn't exist: invalid filter", key)
		}
		if err != nil {
			refuse(w, http.StatusInternalServerError, err.Error())
			return
		}
	}
	var ids []int64
	s.decisions.Advance(now)
	s.decisions.View(func(set *decisions.Set) {
		match := func(d *decisions.Decision) bool {
			if d.Active(now) && f.wants(d) && (len(scenarios) == 0 || slices.Contains(scenarios, d.Scenario)) &&
				(len(uuids) == 0 || slices.Contains(uuids, d.UUID)) {
				ids = append(ids, d.ID)
			}
			return true
		}
		switch {
		case len(f.places) > 0 && f.contains:
			set.Covering(f.places[0], match)
		case len(f.places) > 0:
			set.Covered(f.places[0], match)
		default:
			set.All(match)
		}
	})
	n, err := s.expire(r.Context(), ids)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.log.Info("decisions deleted", "machine", machineID, "decisions", n, "query", q.Encode())
	answer(w, http.StatusOK, api.DeletedResponse{Deleted: strconv.Itoa(n)})
}

// deleteDecision ends one decision.
func (s *Server) deleteDecision(w http.ResponseWriter, r *http.Request, machineID string) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		refuse(w, http.StatusBadRequest, "decision_id must be valid integer")
		return
	}
	n, err := s.expire(r.Context(), []int64{id})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if n == 0 {
		refuse(w, http.StatusInternalServerError, fmt.Sprintf("decision with id '%d' doesn't exist: unable to delete", id))
		return
	}
	s.log.Info("decision deleted", "machine", machineID, "decision", id)
	answer(w, http.StatusOK, api.DeletedResponse{Deleted: strconv.Itoa(n)})
}

func normalScopes(list string) []string {
	out := split(list)
	for i := range out {
		out[i] = decisions.NormalScope(out[i])
	}
	return out
}

func split(list string) []string {
	var out []string
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

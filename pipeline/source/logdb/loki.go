package logdb

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"cs/pipeline/source"
	"cs/platform/order"
)

// Loki makes sources of acquisitions, and of DSNs of the form
// loki://[USER:PASSWORD@]HOST[:PORT]?query=….
var Loki = source.Kind{Open: openLoki, Once: true, Tail: true}

type loki struct{ *database }

func openLoki(spec *source.Spec) (source.Source, error) {
	k := Keys{Prefix: "/", Limit: 100, WaitForReady: 10 * time.Second, MaxFailureDuration: 30 * time.Second}
	if spec.DSN != "" {
		k.Limit, k.MaxFailureDuration = 5000, 5*time.Second
	}
	db, err := open(spec, "loki", k)
	if err != nil {
		return nil, err
	}
	return &loki{db}, nil
}

// Run polls until ctx ends; in mode cat until it has read what there was at its
// start.
func (l *loki) Run(ctx context.Context, out source.Sink) error {
	defer l.http.CloseIdleConnections()
	if err := l.ready(ctx, "ready"); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	now := l.now()
	if l.spec.Once {
		from := now.Add(-l.keys.Since)
		if l.keys.Since == 0 {
			from = now.Add(-time.Hour) // as Loki itself
		}
		l.resume(from)
		l.spec.Started()
		for more := true; more; {
			err := l.patiently(ctx, true, func() (some bool, err error) {
				more, err = l.page(ctx, now, out)
				return more, err
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	l.resume(now.Add(-l.keys.DelayFor))
	l.spec.Started()
	return l.patiently(ctx, false, func() (some bool, err error) {
		for more := true; more && err == nil; some = some || more {
			more, err = l.page(ctx, l.now().Add(-l.keys.DelayFor), out)
		}
		return some, err
	})
}

type entry struct {
	ns   int64
	text string
	hash uint64
}

// page asks for the next lines, up to end, and delivers them. more tells that
// there were as many as were asked for.
func (l *loki) page(ctx context.Context, end time.Time, out source.Sink) (more bool, err error) {
	if end.UnixNano() <= l.at.ns {
		return false, nil
	}
	limit := l.keys.Limit + len(l.at.seen)
	list, err := l.query(ctx, l.at.ns, end.UnixNano(), limit)
	if err != nil {
		return false, err
	}
	more = len(list) >= limit
	b := source.NewBatch(l.spec.Line(l.base.Redacted()), 0, l.spec.Meter)
	next := place{l.at.ns, slices.Clone(l.at.seen)}
	left := slices.Clone(l.at.seen) // that were delivered, and come again
	for _, e := range list {
		if e.ns == l.at.ns {
			if i := slices.Index(left, e.hash); i >= 0 {
				left = slices.Delete(left, i, i+1)
				continue
			}
		}
		if e.ns > next.ns {
			next.ns, next.seen = e.ns, nil
		}
		next.seen = append(slices.Clip(next.seen), e.hash)
		b.Text = append(b.Text, e.text...)
		b.End("", time.Unix(0, e.ns))
		if b.Full() {
			if err := l.deliver(ctx, b, out, next); err != nil {
				return false, err
			}
		}
	}
	if more && len(next.seen) > maxSeen-l.keys.Limit { // so many lines of one time that they can't be told apart
		l.trouble.Report(fmt.Errorf("lines of %s may be lost: more than %d have the same time", l.Name(), len(next.seen)))
		next = place{ns: next.ns + 1}
	}
	if b.Len() == 0 {
		l.at = next
		return more, nil
	}
	return more, l.deliver(ctx, b, out, next)
}

// query returns lines from a time on, before another, the oldest first.
func (l *loki) query(ctx context.Context, from, to int64, limit int) (list []entry, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	body, err := l.ask(ctx, "loki/api/v1/query_range", url.Values{
		"query": {l.keys.Query}, "limit": {strconv.Itoa(limit)}, "direction": {"forward"},
		"start": {strconv.FormatInt(from, 10)}, "end": {strconv.FormatInt(to, 10)},
	})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var reply struct {
		Status string
		Data   struct {
			ResultType string
			Result     []struct {
				Stream map[string]string
				Values [][]json.RawMessage
			}
		}
	}
	if err := json.NewDecoder(io.LimitReader(body, maxReply)).Decode(&reply); err != nil {
		return nil, fmt.Errorf("cannot read the answer: %w", err)
	}
	if t := reply.Data.ResultType; t != "streams" {
		return nil, fmt.Errorf("%w: it gives %q, not lines", errRefused, t)
	}
	for _, r := range reply.Data.Result {
		var labels strings.Builder
		for _, name := range slices.Sorted(maps.Keys(r.Stream)) {
			labels.WriteString(name + "=" + r.Stream[name] + ",")
		}
		for _, v := range r.Values { // time, line, and perhaps more
			var ns, text string
			if len(v) < 2 || json.Unmarshal(v[0], &ns) != nil || json.Unmarshal(v[1], &text) != nil {
				return nil, fmt.Errorf("cannot read the answer: a value is no time and line")
			}
			n, err := strconv.ParseInt(ns, 10, 64)
			if err != nil || n < from {
				return nil, fmt.Errorf("cannot read the answer: %q is no time asked for", ns)
			}
			list = append(list, entry{n, text, hash(labels.String(), text)})
		}
	}
	order.Stable(list, func(a, b entry) int { return cmp.Compare(a.ns, b.ns) })
	return list, nil
}

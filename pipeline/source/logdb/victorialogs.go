package logdb

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"cs/pipeline/source"
)

// VictoriaLogs makes sources of acquisitions, and of DSNs of the form
// victorialogs://[USER:PASSWORD@]HOST[:PORT]?query=….
var VictoriaLogs = source.Kind{Open: openVictoria, Once: true, Tail: true}

type victoria struct{ *database }

func openVictoria(spec *source.Spec) (source.Source, error) {
	k := Keys{Limit: 100, WaitForReady: 10 * time.Second, MaxFailureDuration: 30 * time.Second}
	if spec.DSN != "" {
		k.Limit, k.MaxFailureDuration = maxLimit, 5*time.Second
	}
	db, err := open(spec, "victorialogs", k)
	if err != nil {
		return nil, err
	}
	if spec.Typed("delay_for") {
		return nil, spec.Errorf("delay_for", "VictoriaLogs sends lines when it has them: there is nothing to wait for")
	}
	return &victoria{db}, nil
}

// Run follows the live tail until ctx ends; in mode cat it reads the answer of
// one query.
func (v *victoria) Run(ctx context.Context, out source.Sink) error {
	defer v.http.CloseIdleConnections()
	if err := v.ready(ctx, "health"); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	now := v.now()
	if v.spec.Once {
		v.resume(now.Add(-v.keys.Since))
		v.spec.Started()
		return v.patiently(ctx, true, func() (bool, error) { return v.query(ctx, now, out) })
	}
	v.resume(now)
	v.spec.Started()
	first := v.at.ns == now.UnixNano()
	return v.patiently(ctx, false, func() (some bool, err error) {
		some, err = v.tail(ctx, first, out)
		first = false
		return some, err
	})
}

// query reads what there is, the oldest first.
func (v *victoria) query(ctx context.Context, now time.Time, out source.Sink) (some bool, err error) {
	q := v.keys.Query
	if !strings.Contains(q, "sort") {
		q += " | sort by (_time)" // buckets want the order of events
	}
	values := url.Values{"query": {q}, "end": {now.UTC().Format(time.RFC3339Nano)}, "limit": {strconv.Itoa(v.keys.Limit)}}
	if v.keys.Since > 0 {
		values.Set("start", time.Unix(0, v.at.ns).UTC().Format(time.RFC3339Nano))
	}
	body, err := v.ask(ctx, "select/logsql/query", values)
	if err != nil {
		return false, err
	}
	defer body.Close()
	return v.lines(ctx, body, false, out)
}

// tail follows what comes in, and before that what came since the newest line
// that is known.
func (v *victoria) tail(ctx context.Context, first bool, out source.Sink) (some bool, err error) {
	values := url.Values{"query": {v.keys.Query}}
	if !first {
		back := v.now().Sub(time.Unix(0, v.at.ns)) + time.Second
		values.Set("start_offset", strconv.FormatInt(int64(back/time.Second)+1, 10)+"s")
	}
	body, err := v.ask(ctx, "select/logsql/tail", values)
	if err != nil {
		return false, err
	}
	defer body.Close()
	if some, err = v.lines(ctx, body, !first, out); err == nil {
		err = errors.New("the stream ended")
	}
	return some, err
}

// maxObject bounds a line with all its fields.
const maxObject = 2 * source.MaxLine

// lines delivers a stream of JSON objects, a line each. With known, those that
// were delivered are left out.
func (v *victoria) lines(ctx context.Context, r io.Reader, known bool, out source.Sink) (some bool, err error) {
	b := source.NewBatch(v.spec.Line(v.base.Redacted()), 0, v.spec.Meter)
	from, left := v.at.ns, slices.Clone(v.at.seen)
	next := place{v.at.ns, slices.Clone(v.at.seen)}
	deliver := func() error {
		if b.Len() == 0 {
			return nil
		}
		some = true
		at := next
		at.seen = slices.Clone(next.seen)
		return v.deliver(ctx, b, out, at)
	}
	in := bufio.NewReaderSize(source.BeforeReads(r, deliver), 64<<10)
	var long []byte
	for {
		text, err := in.ReadSlice('\n')
		if len(long) > 0 || err == bufio.ErrBufferFull {
			long = append(long, text[:max(0, min(len(text), maxObject-len(long)))]...)
			text = long
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if len(text) == maxObject {
			v.spec.Meter.Cut.Add(1)
			v.trouble.Report(fmt.Errorf("a line of %s is left out: it has more than %d bytes", v.Name(), maxObject))
		} else if len(bytes.TrimSpace(text)) > 0 && (err == nil || err == io.EOF) {
			var e struct {
				Msg  string `json:"_msg"`
				Time string `json:"_time"`
			}
			if jsonErr := json.Unmarshal(text, &e); jsonErr != nil {
				return some, errors.Join(deliver(), fmt.Errorf("cannot read the answer: %w", jsonErr))
			}
			at, timeErr := time.Parse(time.RFC3339Nano, e.Time)
			if timeErr != nil {
				at = v.now()
			}
			h := hash(string(text))
			ns := at.UnixNano()
			i := slices.Index(left, h)
			switch {
			case known && ns < from:
			case known && ns == from && i >= 0:
				left = slices.Delete(left, i, i+1)
			default:
				if ns > next.ns {
					next.ns, next.seen = ns, nil
				}
				if ns == next.ns && len(next.seen) < maxSeen {
					next.seen = append(next.seen, h)
				}
				b.Text = append(b.Text, e.Msg...)
				b.End("", at)
			}
		}
		long = long[:0]
		if b.Full() || err != nil {
			if err := deliver(); err != nil {
				return some, err
			}
		}
		switch {
		case err == io.EOF:
			return some, nil
		case err != nil:
			return some, err
		}
	}
}

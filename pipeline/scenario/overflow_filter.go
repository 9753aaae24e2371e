package scenario

import (
	"cs/decisions"
	"cs/pipeline/event"
	"cs/pipeline/expr"
)

// overflowEnv has the names of an overflow_filter: queue and leaky as
// conditions have them, and signal. Upstream compiles it with evt, too, and
// runs it without: evt is nil here, so an expression that comes to use it fails,
// and the overflow passes.
func overflowEnv(schema *event.Schema) *expr.Env {
	type evt struct{}
	texts := func(*evt) map[string]string { return nil }
	env := conditionEnv(schema)
	env.Var("signal",
		expr.Field("Mapkey", func(s *signal) string { return (*leaky)(s.bucket).mapkey() }),
		expr.Field("BucketId", func(s *signal) string { return (*leaky)(s.bucket).mapkey() }),
		expr.Field("Whitelisted", func(*signal) bool { return false }), // that is decided later
		expr.Field("Reprocess", func(s *signal) bool { return s.bucket.scenario.reprocess }),
		expr.Field("Sources", func(s *signal) map[string]*decisions.Source {
			sources := map[string]*decisions.Source{}
			for i, k := range s.overflow.Keys {
				sources[k] = &s.overflow.Alerts[i].Source
			}
			return sources
		}),
		expr.Field("Alert", func(s *signal) *decisions.Alert {
			if len(s.overflow.Alerts) == 0 {
				return nil
			}
			return &s.overflow.Alerts[0]
		}),
		expr.Field("APIAlerts", func(s *signal) []*decisions.Alert {
			list := make([]*decisions.Alert, len(s.overflow.Alerts))
			for i := range list {
				list[i] = &s.overflow.Alerts[i]
			}
			return list
		}),
		expr.Method("GetSources", func(s *signal) []string { return s.overflow.Keys }))
	fields := []expr.Member{
		expr.Method("GetType", func(*evt) string { return "" }),
		expr.Method1("GetMeta", func(*evt, string) string { return "" }),
		expr.Field("Whitelisted", func(*evt) bool { return false }),
	}
	for _, space := range []event.Space{event.Parsed, event.Meta, event.Enriched} {
		fields = append(fields, expr.Field(space.String(), texts))
	}
	fields = append(fields, expr.Field(event.Unmarshaled.String(), func(*evt) map[string]any { return nil }))
	for _, name := range []string{"StrTime", "StrTimeFormat", "MarshaledTime", "WhitelistReason", "Stage"} {
		fields = append(fields, expr.Field(name, func(*evt) string { return "" }))
	}
	return env.Var("evt", fields...)
}

// signal is the overflow that a filter is asked about.
type signal struct {
	bucket   *inspected
	overflow *Overflow
}

// passes asks the overflow_filter. If it fails the overflow counts.
func (r *Runner) passes(sc *Scenario, o *Overflow, replay bool) bool {
	r.inspect(sc, nil, replay)
	x := &r.overflowIf
	x.Stash, x.Now = r.Expr.Stash, r.Expr.Now
	x.Vars = append(x.Vars[:0], (*queue)(&r.inspected), (*leaky)(&r.inspected), &signal{&r.inspected, o})
	ok, err := sc.overflowIf.Bool(x)
	if err != nil {
		r.failed(sc, err)
	}
	clear(x.Vars)
	return ok || err != nil
}

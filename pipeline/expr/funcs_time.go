package expr

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

var timeFuncs = map[string]*function{
	"TimeNow": {varying: true, build: func(*unit, []value) value {
		return text(func(x *Ctx) string {
			return x.arena.Built(x.now().UTC().AppendFormat(x.arena.Build(), time.RFC3339))
		})
	}},
	"ParseUnix": {params: []param{aString}, varying: true, build: func(_ *unit, a []value) value {
		f := a[0].str
		return text(func(x *Ctx) string {
			t, ok := unixTime(f(x))
			if !ok {
				return ""
			}
			return x.arena.Built(t.AppendFormat(x.arena.Build(), time.RFC3339))
		})
	}},
	"AverageInterval": interval(func(diffs []time.Duration) time.Duration {
		var sum time.Duration
		for _, d := range diffs {
			sum += d
		}
		return sum / time.Duration(len(diffs))
	}),
	"MedianInterval": interval(func(diffs []time.Duration) time.Duration {
		slices.Sort(diffs)
		k := len(diffs) / 2
		if len(diffs)%2 == 1 {
			return diffs[k]
		}
		return (diffs[k-1] + diffs[k]) / 2
	}),
}

// now is the time of the worker.
func (x *Ctx) now() time.Time {
	if x.Now.IsZero() {
		return time.Now()
	}
	return x.Now
}

// unixTime reads a time in seconds since 1970 (spec: engine §2.6 rule 3): what
// is before the first dot, a positive number.
func unixTime(s string) (time.Time, bool) {
	s, _, _ = strings.Cut(s, ".")
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}, false
	}
	return time.Unix(n, 0), true
}

// interval makes a function of the differences between sorted times.
func interval(sum func([]time.Duration) time.Duration) *function {
	return &function{params: []param{aList}, risky: true, build: func(_ *unit, a []value) value {
		f := a[0].boxed()
		v := integer(func(x *Ctx) int64 {
			l := f(x)
			n := max(0, listLen(l))
			times := make([]time.Time, 0, n)
			for i := range n {
				t, ok := element(l, i).(time.Time)
				if !ok {
					x.fail("an interval is between times, not %s", typeName(element(l, i)))
					return 0
				}
				times = append(times, t)
			}
			if len(times) < 2 {
				x.fail("an interval needs two times, there are %d", len(times))
				return 0
			}
			slices.SortFunc(times, time.Time.Compare)
			diffs := make([]time.Duration, len(times)-1)
			for i := range diffs {
				diffs[i] = times[i+1].Sub(times[i])
			}
			return int64(sum(diffs))
		})
		v.typ.kind = durationKind
		return v
	}}
}

var timeBuiltins = map[string]*function{
	"now": {varying: true, build: func(*unit, []value) value {
		return dynamic(timeType, func(x *Ctx) any { return x.now() })
	}},
	"timezone": {params: []param{aString}, risky: true, build: func(_ *unit, a []value) value {
		f := a[0].str
		return dynamic(zoneType, func(x *Ctx) any {
			zone, err := time.LoadLocation(f(x))
			if err != nil {
				x.fail("cannot use time zone: %w", err)
				return nil
			}
			return zone
		})
	}},
	"duration": {params: []param{aString}, risky: true, build: func(_ *unit, a []value) value {
		f := a[0].str
		v := integer(func(x *Ctx) int64 {
			s := f(x)
			d, err := time.ParseDuration(s)
			if err != nil {
				x.fail("cannot parse duration %q", s)
			}
			return int64(d)
		})
		v.typ.kind = durationKind
		return v
	}},
	"date": {params: []param{aString, aString}, optional: 1, risky: true, build: func(_ *unit, a []value) value {
		f := a[0].str
		layout := func(*Ctx) string { return "" }
		if len(a) > 1 {
			layout = a[1].str
		}
		given := len(a) > 1
		return dynamic(timeType, func(x *Ctx) any {
			s := f(x)
			layouts := dateLayouts
			if given {
				layouts = []string{layout(x)}
			}
			for _, layout := range layouts {
				if t, err := time.Parse(layout, s); err == nil {
					return t
				}
			}
			x.fail("cannot parse date %q", s)
			return time.Time{}
		})
	}},
}

// dateLayouts are what expr-lang's date tries without a layout.
var dateLayouts = []string{"2006-01-02", "15:04:05", "2006-01-02 15:04:05", time.RFC3339, time.RFC822, time.RFC850, time.RFC1123}

// timeMethods are the methods of a time.
var timeMethods = map[string]*function{
	"Hour":       timePart(func(t time.Time) int64 { return int64(t.Hour()) }),
	"Minute":     timePart(func(t time.Time) int64 { return int64(t.Minute()) }),
	"Second":     timePart(func(t time.Time) int64 { return int64(t.Second()) }),
	"Day":        timePart(func(t time.Time) int64 { return int64(t.Day()) }),
	"Year":       timePart(func(t time.Time) int64 { return int64(t.Year()) }),
	"YearDay":    timePart(func(t time.Time) int64 { return int64(t.YearDay()) }),
	"Unix":       timePart(time.Time.Unix),
	"UnixMilli":  timePart(time.Time.UnixMilli),
	"Nanosecond": timePart(func(t time.Time) int64 { return int64(t.Nanosecond()) }),
	"Weekday":    timeName(weekdayType, func(t time.Time) any { return t.Weekday() }),
	"Month":      timeName(monthType, func(t time.Time) any { return t.Month() }),
	"UTC":        timeName(timeType, func(t time.Time) any { return t.UTC() }),
	"Local":      timeName(timeType, func(t time.Time) any { return t.Local() }),
	"In": {params: []param{anything}, risky: true, build: func(_ *unit, a []value) value {
		if a[1].typ.obj != zoneType.obj {
			return refuse("In takes a timezone, not %s", a[1].typ)
		}
		f, g := a[0].any, a[1].any
		return dynamic(timeType, func(x *Ctx) any {
			t, _ := f(x).(time.Time)
			if zone, _ := g(x).(*time.Location); zone != nil {
				t = t.In(zone)
			}
			return t
		})
	}},
	"IsZero": {build: func(_ *unit, a []value) value {
		f := a[0].any
		return boolean(func(x *Ctx) bool { t, _ := f(x).(time.Time); return t.IsZero() })
	}},
	"String": {build: func(_ *unit, a []value) value {
		f := a[0].any
		return text(func(x *Ctx) string { t, _ := f(x).(time.Time); return t.String() })
	}},
	"Format": {params: []param{aString}, build: func(_ *unit, a []value) value {
		f, g := a[0].any, a[1].str
		return text(func(x *Ctx) string {
			t, _ := f(x).(time.Time)
			layout := g(x)
			return x.arena.Built(t.AppendFormat(x.arena.Build(), layout))
		})
	}},
}

var zoneType = typ{kind: objectKind, obj: &object{name: "timezone", members: map[string]Member{
	"String": Method("String", (*time.Location).String),
}}}

// weekdayType and monthType are numbers with a name.
var (
	weekdayType = typ{kind: objectKind, obj: &object{name: "weekday", members: map[string]Member{
		"String": Method("String", time.Weekday.String),
	}}}
	monthType = typ{kind: objectKind, obj: &object{name: "month", members: map[string]Member{
		"String": Method("String", time.Month.String),
	}}}
)

func timePart(part func(time.Time) int64) *function {
	return &function{build: func(_ *unit, a []value) value {
		f := a[0].any
		return integer(func(x *Ctx) int64 { t, _ := f(x).(time.Time); return part(t) })
	}}
}

func timeName(t typ, part func(time.Time) any) *function {
	return &function{build: func(_ *unit, a []value) value {
		f := a[0].any
		return dynamic(t, func(x *Ctx) any { t, _ := f(x).(time.Time); return part(t) })
	}}
}

package expr

import (
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

func timeFuncs() map[string]*function {
	return map[string]*function{
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

// byTime sorts times without a copy of slices' sort for them, and without memory.
type byTime []time.Time

func (t *byTime) Len() int           { return len(*t) }
func (t *byTime) Less(i, j int) bool { return (*t)[i].Before((*t)[j]) }
func (t *byTime) Swap(i, j int)      { (*t)[i], (*t)[j] = (*t)[j], (*t)[i] }

// interval makes a function of the differences between sorted times.
func interval(sum func([]time.Duration) time.Duration) *function {
	return &function{params: []param{aList}, risky: true, build: func(_ *unit, a []value) value {
		between := a[0].times
		if between == nil {
			f := a[0].boxed()
			between = func(x *Ctx) []time.Time { return x.timesIn(f(x)) }
		}
		v := integer(func(x *Ctx) int64 {
			times := between(x)
			if len(times) < 2 {
				if !x.failed() {
					x.fail("an interval needs two times, there are %d", len(times))
				}
				return 0
			}
			x.sorted = times
			sort.Sort(&x.sorted)
			x.sorted = nil
			diffs := slices.Grow(x.diffs[:0], len(times))
			for i := range len(times) - 1 {
				diffs = append(diffs, times[i+1].Sub(times[i]))
			}
			if cap(diffs) <= maxStrs {
				x.diffs = diffs
			}
			return int64(sum(diffs))
		})
		v.typ.kind = durationKind
		return v
	}}
}

// timesIn returns the times in a list, which must hold nothing else.
func (x *Ctx) timesIn(list any) []time.Time {
	times := x.moments(max(0, listLen(list)))
	for i := range times {
		t, ok := element(list, i).(time.Time)
		if !ok {
			x.fail("an interval is between times, not %s", typeName(element(list, i)))
			return nil
		}
		times[i] = t
	}
	return times
}

// moment makes the value of a time.
func moment(f func(*Ctx) time.Time) value {
	v := dynamic(timeType, func(x *Ctx) any { return f(x) })
	v.time = f
	return v
}

func timeBuiltins() map[string]*function {
	return map[string]*function{
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
	"UnixMicro":  timePart(time.Time.UnixMicro),
	"UnixNano":   timePart(time.Time.UnixNano),
	"Nanosecond": timePart(func(t time.Time) int64 { return int64(t.Nanosecond()) }),
	"Weekday":    timePart(func(t time.Time) int64 { return int64(t.Weekday()) }).giving(weekdayType),
	"Month":      timePart(func(t time.Time) int64 { return int64(t.Month()) }).giving(monthType),
	"UTC":        timeFrom(time.Time.UTC),
	"Local":      timeFrom(time.Time.Local),
	"Location": {build: func(_ *unit, a []value) value {
		f := a[0].any
		return dynamic(zoneType, func(x *Ctx) any { t, _ := f(x).(time.Time); return t.Location() })
	}},
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
	"IsZero": timeTest(time.Time.IsZero),
	"IsDST":  timeTest(time.Time.IsDST),
	"After":  timeOrder(time.Time.After),
	"Before": timeOrder(time.Time.Before),
	"Equal":  timeOrder(time.Time.Equal),
	"Compare": {params: []param{aTime}, build: func(_ *unit, a []value) value {
		f, g := a[0].asTime(), a[1].asTime()
		return integer(func(x *Ctx) int64 { t := f(x); return int64(t.Compare(g(x))) })
	}},
	"Sub": {params: []param{aTime}, build: func(_ *unit, a []value) value {
		f, g := a[0].asTime(), a[1].asTime()
		return lasting(func(x *Ctx) int64 { t := f(x); return int64(t.Sub(g(x))) })
	}},
	"Add":      timeMoved(time.Time.Add),
	"Round":    timeMoved(time.Time.Round),
	"Truncate": timeMoved(time.Time.Truncate),
	"AddDate": {params: []param{anInt, anInt, anInt}, build: func(_ *unit, a []value) value {
		f, years, months, days := a[0].any, a[1].int, a[2].int, a[3].int
		return dynamic(timeType, func(x *Ctx) any {
			t, _ := f(x).(time.Time)
			return t.AddDate(int(years(x)), int(months(x)), int(days(x)))
		})
	}},
	"String": {build: func(_ *unit, a []value) value {
		f := a[0].any
		return text(func(x *Ctx) string { t, _ := f(x).(time.Time); return t.String() })
	}},
	"Format": {params: []param{aString}, build: func(_ *unit, a []value) value {
		f, g := a[0].asTime(), a[1].str
		return text(func(x *Ctx) string {
			t := f(x)
			layout := g(x)
			return x.arena.Built(t.AppendFormat(x.arena.Build(), layout))
		})
	}},
}

// durationMethods are the methods of a duration.
var durationMethods = map[string]*function{
	"Hours":        durationNumber(time.Duration.Hours),
	"Minutes":      durationNumber(time.Duration.Minutes),
	"Seconds":      durationNumber(time.Duration.Seconds),
	"Milliseconds": durationCount(time.Duration.Milliseconds),
	"Microseconds": durationCount(time.Duration.Microseconds),
	"Nanoseconds":  durationCount(time.Duration.Nanoseconds),
	"Round":        durationBy(time.Duration.Round),
	"Truncate":     durationBy(time.Duration.Truncate),
	"Abs": {build: func(_ *unit, a []value) value {
		f := a[0].int
		return lasting(func(x *Ctx) int64 { return int64(time.Duration(f(x)).Abs()) })
	}},
	"String": {build: func(_ *unit, a []value) value {
		f := a[0].int
		return text(func(x *Ctx) string { return time.Duration(f(x)).String() })
	}},
}

func durationNumber(of func(time.Duration) float64) *function {
	return &function{build: func(_ *unit, a []value) value {
		f := a[0].int
		return number(func(x *Ctx) float64 { return of(time.Duration(f(x))) })
	}}
}

func durationCount(of func(time.Duration) int64) *function {
	return &function{build: func(_ *unit, a []value) value {
		f := a[0].int
		return integer(func(x *Ctx) int64 { return of(time.Duration(f(x))) })
	}}
}

func durationBy(of func(d, by time.Duration) time.Duration) *function {
	return &function{params: []param{aDuration}, build: func(_ *unit, a []value) value {
		f, g := a[0].int, a[1].int
		return lasting(func(x *Ctx) int64 { d := f(x); return int64(of(time.Duration(d), time.Duration(g(x)))) })
	}}
}

// lasting makes the value of a number of nanoseconds.
func lasting(f func(*Ctx) int64) value {
	v := integer(f)
	v.typ.kind = durationKind
	return v
}

var zoneType = typ{kind: objectKind, obj: &object{name: "timezone", members: map[string]Member{
	"String": Method("String", (*time.Location).String),
}}}

// weekdayType and monthType are numbers with a name.
var (
	weekdayType = typ{kind: intKind, obj: &object{name: "weekday", goType: reflect.TypeFor[time.Weekday](), members: map[string]Member{
		"String": Method("String", time.Weekday.String),
	}}}
	monthType = typ{kind: intKind, obj: &object{name: "month", goType: reflect.TypeFor[time.Month](), members: map[string]Member{
		"String": Method("String", time.Month.String),
	}}}
)

func timeTest(test func(time.Time) bool) *function {
	return &function{build: func(_ *unit, a []value) value {
		f := a[0].asTime()
		return boolean(func(x *Ctx) bool { return test(f(x)) })
	}}
}

func timeOrder(test func(t, u time.Time) bool) *function {
	return &function{params: []param{aTime}, build: func(_ *unit, a []value) value {
		f, g := a[0].asTime(), a[1].asTime()
		return boolean(func(x *Ctx) bool { t := f(x); return test(t, g(x)) })
	}}
}

func timeMoved(move func(time.Time, time.Duration) time.Time) *function {
	return &function{params: []param{aDuration}, build: func(_ *unit, a []value) value {
		f, g := a[0].asTime(), a[1].int
		return moment(func(x *Ctx) time.Time {
			t := f(x)
			return move(t, time.Duration(g(x)))
		})
	}}
}

func timeFrom(do func(time.Time) time.Time) *function {
	return &function{build: func(_ *unit, a []value) value {
		f := a[0].asTime()
		return moment(func(x *Ctx) time.Time { return do(f(x)) })
	}}
}

func timePart(part func(time.Time) int64) *function {
	return &function{build: func(_ *unit, a []value) value {
		f := a[0].asTime()
		return integer(func(x *Ctx) int64 { return part(f(x)) })
	}}
}

// giving makes the integer that a function gives one with a name.
func (f *function) giving(t typ) *function {
	build := f.build
	f.build = func(u *unit, a []value) value {
		v := build(u, a)
		v.typ = t
		return v
	}
	return f
}

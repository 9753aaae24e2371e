package expr

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

func numberFuncs() map[string]*function {
	return map[string]*function{
		"Atof": {params: []param{aString}, build: func(_ *unit, a []value) value {
			f := a[0].str
			return number(func(x *Ctx) float64 {
				n, err := strconv.ParseFloat(f(x), 64)
				if err != nil {
					return 0
				}
				return n
			})
		}},
		"FloatApproxEqual": {params: []param{aFloat, aFloat}, build: func(_ *unit, a []value) value {
			f, g := a[0].float, a[1].float
			return boolean(func(x *Ctx) bool { n := f(x); return math.Abs(n-g(x)) < 1e-6 })
		}},
		"Distance": {params: []param{aString, aString, aString, aString}, risky: true, build: func(_ *unit, a []value) value {
			return number(func(x *Ctx) float64 {
				var deg [4]float64
				for i := range deg {
					s := a[i].str(x)
					if s == "" { // without a database there are no places
						if !x.failed() {
							x.err = errNoPlace
						}
						return 0
					}
					n, err := strconv.ParseFloat(s, 64)
					if err != nil {
						x.fail("cannot parse coordinate %q", s)
						return 0
					}
					deg[i] = n
				}
				return distanceKm(deg[0], deg[1], deg[2], deg[3])
			})
		}},
	}
}

const errNoPlace = constError(`cannot parse coordinate ""`)

// distanceKm is the great-circle distance in km (haversine, radius 6371). A
// point at exactly 0,0 stands for an unknown place and is near everything.
func distanceKm(lat1, lon1, lat2, lon2 float64) float64 {
	if lat1 == 0 && lon1 == 0 || lat2 == 0 && lon2 == 0 {
		return 0
	}
	const rad = math.Pi / 180
	sinLat, sinLon := math.Sin((lat2-lat1)*rad/2), math.Sin((lon2-lon1)*rad/2)
	h := sinLat*sinLat + math.Cos(lat1*rad)*math.Cos(lat2*rad)*sinLon*sinLon
	return 2 * 6371 * math.Asin(math.Min(1, math.Sqrt(h)))
}

// convertBuiltins turn values into others.
func convertBuiltins() map[string]*function {
	return map[string]*function{
		"int": {params: []param{anything}, build: func(_ *unit, a []value) value {
			switch a[0].typ.kind {
			case intKind:
				return a[0]
			case floatKind:
				f := a[0].float
				return integer(func(x *Ctx) int64 { return cut(f(x)) })
			case stringKind:
				f := a[0].str
				return integer(func(x *Ctx) int64 { return x.parseInt(f(x)) }).asRisky()
			case durationKind:
				return integer(a[0].int)
			case anyKind:
				f := a[0].any
				return integer(func(x *Ctx) int64 {
					a := f(x)
					switch a := a.(type) {
					case string:
						return x.parseInt(a)
					case time.Duration:
						return int64(a)
					}
					n, ok := toInt(a)
					if !ok {
						x.fail("invalid operation: int(%s)", typeName(a))
					}
					return n
				}).asRisky()
			}
			return refuse("an argument of int must be a string or a number, this is %s", a[0].typ)
		}},
		"float": {params: []param{anything}, build: func(_ *unit, a []value) value {
			switch a[0].typ.kind {
			case floatKind:
				return a[0]
			case intKind:
				f := a[0].int
				return number(func(x *Ctx) float64 { return float64(f(x)) })
			case stringKind:
				f := a[0].str
				return number(func(x *Ctx) float64 { return x.parseFloat(f(x)) }).asRisky()
			case anyKind:
				f := a[0].any
				return number(func(x *Ctx) float64 {
					a := f(x)
					if s, ok := a.(string); ok {
						return x.parseFloat(s)
					}
					n, ok := toFloat(a)
					if !ok {
						x.fail("invalid operation: float(%s)", typeName(a))
					}
					return n
				}).asRisky()
			}
			return refuse("an argument of float must be a string or a number, this is %s", a[0].typ)
		}},
		"string": {params: []param{anything}, build: func(_ *unit, a []value) value {
			switch a[0].typ.kind {
			case stringKind:
				return a[0]
			case intKind:
				if a[0].typ.obj != nil {
					break // a weekday has its name
				}
				f := a[0].int
				return text(func(x *Ctx) string {
					i := f(x)
					return x.arena.Built(strconv.AppendInt(x.arena.Build(), i, 10))
				})
			}
			f := a[0].boxed()
			return text(func(x *Ctx) string {
				a := f(x)
				if s, ok := a.(string); ok {
					return s
				}
				return x.arena.Built(fmt.Append(x.arena.Build(), a))
			})
		}},
		"type": {params: []param{anything}, build: func(_ *unit, a []value) value {
			f := a[0].boxed()
			return text(func(x *Ctx) string { return exprType(f(x)) })
		}},
	}
}

func (x *Ctx) parseInt(s string) int64 {
	if s == "" && !x.failed() { // a field that the event lacks
		x.err = constError(`invalid operation: int("")`)
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		x.fail("invalid operation: int(%q)", s)
	}
	return n
}

func (x *Ctx) parseFloat(s string) float64 {
	if s == "" && !x.failed() {
		x.err = constError(`invalid operation: float("")`)
		return 0
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		x.fail("invalid operation: float(%q)", s)
	}
	return n
}

// rounding makes ceil, floor and round, which give floats.
func rounding(round func(float64) float64) *function {
	return &function{params: []param{aFloat}, build: func(_ *unit, a []value) value {
		f := a[0].float
		return number(func(x *Ctx) float64 { return round(f(x)) })
	}}
}

// bitwise makes a function of two integers.
func bitwise(name string, do func(a, b int64) int64) *function {
	shift := name == "bitshl" || name == "bitshr" || name == "bitushr"
	return &function{params: []param{anInt, anInt}, risky: shift, build: func(_ *unit, a []value) value {
		f, g := a[0].int, a[1].int
		return integer(func(x *Ctx) int64 {
			i := f(x)
			j := g(x)
			if shift && j < 0 {
				x.fail("negative shift count %d", j)
				return 0
			}
			return do(i, j)
		})
	}}
}

func mathBuiltins() map[string]*function {
	return map[string]*function{
		"abs": {params: []param{anything}, build: func(_ *unit, a []value) value {
			switch a[0].typ.kind {
			case intKind:
				f := a[0].int
				return integer(func(x *Ctx) int64 {
					if i := f(x); i < 0 {
						return -i
					} else {
						return i
					}
				})
			case floatKind:
				f := a[0].float
				return number(func(x *Ctx) float64 {
					if n := f(x); n < 0 {
						return -n
					} else {
						return n
					}
				})
			case anyKind:
				f := a[0].any
				return dynamic(typ{}, func(x *Ctx) any {
					a := f(x)
					n, ok := toFloat(a)
					switch {
					case !ok:
						x.fail("invalid argument for abs: %s", typeName(a))
						return nil
					case n >= 0:
						return a
					}
					n2, _ := calculate("*", a, -1)
					return n2
				}).asRisky()
			}
			return refuse("an argument of abs must be a number, this is %s", a[0].typ)
		}},
		"ceil":    rounding(math.Ceil),
		"floor":   rounding(math.Floor),
		"round":   rounding(math.Round),
		"bitand":  bitwise("bitand", func(a, b int64) int64 { return a & b }),
		"bitor":   bitwise("bitor", func(a, b int64) int64 { return a | b }),
		"bitxor":  bitwise("bitxor", func(a, b int64) int64 { return a ^ b }),
		"bitnand": bitwise("bitnand", func(a, b int64) int64 { return a &^ b }),
		"bitshl":  bitwise("bitshl", func(a, b int64) int64 { return a << uint64(b) }),
		"bitshr":  bitwise("bitshr", func(a, b int64) int64 { return a >> uint64(b) }),
		"bitushr": bitwise("bitushr", func(a, b int64) int64 { return int64(uint64(a) >> uint64(b)) }),
		"bitnot": {params: []param{anInt}, build: func(_ *unit, a []value) value {
			f := a[0].int
			return integer(func(x *Ctx) int64 { return ^f(x) })
		}},
		"max": extreme(1),
		"min": extreme(-1),
		"mean": average(func(ns []float64) float64 {
			sum := 0.0
			for _, n := range ns {
				sum += n
			}
			return sum / float64(len(ns))
		}),
		"median": average(func(ns []float64) float64 {
			if k := len(ns) / 2; len(ns)%2 == 1 {
				return ns[k]
			} else {
				return (ns[k-1] + ns[k]) / 2
			}
		}),
	}
}

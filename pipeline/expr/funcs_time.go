package expr

import "time"

// timeMethods are the methods of a time that content calls.
var timeMethods = map[string]func(func(*Ctx) any) value{
	"Hour":    func(f func(*Ctx) any) value { return timePart(f, func(t time.Time) int { return t.Hour() }) },
	"Minute":  func(f func(*Ctx) any) value { return timePart(f, func(t time.Time) int { return t.Minute() }) },
	"Weekday": func(f func(*Ctx) any) value { return timePart(f, func(t time.Time) int { return int(t.Weekday()) }) },
}

func timePart(f func(*Ctx) any, part func(time.Time) int) value {
	return integer(func(x *Ctx) int64 {
		t, _ := f(x).(time.Time)
		return int64(part(t))
	})
}

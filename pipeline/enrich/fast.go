package enrich

import "time"

// fast parses the usual forms of a date. It accepts only what the layouts
// give the same date for (FuzzFastEqualsSlow): whatever looks odd is left to
// them.
func fast(s string, now time.Time) (Date, bool) {
	switch {
	case len(s) < 15:
		return Date{}, false
	case len(s) == 26 && s[2] == '/':
		return clf(s)
	case s[4] == '-' && len(s) > 19 && s[10] == 'T':
		return rfc3339(s)
	case len(s) == 15 && s[3] == ' ':
		return bsd(s, now)
	case len(s) == 19 && (s[4] == '-' || s[4] == '/') && s[7] == s[4] && (s[10] == ' ' || s[10] == 'T' && s[4] == '-'):
		return plain(s)
	}
	return Date{}, false
}

// clf parses 02/Jan/2006:15:04:05 -0700.
func clf(s string) (Date, bool) {
	if s[2] != '/' || s[6] != '/' || s[11] != ':' || s[20] != ' ' {
		return Date{}, false
	}
	d, err := civil(four(s[7:]), month(s[3:6]), two(s), s[12:20])
	off, ok := offset(s[21], two(s[22:]), two(s[24:]))
	if err || !ok {
		return Date{}, false
	}
	return at(d, off), true
}

// rfc3339 parses 2006-01-02T15:04:05[.999999999](Z|±07:00).
func rfc3339(s string) (Date, bool) {
	if len(s) < 20 || s[4] != '-' || s[7] != '-' || s[10] != 'T' {
		return Date{}, false
	}
	d, err := civil(four(s), two(s[5:]), two(s[8:]), s[11:19])
	if err {
		return Date{}, false
	}
	s = s[19:]
	if s[0] == '.' {
		ns, n := 0, 1
		for scale := 100_000_000; n < len(s) && s[n]-'0' <= 9; n++ {
			ns += int(s[n]-'0') * scale
			scale /= 10
		}
		if n == 1 || n > 10 || n == len(s) {
			return Date{}, false
		}
		d = d.Add(time.Duration(ns))
		s = s[n:]
	}
	if s == "Z" {
		return at(d, 0), true
	}
	if len(s) != 6 || s[3] != ':' {
		return Date{}, false
	}
	off, ok := offset(s[0], two(s[1:]), two(s[4:]))
	if !ok {
		return Date{}, false
	}
	return at(d, off), true
}

// bsd parses Jan _2 15:04:05, in the current year.
func bsd(s string, now time.Time) (Date, bool) {
	day := two(s[4:])
	if s[4] == ' ' && s[5]-'0' <= 9 {
		day = int(s[5] - '0')
	}
	m := month(s[:3])
	if s[6] != ' ' || m == 2 && day == 29 {
		return Date{}, false
	}
	d, err := civil(now.UTC().Year(), m, day, s[7:])
	if err {
		return Date{}, false
	}
	return at(d, 0), true
}

// plain parses 2006-01-02 15:04:05, also with a T or with slashes.
func plain(s string) (Date, bool) {
	d, err := civil(four(s), two(s[5:]), two(s[8:]), s[11:])
	if err {
		return Date{}, false
	}
	return at(d, 0), true
}

func at(local time.Time, offset int) Date {
	return Date{local.Add(-time.Duration(offset) * time.Second), offset}
}

// civil builds a time in UTC; clock is 15:04:05. bad tells that the numbers
// are no such thing, or that they are in a year which the layouts treat in
// their own way.
func civil(year, month, day int, clock string) (t time.Time, bad bool) {
	hour, minute, second := two(clock), two(clock[3:]), two(clock[6:])
	if clock[2] != ':' || clock[5] != ':' || hour > 23 || minute > 59 || second > 59 ||
		year < 1000 || year > 9998 || month < 1 || month > 12 || day < 1 || day > 31 {
		return t, true
	}
	t = time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	return t, day > 28 && t.Day() != day
}

func offset(sign byte, hours, minutes int) (seconds int, ok bool) {
	seconds = hours*3600 + minutes*60
	if sign == '-' {
		seconds = -seconds
	} else if sign != '+' {
		return 0, false
	}
	return seconds, hours <= 23 && minutes <= 59
}

// bad is more than any number of a date; sums with it stay so.
const bad = 1 << 20

func two(s string) int {
	a, b := s[0]-'0', s[1]-'0'
	if a > 9 || b > 9 {
		return bad
	}
	return int(a)*10 + int(b)
}

func four(s string) int { return two(s)*100 + two(s[2:]) }

func month(s string) int {
	switch s {
	case "Jan":
		return 1
	case "Feb":
		return 2
	case "Mar":
		return 3
	case "Apr":
		return 4
	case "May":
		return 5
	case "Jun":
		return 6
	case "Jul":
		return 7
	case "Aug":
		return 8
	case "Sep":
		return 9
	case "Oct":
		return 10
	case "Nov":
		return 11
	case "Dec":
		return 12
	}
	return bad
}

package enrich

import "time"

// recent remembers a date in a common form: that of most lines differs from the
// one before in its seconds only, or not at all.
type recent struct {
	text     [maxRecent]byte
	n        int // bytes of text; 0: there is none
	clock    int // where the seconds stand in text
	yearless bool
	year     int  // of the clock, if the text has none
	minute   Date // the date with 00 seconds

	made  [maxRecent]byte // what AppendText makes of of
	nmade int             // bytes of it; 0: nothing
	of    Date
}

// maxRecent is the length of the longest date that is remembered: 2006-01-02T15:04:05.999999999+07:00.
const maxRecent = 35

// parse is the function fast.
func (r *recent) parse(s string, now time.Time) (Date, bool) {
	if n := r.n; n > 0 && n == len(s) && string(r.text[:r.clock]) == s[:r.clock] && string(r.text[r.clock+2:n]) == s[r.clock+2:] &&
		(!r.yearless || r.year == now.UTC().Year()) {
		if sec := two(s[r.clock:]); sec <= 59 {
			d := r.minute
			d.Time = d.Time.Add(time.Duration(sec) * time.Second)
			return d, true
		}
	}
	d, ok := fast(s, now)
	if !ok || len(s) > maxRecent {
		return d, ok
	}
	r.n, r.yearless = copy(r.text[:], s), len(s) == 15
	switch {
	case r.yearless: // Jan _2 15:04:05
		r.clock, r.year = 13, now.UTC().Year()
	case s[2] == '/': // 02/Jan/2006:15:04:05 -0700
		r.clock = 18
	default: // 2006-01-02T15:04:05…
		r.clock = 17
	}
	r.minute = d
	r.minute.Time = d.Time.Add(-time.Duration(two(s[r.clock:])) * time.Second)
	return d, true
}

// append is AppendText.
func (r *recent) append(b []byte, d Date) []byte {
	const seconds = len("2006-01-02T15:04:")
	if r.nmade > 0 && d.Offset == r.of.Offset {
		if sec := int64(r.of.Time.Second()) + int64(d.Time.Sub(r.of.Time)/time.Second); sec >= 0 && sec <= 59 && d.Time.Nanosecond() == 0 {
			b = append(b, r.made[:seconds]...)
			b = digits(b, int(sec))
			return append(b, r.made[seconds+2:r.nmade]...)
		}
	}
	n := len(b)
	b = d.AppendText(b)
	r.nmade = 0
	if made := b[n:]; len(made) <= maxRecent && d.Time.Nanosecond() == 0 && d.Offset%60 == 0 {
		r.nmade, r.of = copy(r.made[:], made), d
	}
	return b
}

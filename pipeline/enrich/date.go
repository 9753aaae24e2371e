// Package enrich completes events with what is not in the log line itself: the
// date in one form, and what GeoIP databases and name servers know about an
// address. pipeline/node calls it for statics with a method, pipeline/scenario
// for the time of a replayed event, and expressions through expr.Lookups.
package enrich

import (
	"strconv"
	"strings"
	"time"

	"cs/pipeline/event"
)

// layouts are those that CrowdSec tries, in its order: the first one that fits
// wins.
var layouts = [...]string{
	time.RFC3339,
	"02/Jan/2006:15:04:05 -0700",
	"Mon Jan 2 15:04:05 2006",
	"02-Jan-2006 15:04:05 europe/paris",
	"01/02/2006 15:04:05",
	"2006-01-02 15:04:05.999999999 -0700 MST",
	"Jan  2 15:04:05",
	"Mon Jan 02 15:04:05.000000 2006",
	"2006-01-02T15:04:05Z07:00",
	"2006/01/02",
	"2006/01/02 15:04",
	"2006-01-02",
	"2006-01-02 15:04",
	"2006/01/02 15:04:05",
	"2006-01-02 15:04:05",
	"2006-01-02T15:04:05",
}

// Date is a point in time as a log wrote it.
type Date struct {
	Time   time.Time // UTC
	Offset int       // of the log's zone, in seconds east of UTC
}

// AppendText appends the date as RFC 3339 with as many decimals as needed and
// the log's own offset: 2021-09-29T14:11:34+02:00.
func (d Date) AppendText(b []byte) []byte {
	t := d.Time.Add(time.Duration(d.Offset) * time.Second)
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = digits(b, year/100)
	b = digits(b, year%100)
	b = digits(append(b, '-'), int(month))
	b = digits(append(b, '-'), day)
	b = digits(append(b, 'T'), hour)
	b = digits(append(b, ':'), minute)
	b = digits(append(b, ':'), second)
	if ns := t.Nanosecond(); ns != 0 {
		b = append(b, '.', '0'+byte(ns/1e8))
		for _, pair := range [...]int{ns / 1e6, ns / 1e4, ns / 1e2, ns} {
			b = digits(b, pair%100)
		}
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	if d.Offset == 0 {
		return append(b, 'Z')
	}
	sign, min := byte('+'), d.Offset/60
	if min < 0 {
		sign, min = '-', -min
	}
	b = digits(append(b, sign), min/60)
	return digits(append(b, ':'), min%60)
}

// digits appends two digits.
func digits(b []byte, n int) []byte { return append(b, '0'+byte(n/10), '0'+byte(n%10)) }

// Dates parses dates for one worker. The zero value is ready. Common forms
// cost no allocation; the others go through time.Parse, once for all
// consecutive lines with the same date.
type Dates struct {
	// The last date that was not a common one.
	text, layout string
	year         int
	date         Date
	ok           bool

	recent recent
	zone   Zone
}

// Parse parses text by the layout that content gave, if it is not "", and then
// by the known ones; the first that gives a non-zero time wins, and Unix
// seconds come last. A date without a year is in the current year (UTC) of
// now. ok is false when nothing fits, as for a text that is longer than any date.
func (ds *Dates) Parse(text, layout string, now time.Time) (d Date, ok bool) {
	if layout == "" {
		if d, ok := ds.recent.parse(text, now); ok {
			return d, true
		}
	}
	if text == "" || len(text) > maxDate {
		return Date{}, false
	}
	year := now.UTC().Year()
	if ds.text != text || ds.layout != layout || ds.year != year {
		ds.text, ds.layout, ds.year = strings.Clone(text), strings.Clone(layout), year
		ds.date, ds.ok = slow(text, layout, year)
	}
	return ds.date, ds.ok
}

// In returns the time of a date in the zone of the log.
func (ds *Dates) In(d Date) time.Time { return ds.zone.Of(d.Time, d.Offset) }

// Zone makes times of zones that are given by their offset, and remembers the last
// one: to make one may cost an allocation. The zero value is ready.
type Zone struct {
	offset int
	loc    *time.Location
}

// Of returns a time in the zone that is an offset east of UTC, in seconds.
func (z *Zone) Of(t time.Time, offset int) time.Time {
	if offset == 0 {
		return t.UTC()
	}
	if z.loc == nil || z.offset != offset {
		z.offset, z.loc = offset, time.FixedZone("", offset)
	}
	return t.In(z.loc)
}

// Append appends the text of a date that Parse returned.
func (ds *Dates) Append(b []byte, d Date) []byte { return ds.recent.append(b, d) }

// maxDate bounds the text of a date, in bytes. Each layout that fails copies the
// text for its error.
const maxDate = 256

// slow is the specification of Parse.
func slow(text, layout string, year int) (Date, bool) {
	if layout != "" {
		if d, ok := parse(layout, text, year); ok {
			return d, true
		}
	}
	for _, l := range layouts {
		if d, ok := parse(l, text, year); ok {
			return d, true
		}
	}
	return unix(text)
}

func parse(layout, text string, year int) (Date, bool) {
	t, err := time.Parse(layout, text)
	if err != nil || t.IsZero() {
		return Date{}, false
	}
	if t.Year() == 0 {
		t = t.AddDate(year, 0, 0)
	}
	if _, err := t.MarshalText(); err != nil {
		return Date{}, false // RFC 3339 has no such year or offset
	}
	_, offset := t.Zone()
	return Date{t.UTC(), offset}, true
}

// unix reads seconds since 1970, maybe with decimals, which are dropped.
func unix(text string) (Date, bool) {
	whole, _, _ := strings.Cut(text, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || sec <= 0 || sec > 253402300799 { // the year 9999
		return Date{}, false
	}
	t := time.Unix(sec, 0)
	_, offset := t.Zone()
	return Date{t.UTC(), offset}, true
}

// Written returns when the line of a CatchUp event was written: the time found in it,
// or the latest that it can have been, if there is none, or one that is later.
// Then it is of another time zone.
func Written(e *event.Event) time.Time {
	if t, ok := RFC3339(e.MarshaledTime); ok && t.Before(e.Line.Time) {
		return t
	}
	return e.Line.Time
}

// RFC3339 parses the text of a date as AppendText wrote it, or any other
// RFC 3339 date.
func RFC3339(text string) (time.Time, bool) {
	if d, ok := rfc3339(text); ok {
		return d.Time, true
	}
	t, err := time.Parse(time.RFC3339, text)
	return t.UTC(), err == nil
}

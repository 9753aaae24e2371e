package source

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"cs/pipeline/event"
	"cs/platform/strict"
)

// Kind is what acquisition files and DSNs call by a name. The package of
// each source has one.
type Kind struct {
	// Open makes a source of its keys, and touches nothing else: what can't be had on
	// this system is an error of Run that wraps errors.ErrUnsupported.
	Open func(*Spec) (Source, error)
	// Once says that what it reads has an end, in mode cat and as a DSN; Tail
	// that it can be followed. Ends says that it comes to an end in any mode.
	Once, Tail, Ends bool
	// Replay says that in mode cat the clock of buckets is that of the lines,
	// without being asked for with use_time_machine. Upstream does so for some.
	Replay bool
	// Labels says that the source finds labels by itself, so that an
	// acquisition needs none.
	Labels bool
}

// Spec is what a source is made of.
type Spec struct {
	Kind   string            // as acquisition files name it; the Module of the lines
	Labels map[string]string // of every line; must not change
	Mode   event.Mode
	Once   bool // read what is there and end, instead of following
	// FromStart reads what was never seen from its start, not from its end.
	FromStart bool
	Stdin     io.Reader
	Positions *Positions // may be nil
	// Report is told about trouble that the source survives, and about lost
	// lines.
	Report func(error)
	// Started is called when the source reads.
	Started func()
	// Meter counts what the source does.
	Meter *Meter

	// The source's own keys: those of a document, beside which Common gets the
	// keys that all sources have, or of a DSN ("loki://host?query=x"), or, as Keys, the
	// struct that Decode fills, made by code.
	Doc    strict.Doc
	Common any
	DSN    string
	Keys   any
}

// Line returns what all lines of the source have in common.
func (s *Spec) Line(src string) event.Line {
	return event.Line{Src: src, Module: s.Kind, Labels: s.Labels, Mode: s.Mode}
}

// Decode fills the struct that dst points to, which holds the defaults, with
// the source's own keys. dsn reads a DSN into it; nil if the source can't be
// read once. Errors name file, line and key, or the DSN.
func (s *Spec) Decode(dst any, dsn func(*DSN)) error {
	switch {
	case s.Keys != nil:
		reflect.ValueOf(dst).Elem().Set(reflect.ValueOf(s.Keys))
		return nil
	case s.DSN == "":
		return s.Doc.Decode(s.Common, dst)
	case dsn == nil:
		return s.dsnError(fmt.Errorf("%s datasource does not support command-line acquisition", s.Kind))
	}
	_, rest, _ := strings.Cut(s.DSN, "://")
	d := &DSN{known: []string{"log_level"}}
	d.Target, d.query, d.queried = strings.Cut(rest, "?")
	dsn(d)
	if err := d.check(); err != nil {
		return s.dsnError(err)
	}
	return nil
}

// Errorf returns an error about a key, given by its path ("tls.ca_cert").
func (s *Spec) Errorf(key, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	switch {
	case s.Keys != nil:
		return fmt.Errorf("%s: %w", key, err)
	case s.DSN != "":
		return s.dsnError(fmt.Errorf("%s: %w", key, err))
	}
	at, _ := s.Doc.PlaceOf(key)
	return at.Errorf("%w", err)
}

// Typed tells whether a key stands in the document.
func (s *Spec) Typed(key string) bool {
	if s.Keys != nil || s.DSN != "" {
		return false
	}
	_, ok := s.Doc.PlaceOf(key)
	return ok
}

func (s *Spec) dsnError(err error) error {
	return fmt.Errorf("cannot read %q: %w", redacted(s.DSN), err)
}

// redacted returns a DSN without its password.
func redacted(dsn string) string {
	scheme, rest, _ := strings.Cut(dsn, "://")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if at := strings.LastIndexByte(rest[:end], '@'); at >= 0 {
		user, _, _ := strings.Cut(rest[:at], ":")
		rest = user + ":…" + rest[at:]
	}
	return scheme + "://" + rest
}

// DSN is the name of a source that is read once: SCHEME://TARGET?PARAMETERS.
// Its methods take parameters; those that are missing leave their destination
// as it is.
type DSN struct {
	Target  string
	query   string
	queried bool // there is a "?"
	known   []string
	values  url.Values
	errs    []error
}

// WithoutTarget makes all of the DSN parameters, for those that have no "?".
func (d *DSN) WithoutTarget() {
	if !d.queried {
		d.Target, d.query = "", d.Target
	}
}

// Fail adds an error.
func (d *DSN) Fail(format string, args ...any) { d.errs = append(d.errs, fmt.Errorf(format, args...)) }

// Texts takes a parameter that may be given several times.
func (d *DSN) Texts(key string, dst *[]string) {
	if v := d.take(key); v != nil {
		*dst = v
	}
}

// Text takes a text.
func (d *DSN) Text(key string, dst *string) {
	if v := d.take(key); v != nil {
		*dst = v[len(v)-1]
	}
}

// Int takes a whole number.
func (d *DSN) Int(key string, dst *int) {
	if v := d.take(key); v != nil {
		n, err := strconv.Atoi(v[len(v)-1])
		if err != nil {
			d.Fail("%s: want a whole number, not %q", key, v[len(v)-1])
		}
		*dst = n
	}
}

// Bool takes true or false.
func (d *DSN) Bool(key string, dst *bool) {
	if v := d.take(key); v != nil {
		b, err := strconv.ParseBool(v[len(v)-1])
		if err != nil {
			d.Fail("%s: want true or false, not %q", key, v[len(v)-1])
		}
		*dst = b
	}
}

// Duration takes a duration such as 1m30s.
func (d *DSN) Duration(key string, dst *time.Duration) {
	if v := d.take(key); v != nil {
		t, err := time.ParseDuration(v[len(v)-1])
		if err != nil {
			d.Fail("%s: %q is no duration like 10s or 1m30s", key, v[len(v)-1])
		}
		*dst = t
	}
}

func (d *DSN) take(key string) []string {
	d.parse()
	d.known = append(d.known, key)
	return d.values[key]
}

func (d *DSN) parse() {
	if d.values != nil {
		return
	}
	var err error
	if d.values, err = url.ParseQuery(d.query); err != nil {
		d.errs = append(d.errs, err)
	}
}

// check returns what is wrong, parameters that nobody took included.
func (d *DSN) check() error {
	d.parse()
	for key := range d.values {
		if !slices.Contains(d.known, key) {
			d.Fail("unknown parameter %s", key)
		}
	}
	return errors.Join(d.errs...)
}

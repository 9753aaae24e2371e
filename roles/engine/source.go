package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"cs/pipeline/event"
	"cs/pipeline/source"
	"cs/pipeline/source/docker"
	"cs/pipeline/source/file"
	"cs/pipeline/source/journal"
	"cs/pipeline/source/logread"
	"cs/pipeline/source/stdin"
	"cs/pipeline/source/syslog"
	"cs/pipeline/source/transform"
	"cs/platform/strict"
	"cs/roles/config"
)

// kinds are the sources of this build. Those that a small build leaves out
// add themselves, each in a file of its own (with_….go).
var kinds = map[string]source.Kind{
	"docker":     docker.Kind,
	"file":       file.Kind,
	"journalctl": journal.Kind,
	"logread":    logread.Kind,
	"stdin":      stdin.Kind,
	"syslog":     syslog.Kind,
}

// others are sources that upstream has, too: what isn't among the kinds was left
// out of this build, or doesn't exist yet.
var others = []string{
	"appsec", "cloudwatch", "docker", "http", "k8s-audit", "kafka", "kinesis", "loki", "s3", "syslog", "victorialogs", "wineventlog",
}

// Sources returns the names of the sources of this build, in order.
func Sources() []string { return slices.Sorted(maps.Keys(kinds)) }

// Stdin is the path that means standard input.
const Stdin = "-"

// File returns the acquisition of files. The one pattern "-" is standard input.
func File(globs ...string) config.Acquisition {
	a := config.Acquisition{Source: "file", Labels: map[string]string{}, Keys: file.Named(globs...)}
	if len(globs) == 1 && globs[0] == Stdin {
		a.Source, a.Keys = "stdin", struct{}{}
	}
	return a
}

// What names what an acquisition reads, for people.
func What(acq config.Acquisition) string {
	src, _, err := Reader{}.Open(acq)
	if err != nil {
		return acq.Source
	}
	return src.Name()
}

// Reader says how sources are read. The zero value has no standard input.
type Reader struct {
	Stdin     io.Reader
	FromStart bool              // logs that were never seen, from their start
	Positions *source.Positions // how far each was read; may be nil
	Meters    *source.Meters    // where what is read is counted; may be nil
	Report    func(error)       // told of trouble that a source survives; nil: nobody is
	Started   func()            // called when the source reads; may be nil
}

// Open returns the source of an acquisition. once tells whether it has an end.
// Nothing is read, listened to or asked yet.
func (r Reader) Open(acq config.Acquisition) (src source.Source, once bool, err error) {
	if r.Report == nil {
		r.Report = func(error) {}
	}
	if r.Started == nil {
		r.Started = func() {}
	}
	kind, err := kindOf(acq)
	if err != nil {
		return nil, false, err
	}
	spec := &source.Spec{
		Kind: acq.Source, Labels: maps.Clone(acq.Labels), Mode: event.Live, Once: acq.Cat, FromStart: r.FromStart,
		Stdin: r.Stdin, Positions: r.Positions, Report: r.Report, Started: r.Started,
		Doc: acq.Doc, Common: new(config.AcquisitionKeys), DSN: acq.DSN, Keys: acq.Keys,
	}
	if acq.TimeMachine || acq.Cat && kind.Replay {
		spec.Mode = event.Replay
	}
	spec.Meter = r.Meters.New(acq.Source, acq.Labels["type"])
	defer func() {
		if err != nil {
			r.Meters.Drop(spec.Meter)
		}
	}()
	src, err = kind.Open(spec)
	if len(acq.Labels) == 0 && !kind.Labels {
		err = errors.Join(err, faulty(acq, "labels", "there are none; labels.type says which parser reads the lines"))
	}
	if err != nil {
		return nil, false, err
	}
	if acq.Transform.Value != "" {
		if src, err = transform.New(src, acq.Transform, r.Report); err != nil {
			return nil, false, err
		}
	}
	if name := cmp.Or(acq.Name, acq.UniqueID); name != "" {
		src = source.Named(src, name)
	}
	return source.Metered(src, spec.Meter, r.Report), acq.Cat || kind.Ends, nil
}

// Known tells whether there is a source of a name, in this build or another.
func Known(name string) bool {
	_, ok := kinds[name]
	return ok || slices.Contains(others, name)
}

// kindOf returns the kind of an acquisition, after a look at what has nothing to do
// with the keys of its own.
func kindOf(acq config.Acquisition) (source.Kind, error) {
	fail := func(key, format string, args ...any) (source.Kind, error) {
		return source.Kind{}, faulty(acq, key, format, args...)
	}
	kind, ok := kinds[acq.Source]
	switch {
	case !ok && acq.DSN != "" && slices.Contains(others, acq.Source), ok && acq.DSN != "" && !kind.Once:
		return fail("source", "%s datasource does not support command-line acquisition", acq.Source)
	case !ok && slices.Contains(others, acq.Source):
		return fail("source", "source %s is not part of this build: %w", acq.Source, errors.ErrUnsupported)
	case !ok:
		return fail("source", "unknown source %q%s: %w", acq.Source, strict.Suggest(acq.Source, Sources()), errors.ErrUnsupported)
	case acq.Cat && !kind.Once:
		return fail("mode", "%s has no end that could be read to: remove mode cat", acq.Source)
	case !acq.Cat && !kind.Tail:
		return fail("mode", "%s can't be followed: say mode: cat", acq.Source)
	}
	return kind, nil
}

// faulty returns an error about a key that all sources have.
func faulty(acq config.Acquisition, key, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	switch {
	case acq.DSN != "":
		return fmt.Errorf("cannot read a DSN: %w", err)
	case acq.Place.File == "":
		return err
	}
	at, _ := acq.Doc.PlaceOf(key)
	return at.Errorf("%w", err)
}

// Acquisitions reads the documents of an acquisition file that this build can
// read. The errors name file, line and key of the others.
func Acquisitions(path string, env func(string) (string, bool)) (list []config.Acquisition, errs []error) {
	all, errs := config.ReadAcquisition(path, env)
	for _, acq := range all {
		if _, _, err := (Reader{}).Open(acq); err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, acq)
	}
	return list, errs
}

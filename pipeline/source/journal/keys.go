package journal

import (
	"cs/pipeline/source"
)

// Keys are those of an acquisition (spec engine §7).
type Keys struct {
	Filter []string `yaml:"journalctl_filter"` // arguments of journalctl
	Since  string   `yaml:"since"`             // in mode cat: from when on, in journalctl's words
}

// Kind makes sources of acquisitions, and of DSNs of the form
// journalctl://filters=F1&filters=F2[&since=S].
var Kind = source.Kind{Open: open, Once: true, Tail: true}

func open(s *source.Spec) (source.Source, error) {
	var k Keys
	err := s.Decode(&k, func(d *source.DSN) {
		d.WithoutTarget()
		d.Texts("filters", &k.Filter)
		d.Text("since", &k.Since)
	})
	if err != nil {
		return nil, err
	}
	if len(k.Filter) == 0 {
		return nil, s.Errorf("journalctl_filter", "there is none, so every line of the journal would be read")
	}
	return New(Config{
		Filter: k.Filter, Since: k.Since, Labels: s.Labels, Mode: s.Mode, Once: s.Once,
		Positions: s.Positions, Meter: s.Meter, Report: s.Report, Started: s.Started,
	}), nil
}

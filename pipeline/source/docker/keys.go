package docker

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cs/pipeline/source"
	"cs/platform/strict"
)

// Keys are those of an acquisition (spec engine §7).
type Keys struct {
	ContainerName       []string      `yaml:"container_name"`
	ContainerID         []string      `yaml:"container_id"`
	ContainerNameRegexp []strict.Text `yaml:"container_name_regexp"`
	ContainerIDRegexp   []strict.Text `yaml:"container_id_regexp"`
	UseContainerLabels  bool          `yaml:"use_container_labels"`
	ServiceName         []string      `yaml:"service_name"`
	ServiceID           []string      `yaml:"service_id"`
	ServiceNameRegexp   []strict.Text `yaml:"service_name_regexp"`
	ServiceIDRegexp     []strict.Text `yaml:"service_id_regexp"`
	UseServiceLabels    bool          `yaml:"use_service_labels"`

	FollowStdout bool   `yaml:"follow_stdout"`
	FollowStderr bool   `yaml:"follow_stderr"`
	Since        string `yaml:"since"` // a duration back from now, a time, or unix seconds; "": now, or in mode cat the start
	Until        string `yaml:"until"`
	DockerHost   string `yaml:"docker_host"`

	// It was how often upstream looked for containers; they are announced.
	CheckInterval string `yaml:"check_interval"`
}

// Kind makes sources of acquisitions, and of DSNs of the form docker://NAME_OR_ID
// with the parameters since, until, follow_stdout, follow_stderr and
// docker_host.
var Kind = source.Kind{Open: open, Once: true, Tail: true, Replay: true, Labels: true}

func open(spec *source.Spec) (source.Source, error) {
	k := Keys{FollowStdout: true, FollowStderr: true}
	err := spec.Decode(&k, func(d *source.DSN) {
		if d.Target = strings.Trim(d.Target, "/"); d.Target == "" {
			d.Fail("it has no name or ID of a container")
		}
		k.ContainerName, k.ContainerID = []string{d.Target}, []string{d.Target}
		d.Text("since", &k.Since)
		d.Text("until", &k.Until)
		d.Bool("follow_stdout", &k.FollowStdout)
		d.Bool("follow_stderr", &k.FollowStderr)
		d.Text("docker_host", &k.DockerHost)
	})
	if err != nil {
		return nil, err
	}
	s := &Source{
		keys: k, spec: spec, trouble: source.NewThrottle(spec.Report), now: time.Now, pause: firstPause,
		containers: selector{names: k.ContainerName, ids: k.ContainerID, labels: k.UseContainerLabels},
		services:   selector{names: k.ServiceName, ids: k.ServiceID, labels: k.UseServiceLabels},
	}
	for _, list := range []struct {
		key  string
		from []strict.Text
		to   *[]*regexp.Regexp
	}{
		{"container_name_regexp", k.ContainerNameRegexp, &s.containers.nameRx}, {"container_id_regexp", k.ContainerIDRegexp, &s.containers.idRx},
		{"service_name_regexp", k.ServiceNameRegexp, &s.services.nameRx}, {"service_id_regexp", k.ServiceIDRegexp, &s.services.idRx},
	} {
		for _, text := range list.from {
			rx, err := regexp.Compile(text.Value)
			if err != nil {
				return nil, text.Place.Errorf("%w", err)
			}
			*list.to = append(*list.to, rx)
		}
	}
	for _, c := range []struct {
		sel      *selector
		key, use string
	}{{&s.containers, "container_name", "use_container_labels"}, {&s.services, "service_name", "use_service_labels"}} {
		if c.sel.labels && c.sel.named() {
			return nil, spec.Errorf(c.use, "it chooses by labels, and %s, …_id or a …_regexp by names: one of them", c.key)
		}
	}
	switch {
	case !s.containers.any() && !s.services.any():
		return nil, spec.Errorf("container_name", "nothing says which containers: container_name, container_id, a …_regexp of them, use_container_labels, or the same of services")
	case !k.FollowStdout && !k.FollowStderr:
		return nil, spec.Errorf("follow_stdout", "neither stdout nor stderr is to be read")
	case len(spec.Labels) == 0 && spec.DSN == "" && !k.UseContainerLabels && !k.UseServiceLabels:
		return nil, spec.Errorf("labels", "there are none; labels.type says which parser reads the lines")
	}
	for _, t := range []struct {
		key, text string
		to        *string
	}{{"since", k.Since, &s.since}, {"until", k.Until, &s.until}} {
		if *t.to, err = moment(t.text, time.Now()); err != nil {
			return nil, spec.Errorf(t.key, "%w", err)
		}
	}
	if s.host, err = parseHost(k.DockerHost); err != nil {
		return nil, spec.Errorf("docker_host", "%w", err)
	}
	return s, nil
}

// moment returns a time, in any of the forms that docker takes, in unix seconds.
func moment(text string, now time.Time) (string, error) {
	if text == "" {
		return "", nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return stamp(now.Add(-d)), nil
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return text, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return stamp(t), nil
		}
	}
	return "", errMoment(text)
}

type errMoment string

func (e errMoment) Error() string {
	return strconv.Quote(string(e)) + " is no duration like 10m, no time like 2026-01-02T15:04:05Z and no unix seconds"
}

// stamp returns a time as docker takes it, in unix seconds with nanoseconds.
func stamp(t time.Time) string {
	text := strconv.FormatInt(t.UnixNano(), 10)
	if len(text) <= 9 {
		return "0"
	}
	return text[:len(text)-9] + "." + text[len(text)-9:]
}

// selector chooses containers or services.
type selector struct {
	names, ids   []string
	nameRx, idRx []*regexp.Regexp
	labels       bool
}

func (s *selector) named() bool { return len(s.names)+len(s.ids)+len(s.nameRx)+len(s.idRx) > 0 }
func (s *selector) any() bool   { return s.labels || s.named() }

// shortID is how many digits of an ID are enough.
const shortID = 12

// matches tells whether something is chosen. Its names are without the slash
// that docker puts in front, which expressions see.
func (s *selector) matches(slash string, t *target) bool {
	if s.labels {
		return t.marks["crowdsec.enable"] == "true"
	}
	return slices.Contains(s.names, t.name) ||
		slices.ContainsFunc(s.ids, func(id string) bool {
			return id == t.id || len(id) >= shortID && strings.HasPrefix(t.id, id)
		}) ||
		slices.ContainsFunc(s.nameRx, func(rx *regexp.Regexp) bool { return rx.MatchString(slash + t.name) }) ||
		slices.ContainsFunc(s.idRx, func(rx *regexp.Regexp) bool { return rx.MatchString(t.id) })
}

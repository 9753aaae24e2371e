package metric

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Sample is one line of a page: a number under a name, with labels.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

const (
	maxSampleLine = 64 << 10
	maxSamples    = 1 << 20
)

// Parse reads a page (text format 0.0.4) and calls f for each sample, in
// their order. Comments, and the times that may follow a value, are left out.
func Parse(page io.Reader, f func(Sample)) error {
	lines := bufio.NewScanner(page)
	lines.Buffer(nil, maxSampleLine)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if n > maxSamples {
			return fmt.Errorf("cannot read metrics: there are more than %d lines", maxSamples)
		}
		s, err := parseSample(line)
		if err != nil {
			return fmt.Errorf("cannot read metrics: line %d: %w", n, err)
		}
		f(s)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read metrics: %w", err)
	}
	return nil
}

func parseSample(line string) (s Sample, err error) {
	end := strings.IndexAny(line, "{ \t")
	if end <= 0 {
		return s, fmt.Errorf("%.40q is no sample", line)
	}
	s.Name, line = line[:end], line[end:]
	if line[0] == '{' {
		if s.Labels, line, err = parseLabels(line[1:]); err != nil {
			return s, err
		}
	}
	value, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	if s.Value, err = strconv.ParseFloat(value, 64); err != nil {
		return s, fmt.Errorf("%s: %.40q is no number", s.Name, value)
	}
	return s, nil
}

// parseLabels reads what follows an opening brace, and returns what follows
// the closing one.
func parseLabels(s string) (labels map[string]string, rest string, err error) {
	labels = make(map[string]string)
	for {
		s = strings.TrimLeft(s, " \t,")
		if rest, ok := strings.CutPrefix(s, "}"); ok {
			return labels, rest, nil
		}
		name, after, ok := strings.Cut(s, "=")
		after = strings.TrimLeft(after, " \t")
		if !ok || !strings.HasPrefix(after, `"`) {
			return nil, "", fmt.Errorf("the label at %.40q has no value", s)
		}
		value, after, ok := unquoted(after[1:])
		if !ok {
			return nil, "", fmt.Errorf("label %s has no end", name)
		}
		labels[strings.TrimSpace(name)], s = value, after
	}
}

// unquoted reads to the closing quote.
func unquoted(s string) (value, rest string, ok bool) {
	if i := strings.IndexAny(s, `"\`); i >= 0 && s[i] == '"' {
		return s[:i], s[i+1:], true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s):
			i++
			if c = s[i]; c == 'n' {
				c = '\n'
			}
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

package api

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads a duration as the API and its configuration write it: Go
// syntax, which may begin with whole or decimal days ("1d", "2d12h", "-1d").
func ParseDuration(s string) (time.Duration, error) {
	text, sign := s, time.Duration(1)
	if strings.HasPrefix(text, "-") {
		text, sign = text[1:], -1
	}
	days, rest, found := strings.Cut(text, "d")
	if !found {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf("cannot parse duration %q: want a form like 4h, 1h30m or 7d", s)
		}
		return d, nil
	}
	n, err := strconv.ParseFloat(days, 64)
	// 106751 days are the most that fit in a time.Duration.
	if err != nil || strings.ContainsAny(days, "+-eExXpPiInN_") || n > 106751 {
		return 0, fmt.Errorf("cannot parse duration %q: %q is no number of days", s, days)
	}
	d := time.Duration(n * float64(24*time.Hour))
	if rest != "" {
		more, err := time.ParseDuration(rest)
		if err != nil || strings.ContainsAny(rest[:1], "+-") || d+more < d {
			return 0, fmt.Errorf("cannot parse duration %q: want a form like 2d12h", s)
		}
		d += more
	}
	return sign * d, nil
}

// formatDuration writes a duration in Go syntax, rounded to whole seconds:
// "3h59m58s", "-2m0s", "0s".
func formatDuration(d time.Duration) string {
	return string(appendDuration(make([]byte, 0, 24), d))
}

// appendDuration appends what formatDuration returns.
func appendDuration(dst []byte, d time.Duration) []byte {
	s := int64(d.Round(time.Second) / time.Second)
	if s < 0 {
		dst = append(dst, '-')
		s = -s
	}
	h, m := s/3600, s/60%60
	if h > 0 {
		dst = strconv.AppendInt(dst, h, 10)
		dst = append(dst, 'h')
	}
	if h > 0 || m > 0 {
		dst = strconv.AppendInt(dst, m, 10)
		dst = append(dst, 'm')
	}
	dst = strconv.AppendInt(dst, s%60, 10)
	return append(dst, 's')
}

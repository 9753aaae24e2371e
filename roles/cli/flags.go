package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"cs/roles/api"
)

// A duration is a flag in Go's syntax with leading days: "30d", "2d12h".
type duration struct {
	text string // as typed
	d    time.Duration
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) (err error) {
	s := string(text)
	d.text = s
	if s == "" { // as if it had not been given
		return nil
	}
	if d.d, err = api.ParseDuration(s); err == nil {
		return nil
	}
	// Scripts match on these words, which are Go's own for the second.
	if strings.Contains(s, "d") {
		return fmt.Errorf("invalid day value in duration %q", s)
	}
	return fmt.Errorf("time: invalid duration %q", s)
}

// A number is a whole number given as a flag.
type number int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *number) UnmarshalText(text []byte) error {
	v, err := strconv.ParseInt(string(text), 10, 64)
	*n = number(v)
	return err
}

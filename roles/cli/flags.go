package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"cs/roles/api"
)

// An invalidArgument is a flag's value that can't be read.
type invalidArgument struct {
	flag  *kong.Flag
	value string
	cause error
}

func (e *invalidArgument) Error() string {
	name := "--" + e.flag.Name
	if e.flag.Short != 0 {
		name = "-" + string(e.flag.Short) + ", " + name
	}
	return fmt.Sprintf("invalid argument %q for %q flag: %v", e.value, name, e.cause)
}

func (e *invalidArgument) Unwrap() error { return e.cause }

// flagValue takes the next word of the command line as the value of a flag.
func flagValue(ctx *kong.DecodeContext, read func(string) error) error {
	token, err := ctx.Scan.PopValue(ctx.Value.Name)
	if err != nil {
		return err
	}
	text := token.String()
	if err := read(text); err != nil {
		if ctx.Value.Flag == nil {
			return err
		}
		return &invalidArgument{ctx.Value.Flag, text, err}
	}
	return nil
}

// A duration is a flag in Go's syntax with leading days: "30d", "2d12h".
type duration struct {
	text string // as typed
	d    time.Duration
}

// Decode implements kong.MapperValue.
func (d *duration) Decode(ctx *kong.DecodeContext) error {
	return flagValue(ctx, func(s string) (err error) {
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
	})
}

// A number is a whole number given as a flag.
type number int64

// Decode implements kong.MapperValue.
func (n *number) Decode(ctx *kong.DecodeContext) error {
	return flagValue(ctx, func(s string) error {
		v, err := strconv.ParseInt(s, 10, 64)
		*n = number(v)
		return err
	})
}

//go:build !linux

package ipset

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"

	"cs/remediate"
)

// Filter can't be opened on this operating system.
type Filter struct{}

// New returns an error that is errors.ErrUnsupported.
func New(Config) (*Filter, error) { return nil, unsupported() }

func unsupported() error {
	return fmt.Errorf("cannot use ipset on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Name returns "iptables".
func (*Filter) Name() string { return "iptables" }

// Open returns an error that is errors.ErrUnsupported.
func (*Filter) Open(context.Context) (bool, error) { return false, unsupported() }

// Load returns an error that is errors.ErrUnsupported.
func (*Filter) Load(context.Context, iter.Seq[remediate.Entry]) error { return unsupported() }

// Apply returns an error that is errors.ErrUnsupported.
func (*Filter) Apply(context.Context, []remediate.Change) error { return unsupported() }

// Check returns an error that is errors.ErrUnsupported.
func (*Filter) Check(context.Context) (bool, error) { return false, unsupported() }

// Changed returns nil.
func (*Filter) Changed() <-chan struct{} { return nil }

// Counters returns an error that is errors.ErrUnsupported.
func (*Filter) Counters(context.Context) ([]Counter, error) { return nil, unsupported() }

// Close does nothing.
func (*Filter) Close(context.Context, bool) error { return nil }

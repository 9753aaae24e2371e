//go:build !linux

package nft

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"

	"cs/remediate"
)

// Table can't be opened on this operating system.
type Table struct{}

// New returns an error that is errors.ErrUnsupported.
func New(Config) (*Table, error) { return nil, unsupported() }

func unsupported() error {
	return fmt.Errorf("cannot use nftables on %s, for which there is no firewall backend yet: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Name returns "nftables".
func (*Table) Name() string { return "nftables" }

// Open returns an error that is errors.ErrUnsupported.
func (*Table) Open(context.Context) (bool, error) { return false, unsupported() }

// Load returns an error that is errors.ErrUnsupported.
func (*Table) Load(context.Context, iter.Seq[remediate.Entry]) error { return unsupported() }

// Apply returns an error that is errors.ErrUnsupported.
func (*Table) Apply(context.Context, []remediate.Change) error { return unsupported() }

// Check returns an error that is errors.ErrUnsupported.
func (*Table) Check(context.Context) (bool, error) { return false, unsupported() }

// Changed returns nil.
func (*Table) Changed() <-chan struct{} { return nil }

// Counters returns an error that is errors.ErrUnsupported.
func (*Table) Counters(context.Context) ([]Counter, error) { return nil, unsupported() }

// Close does nothing.
func (*Table) Close(context.Context, bool) error { return nil }

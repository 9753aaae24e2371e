package remediate

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"
)

// dryRunLines bounds how many entries of one step are printed in full.
const dryRunLines = 20

// DryRun is a Kernel that prints what it would do and changes nothing.
type DryRun struct {
	w   io.Writer
	now func() time.Time
}

// NewDryRun returns a DryRun that prints to w. Times left are counted from now,
// which is time.Now when nil.
func NewDryRun(w io.Writer, now func() time.Time) *DryRun {
	if now == nil {
		now = time.Now
	}
	return &DryRun{w: w, now: now}
}

// Name returns "dry-run".
func (k *DryRun) Name() string { return "dry-run" }

// Open does nothing.
func (k *DryRun) Open(context.Context) (bool, error) { return false, nil }

// Load prints the number of entries, and the first of them.
func (k *DryRun) Load(_ context.Context, entries iter.Seq[Entry]) error {
	n := 0
	for e := range entries {
		if n++; n <= dryRunLines {
			k.print("block", e)
		}
	}
	k.rest(n)
	_, err := fmt.Fprintf(k.w, "would load %d entries\n", n)
	return err
}

// Apply prints the changes.
func (k *DryRun) Apply(_ context.Context, changes []Change) error {
	verbs := [...]string{Add: "block", Replace: "change", Remove: "unblock"}
	for i, c := range changes {
		if i < dryRunLines {
			k.print(verbs[c.Op], c.Entry)
		}
	}
	k.rest(len(changes))
	return nil
}

func (k *DryRun) print(verb string, e Entry) {
	fmt.Fprintf(k.w, "would %s %s for %s (%s)\n", verb, e.Prefix, e.Until.Sub(k.now()).Round(time.Second), e.Origin)
}

func (k *DryRun) rest(n int) {
	if n > dryRunLines {
		fmt.Fprintf(k.w, "… and %d more\n", n-dryRunLines)
	}
}

// Check finds everything as it was left.
func (k *DryRun) Check(context.Context) (bool, error) { return true, nil }

// Changed returns nil: nobody can change what is not there.
func (k *DryRun) Changed() <-chan struct{} { return nil }

// Close does nothing.
func (k *DryRun) Close(context.Context, bool) error { return nil }

package remediatetest

import (
	"testing"
	"time"

	"cs/remediate"
)

func TestFakeConforms(t *testing.T) {
	Conformance(t, func(*testing.T) Backend {
		// One packet filter, whatever the number of processes.
		k := NewFake(time.Now)
		return Backend{New: func() remediate.Kernel { return k }, Blocked: k.Blocked, Flush: k.Flush}
	})
}

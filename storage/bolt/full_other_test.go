//go:build unix && !linux

package bolt

const fullChild = "CS_TEST_BOLT_FULL"

// writeUntilFull needs name spaces.
func writeUntilFull(string) error { panic("BUG: there are no name spaces here") }

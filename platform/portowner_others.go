//go:build !linux

package platform

// PortOwner names the process that listens on a TCP address, where the system
// tells us; here it doesn't.
func PortOwner(string) string { return "" }

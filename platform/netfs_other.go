//go:build !linux && !windows && !freebsd && !darwin

package platform

// NetworkFS tells whether changes at path may be made by another host; this
// system isn't asked.
func NetworkFS(string) bool { return false }

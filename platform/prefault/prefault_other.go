//go:build !linux || !amd64

// Package prefault does something on linux/amd64 only.
package prefault

//go:build edge

package lapi

// codings are none: a router has few bouncers, and no 100 kB for compressors.
var codings []*coding

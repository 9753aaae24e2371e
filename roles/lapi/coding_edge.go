//go:build edge

package lapi

// moreCodings are those that a router doesn't need.
var moreCodings []*coding

//go:build edge

package cli

// Authors has no commands: nobody writes content on a router.
type Authors struct {
	Hubtest Hubtest `kong:"-"`
}

// Hubtest is left out.
type Hubtest struct{}

// Package strict names platform/strict by its former place, for those who
// have not moved yet: pipeline/hub.
package strict

import "cs/platform/strict"

type (
	Place = strict.Place
	Error = strict.Error
	Text  = strict.Text
	Map   = strict.Map
	Pair  = strict.Pair
	Doc   = strict.Doc
)

// Parse is strict.Parse.
func Parse(file string, data []byte) ([]Doc, error) { return strict.Parse(file, data) }

//go:build edge

package enrich

import "errors"

// openDatabase refuses: the decoder of MaxMind DBs works by reflection, and is
// left out of the smallest builds.
func openDatabase(path string) (database, error) {
	return nil, errors.New(path + ": this build reads no GeoIP databases")
}

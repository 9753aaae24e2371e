//go:build !edge

package engine

import "cs/pipeline/source/winevent"

func init() { kinds["wineventlog"] = winevent.Kind }

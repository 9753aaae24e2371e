//go:build !edge

package engine

import "cs/pipeline/source/logdb"

func init() { kinds["victorialogs"] = logdb.VictoriaLogs }

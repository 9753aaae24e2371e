//go:build !edge

package engine

import "cs/pipeline/source/kafka"

func init() { kinds["kafka"] = kafka.Kind }

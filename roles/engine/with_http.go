//go:build !edge

package engine

import "cs/pipeline/source/webhook"

func init() { kinds["http"] = webhook.HTTP }

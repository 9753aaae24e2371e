//go:build !edge

package engine

import "cs/pipeline/source/webhook"

func init() { kinds["k8s-audit"] = webhook.Audit }

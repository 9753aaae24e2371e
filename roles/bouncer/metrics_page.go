//go:build !bouncer_only

package bouncer

import (
	"context"

	"cs/platform/metric"
)

func servePage(ctx context.Context, addr string, sources ...metric.Source) error {
	return metric.Serve(ctx, addr, sources...)
}

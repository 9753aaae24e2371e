package bouncer

import (
	"context"
	"errors"
	"fmt"

	"cs/platform"
	"cs/remediate"
	"cs/roles/config"
)

// Lift removes what a bouncer with the configuration that the flags name has
// left in the firewall. What another process enforces is that one's business.
func Lift(ctx context.Context, env *platform.Env, flags *config.Flags) error {
	r, err := flags.Resolve(env, func(*config.File) {})
	if err != nil {
		return err
	}
	kernels, err := newKernels(env, &r.Bouncer)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return errors.Join(err, lift(ctx, kernels))
}

// lift removes what kernels that are not open have left.
func lift(ctx context.Context, kernels []remediate.Kernel) (err error) {
	for _, k := range kernels {
		live, oerr := k.Open(ctx)
		if oerr != nil {
			continue // a firewall that isn't there blocks nothing
		}
		if cerr := k.Close(ctx, live); cerr != nil && !errors.Is(cerr, remediate.ErrForeign) {
			err = errors.Join(err, fmt.Errorf("cannot lift the bans of %s: %w", k.Name(), cerr))
		}
	}
	return err
}

package bouncer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"cs/platform"
	"cs/platform/order"
	"cs/remediate"
	"cs/roles/config"
)

// A backend is one kind of packet filter. Each has a file of its own here, whose
// build tag says where it exists, and which registers it.
type backend struct {
	// name is what the configuration calls it.
	name string
	// rank says in which order the automatic choice tries the backends; 0 is
	// never tried: it must be asked for.
	rank int
	// kernel makes one that has not touched anything yet.
	kernel func(*platform.Env, *config.Bouncer) (remediate.Kernel, error)
	// ports: it can leave ports to everybody.
	ports bool
}

// backends of this build, filled while the program starts.
var backends []backend

func register(b backend) { backends = append(backends, b) }

func init() {
	register(backend{name: "dry-run", ports: true, kernel: func(env *platform.Env, _ *config.Bouncer) (remediate.Kernel, error) {
		return remediate.NewDryRun(env.Stdout, nil), nil
	}})
}

// newKernels makes the Kernel that the configuration names, or those that the
// automatic choice tries in turn when it opens one. The error is
// errors.ErrUnsupported where this build has none.
func newKernels(env *platform.Env, b *config.Bouncer) (kernels []remediate.Kernel, err error) {
	names := []string{b.Backend}
	if b.Backend == "iptables" && !b.Ipset.Force {
		// A table of nftables does the same beside it, better.
		env.Log.Info("nftables is tried before iptables; iptables_force: true changes that")
		names = []string{"nft", "iptables"}
	}
	var wanted []backend
	for _, have := range backends {
		if slices.Contains(names, have.name) || b.Backend == "auto" && have.rank > 0 {
			wanted = append(wanted, have)
		}
	}
	order.Sort(wanted, func(a, b backend) int { return a.rank - b.rank })
	var errs []error
	for _, w := range wanted {
		if len(b.IgnorePorts) > 0 && !w.ports {
			errs = append(errs, fmt.Errorf("cannot ignore ports with backend %s: nft and iptables can", w.name))
			continue
		}
		k, err := w.kernel(env, b)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		kernels = append(kernels, k)
	}
	// What the first choice takes, a later one need not.
	if len(errs) > 0 && len(kernels) == 0 {
		return nil, errors.Join(errs...)
	}
	for _, err := range errs {
		env.Log.Info("a backend is left out", "because", err)
	}
	if len(kernels) == 0 {
		return nil, fmt.Errorf("cannot use backend %q: this build for %s has %s: %w", b.Backend, runtime.GOOS, backendNames(), errors.ErrUnsupported)
	}
	return kernels, nil
}

// ports returns the ports to which nobody is blocked.
func ports(b *config.Bouncer) (list []remediate.Ports) {
	for _, p := range b.IgnorePorts {
		list = append(list, remediate.Ports(p))
	}
	return list
}

// lacksIPv6 tells whether the kernel whose packet filter a backend is has no IPv6: then
// there are no tables for it, and nothing to block.
func lacksIPv6(backend string) bool {
	switch backend {
	case "auto", "nft", "iptables", "ipset":
		if runtime.GOOS == "linux" {
			_, err := os.Stat("/proc/net/if_inet6")
			return errors.Is(err, fs.ErrNotExist)
		}
	}
	return false
}

func backendNames() string {
	var names []string
	for _, have := range backends {
		names = append(names, have.name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

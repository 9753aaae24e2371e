package bolt

import (
	"cmp"
	"context"

	"cs/platform/order"
	"cs/storage"
)

var allowlists = table[storage.Allowlist]{
	kind:    "allowlist",
	bucket:  allowlistsBucket,
	version: allowlistVersion,
	walk:    (*coder).allowlist,
	name:    func(l *storage.Allowlist) *string { return &l.Name },
}

func (s *Store) AddAllowlist(ctx context.Context, l storage.Allowlist) error {
	return allowlists.add(ctx, s, l)
}

func (s *Store) Allowlist(ctx context.Context, name string) (storage.Allowlist, error) {
	return allowlists.get(ctx, s, name)
}

func (s *Store) Allowlists(ctx context.Context) ([]storage.Allowlist, error) {
	list, err := allowlists.all(ctx, s)
	order.Stable(list, func(a, b storage.Allowlist) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
	return list, err
}

func (s *Store) UpdateAllowlist(ctx context.Context, name string, change func(*storage.Allowlist) error) error {
	return allowlists.update(ctx, s, name, change)
}

func (s *Store) DeleteAllowlist(ctx context.Context, name string) error {
	return allowlists.remove(ctx, s, name)
}

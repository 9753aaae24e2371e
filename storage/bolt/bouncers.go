package bolt

import (
	"cmp"
	"context"

	"go.etcd.io/bbolt"

	"cs/platform/order"
	"cs/storage"
)

var bouncers = table[storage.Bouncer]{
	kind:    "bouncer",
	bucket:  bouncersBucket,
	version: bouncerVersion,
	walk:    (*coder).bouncer,
	name:    func(b *storage.Bouncer) *string { return &b.Name },
}

func (s *Store) AddBouncer(ctx context.Context, b storage.Bouncer) error {
	return bouncers.add(ctx, s, b)
}

func (s *Store) Bouncer(ctx context.Context, name string) (storage.Bouncer, error) {
	return bouncers.get(ctx, s, name)
}

func (s *Store) Bouncers(ctx context.Context) ([]storage.Bouncer, error) {
	list, err := bouncers.all(ctx, s)
	order.Stable(list, func(a, b storage.Bouncer) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
	return list, err
}

func (s *Store) UpdateBouncer(ctx context.Context, name string, change func(*storage.Bouncer) error) error {
	return bouncers.update(ctx, s, name, change)
}

func (s *Store) DeleteBouncer(ctx context.Context, name string) error {
	return bouncers.remove(ctx, s, name)
}

func (s *Store) StampBouncers(ctx context.Context, stamps []storage.BouncerStamp) error {
	return s.write(ctx, func(tx *bbolt.Tx) error {
		for _, stamp := range stamps {
			err := bouncers.stamp(tx, stamp.Name, func(b *storage.Bouncer) {
				b.LastPull, b.Cursor = stamp.LastPull, stamp.Cursor
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

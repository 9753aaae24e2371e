package bolt

import (
	"cmp"
	"context"

	"go.etcd.io/bbolt"

	"cs/platform/order"
	"cs/storage"
)

var machines = table[storage.Machine]{
	kind:    "machine",
	bucket:  machinesBucket,
	version: machineVersion,
	walk:    (*coder).machine,
	name:    func(m *storage.Machine) *string { return &m.ID },
}

func (s *Store) AddMachine(ctx context.Context, m storage.Machine) error {
	return machines.add(ctx, s, m)
}

func (s *Store) Machine(ctx context.Context, id string) (storage.Machine, error) {
	return machines.get(ctx, s, id)
}

func (s *Store) Machines(ctx context.Context) ([]storage.Machine, error) {
	list, err := machines.all(ctx, s)
	order.Stable(list, func(a, b storage.Machine) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return list, err
}

func (s *Store) UpdateMachine(ctx context.Context, id string, change func(*storage.Machine) error) error {
	return machines.update(ctx, s, id, change)
}

func (s *Store) DeleteMachine(ctx context.Context, id string) error {
	return machines.remove(ctx, s, id)
}

func (s *Store) StampMachines(ctx context.Context, stamps []storage.MachineStamp) error {
	return s.write(ctx, func(tx *bbolt.Tx) error {
		for _, stamp := range stamps {
			err := machines.stamp(tx, stamp.ID, func(m *storage.Machine) {
				if !stamp.LastHeartbeat.IsZero() {
					m.LastHeartbeat = stamp.LastHeartbeat
				}
				if !stamp.LastPush.IsZero() {
					m.LastPush = stamp.LastPush
				}
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

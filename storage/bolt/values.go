package bolt

import (
	"bytes"
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"cs/storage"
)

func (s *Store) Value(ctx context.Context, name string) (value []byte, err error) {
	err = s.read(ctx, func(tx *bbolt.Tx) error {
		v := tx.Bucket(valuesBucket).Get([]byte(name))
		if v == nil {
			return storage.ErrNotFound
		}
		value = bytes.Clone(v)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read value %q: %w", name, err)
	}
	return value, nil
}

func (s *Store) SetValue(ctx context.Context, name string, value []byte) error {
	value = bytes.Clone(value) // the transaction needs it until it is written
	err := s.write(ctx, func(tx *bbolt.Tx) error {
		if name == "" {
			return errNoName
		}
		return tx.Bucket(valuesBucket).Put([]byte(name), value)
	})
	if err != nil {
		return fmt.Errorf("cannot set value %q: %w", name, err)
	}
	return nil
}

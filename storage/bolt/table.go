package bolt

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"cs/storage"
)

// table keeps the rows of one kind under their names: machines, bouncers.
type table[T any] struct {
	kind    string
	bucket  []byte
	version byte
	walk    func(*coder, *T)
	name    func(*T) *string
}

var errNoName = errors.New("the name is empty")

func (t *table[T]) add(ctx context.Context, s *Store, row T) error {
	name := *t.name(&row)
	err := s.write(ctx, func(tx *bbolt.Tx) error {
		b := tx.Bucket(t.bucket)
		switch {
		case name == "":
			return errNoName
		case b.Get([]byte(name)) != nil:
			return storage.ErrExists
		}
		return b.Put([]byte(name), encode(t.version, &row, t.walk))
	})
	return t.wrap("add", name, err)
}

func (t *table[T]) get(ctx context.Context, s *Store, name string) (row T, err error) {
	err = s.read(ctx, func(tx *bbolt.Tx) error { return t.load(tx, name, &row) })
	return row, t.wrap("read", name, err)
}

// all returns the rows in the order of their names.
func (t *table[T]) all(ctx context.Context, s *Store) (rows []T, err error) {
	err = s.read(ctx, func(tx *bbolt.Tx) error {
		return tx.Bucket(t.bucket).ForEach(func(key, record []byte) error {
			var row T
			if err := t.decode(string(key), record, &row); err != nil {
				return fmt.Errorf("%q: %w", key, err)
			}
			rows = append(rows, row)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list %ss: %w", t.kind, err)
	}
	return rows, nil
}

func (t *table[T]) update(ctx context.Context, s *Store, name string, change func(*T) error) error {
	err := s.write(ctx, func(tx *bbolt.Tx) error { return t.replace(tx, name, change) })
	return t.wrap("update", name, err)
}

// replace reads, changes and writes one row.
func (t *table[T]) replace(tx *bbolt.Tx, name string, change func(*T) error) error {
	var row T
	if err := t.load(tx, name, &row); err != nil {
		return err
	}
	if err := call(change, &row); err != nil {
		return err
	}
	return tx.Bucket(t.bucket).Put([]byte(name), encode(t.version, &row, t.walk))
}

// stamp changes those of the named rows that exist.
func (t *table[T]) stamp(tx *bbolt.Tx, name string, change func(*T)) error {
	err := t.replace(tx, name, func(row *T) error {
		change(row)
		return nil
	})
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return t.wrap("stamp", name, err)
	}
	return nil
}

func (t *table[T]) remove(ctx context.Context, s *Store, name string) error {
	err := s.write(ctx, func(tx *bbolt.Tx) error {
		b := tx.Bucket(t.bucket)
		if b.Get([]byte(name)) == nil {
			return storage.ErrNotFound
		}
		return b.Delete([]byte(name))
	})
	return t.wrap("delete", name, err)
}

func (t *table[T]) load(tx *bbolt.Tx, name string, row *T) error {
	record := tx.Bucket(t.bucket).Get([]byte(name))
	if record == nil {
		return storage.ErrNotFound
	}
	return t.decode(name, record, row)
}

func (t *table[T]) decode(name string, record []byte, row *T) error {
	*t.name(row) = name
	return recordError(decode(t.version, record, nil, row, t.walk))
}

func (t *table[T]) wrap(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot %s %s %q: %w", verb, t.kind, name, err)
}

// call keeps a panic of a caller's function apart from those of a damaged file.
func call[T any](change func(*T) error, row *T) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("BUG: the change panicked: %v", r)
		}
	}()
	return change(row)
}

// recordError tells a damaged record from one of a newer program.
func recordError(err error) error {
	var newer unknownVersion
	if err == nil || errors.As(err, &newer) {
		return err
	}
	return corrupt(err)
}

package mem_test

import (
	"testing"

	"cs/storage"
	"cs/storage/mem"
	"cs/storage/storagetest"
)

func TestStore(t *testing.T) {
	storagetest.Run(t, func(*testing.T) (storage.Store, func() storage.Store) {
		s := mem.New()
		return s, func() storage.Store { return s }
	})
}

package platform

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path); !errors.Is(err, ErrLocked) {
		t.Fatalf("locked twice: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Lock(path); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := Lock(filepath.Join(path, "no", "such")); err == nil || errors.Is(err, ErrLocked) {
		t.Fatalf("got %v", err)
	}
}

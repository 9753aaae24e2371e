package platform

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFileID(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, path := range []string{a, b} {
		if err := os.WriteFile(path, []byte(path), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := func(path string) FileID {
		t.Helper()
		id, err := FileIDAt(path)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := id(a)
	if first == id(b) {
		t.Fatal("two files have one identity")
	}
	f, err := OpenShared(a)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Rename(a, a+".1"); err != nil { // although it is open
		t.Fatal(err)
	}
	open, err := FileIDOf(f)
	if err != nil || open != first || id(a+".1") != first {
		t.Fatalf("the identity changed with the name: %v, %v", open, err)
	}
	if NetworkFS(dir) && os.Getenv("TMPDIR") == "" {
		t.Error("the directory for temporary files counts as a network filesystem")
	}
}

package bolt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"cs/decisions"
	"cs/storage"
	"cs/storage/storagetest"
)

func TestStore(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) (storage.Store, func() storage.Store) {
		path := filepath.Join(t.TempDir(), "cs.db")
		s := open(t, path)
		t.Cleanup(func() { s.Close() })
		return s, func() storage.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, path)
			return s
		}
	})
}

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// filled makes a store of some hundred pages and closes it.
func filled(t *testing.T, path string) {
	t.Helper()
	s := open(t, path)
	for i := range 8 {
		var batch []decisions.Alert
		for j := range 20 {
			a := decisions.Alert{UUID: fmt.Sprint(i, "-", j), MachineID: "m", Message: strings.Repeat("x", 10*j*j), StartAt: time.Unix(1e9, 0)}
			for k := range j {
				a.Decisions = append(a.Decisions, decisions.Decision{Scope: "Ip", Value: fmt.Sprintf("10.%d.%d.%d", i, j, k), Until: time.Unix(2e9, 0)})
			}
			batch = append(batch, a)
		}
		if _, err := s.AddAlerts(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AddMachine(t.Context(), storage.Machine{ID: "m"}); err != nil {
		t.Fatal(err)
	}
	var used int64
	if err := s.read(t.Context(), func(tx *bbolt.Tx) error { used = tx.Size(); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Damage to what was set aside only would be none.
	if err := os.Truncate(path, used); err != nil {
		t.Fatal(err)
	}
}

func TestOpenLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cs.db")
	first := open(t, path)
	defer first.Close()

	start := time.Now()
	_, err := Open(t.Context(), path)
	if !errors.Is(err, storage.ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("a second open: %v", err)
	}
	if took := time.Since(start); took < lockWait/2 || took > 5*lockWait {
		t.Errorf("it took %v", took)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("an open whose context has ended: %v", err)
	}

	// The waiting ends as soon as the file is free.
	go func() {
		time.Sleep(100 * time.Millisecond)
		first.Close()
	}()
	open(t, path).Close()
}

func TestOpenMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes on Windows")
	}
	path := filepath.Join(t.TempDir(), "cs.db")
	open(t, path).Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.db")
	filled(t, good)
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	f := func(name, want string, condition error, damage func(path string)) {
		t.Helper()
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		damage(path)
		s, err := Open(t.Context(), path)
		if err == nil {
			s.Close()
			t.Fatalf("%s: opened", name)
		}
		if condition != nil && !errors.Is(err, condition) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if errors.Is(err, storage.ErrCorrupt) && !strings.Contains(err.Error(), "move the file away") {
			t.Errorf("%s: it does not say what to do: %v", name, err)
		}
		if strings.Count(err.Error(), path) > 1 {
			t.Errorf("%s: the path is there twice: %v", name, err)
		}
	}
	write := func(data []byte) func(string) {
		return func(path string) {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	edit := func(change func(tx *bbolt.Tx) error) func(string) {
		return func(path string) {
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.Update(change); err != nil {
				t.Fatal(err)
			}
		}
	}
	f("text", "invalid database", storage.ErrCorrupt, write([]byte(strings.Repeat("this is a text\n", 1000))))
	f("short", "", storage.ErrCorrupt, write([]byte("this is a text\n")))
	f("a page", "", storage.ErrCorrupt, write(content[:os.Getpagesize()]))
	f("truncated", "", storage.ErrCorrupt, write(content[:len(content)/2]))
	f("lost its end", "bytes", storage.ErrCorrupt, func(path string) { // what lies in use above the list of free pages
		edit(func(tx *bbolt.Tx) error { return tx.Bucket(valuesBucket).Put([]byte("v"), make([]byte, 1<<20)) })(path)
		if err := os.Truncate(path, int64(len(content))); err != nil {
			t.Fatal(err)
		}
	})
	f("zeroed", "", storage.ErrCorrupt, func(path string) {
		write(append(content[:4*os.Getpagesize():4*os.Getpagesize()], make([]byte, len(content)-4*os.Getpagesize())...))(path)
	})
	f("missing", "bucket decisions", storage.ErrCorrupt, edit(func(tx *bbolt.Tx) error { return tx.DeleteBucket(decisionsBucket) }))
	f("foreign", "another program", nil, edit(func(tx *bbolt.Tx) error { return tx.DeleteBucket(metaBucket) }))
	f("newer", "newer version", nil, edit(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(schemaKey, []byte{schema + 1}) }))
	f("directory", "", nil, func(path string) {
		os.Remove(path)
		os.Mkdir(path, 0o700)
	})
	f("nowhere", "no such file", os.ErrNotExist, func(path string) { os.RemoveAll(filepath.Dir(path)) })
}

// TestRandomDamage overwrites parts of a good file. Whatever is done with it
// then may fail but not end the process.
func TestRandomDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cs.db")
	filled(t, path)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	var refused, failed, unharmed int
	for range 30 {
		bad := append([]byte(nil), content...)
		for range 1 + rnd.IntN(3) {
			at, n := rnd.IntN(len(bad)), 1+rnd.IntN(2*os.Getpagesize())
			if rnd.IntN(2) == 0 {
				n = 1 + rnd.IntN(8)
			}
			for i := at; i < min(at+n, len(bad)); i++ {
				bad[i] = byte(rnd.Uint32())
			}
		}
		path := filepath.Join(t.TempDir(), "cs.db")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), path)
		switch {
		case err != nil:
			refused++
			if _, again := Open(t.Context(), path); again == nil || again.Error() != err.Error() {
				t.Errorf("opened again: %v, the first time: %v", again, err)
			}
			continue
		case useAll(t.Context(), s) != nil:
			failed++
		default:
			unharmed++
		}
		s.Close()
	}
	t.Logf("refused at open: %d, failed in use: %d, unharmed: %d", refused, failed, unharmed)
	if refused == 0 {
		t.Error("no damage was found at open")
	}
}

// useAll reads everything and writes a little.
func useAll(ctx context.Context, s *Store) error {
	var ids []int64
	_, err := s.Machines(ctx)
	_, berr := s.Bouncers(ctx)
	return errors.Join(err, berr,
		s.EachAlert(ctx, storage.AlertFilter{}, func(a *decisions.Alert) bool {
			ids = append(ids, a.ID)
			return true
		}),
		s.EachDecision(ctx, time.Time{}, func(*decisions.Decision) bool { return true }),
		func() error {
			_, err := s.AddAlerts(ctx, []decisions.Alert{{UUID: "new", MachineID: "m", Decisions: make([]decisions.Decision, 3)}})
			return err
		}(),
		func() error {
			_, err := s.DeleteAlerts(ctx, ids[:len(ids)/2])
			return err
		}(),
	)
}

func TestNewerRecord(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "cs.db"))
	defer s.Close()
	err := s.write(t.Context(), func(tx *bbolt.Tx) error {
		return tx.Bucket(machinesBucket).Put([]byte("m"), []byte{machineVersion + 1, 1, 2, 3})
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Machine(t.Context(), "m")
	if want := `cannot read machine "m": a newer version of the program wrote it (format 3)`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if errors.Is(err, storage.ErrCorrupt) {
		t.Error("a newer record counts as damage")
	}
}

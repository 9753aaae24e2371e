package bolt

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"cs/decisions"
	"cs/storage"
)

// transactions tells how many write transactions the file has seen.
func transactions(t *testing.T, s *Store) (n int) {
	t.Helper()
	if err := s.read(t.Context(), func(tx *bbolt.Tx) error { n = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestConcurrentWritesShareTransactions(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "cs.db"))
	defer s.Close()
	before := transactions(t, s)

	started, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		s.write(t.Context(), func(*bbolt.Tx) error {
			close(started)
			<-release
			return nil
		})
	})
	<-started
	const n = 50
	for i := range n {
		wg.Go(func() {
			if _, err := s.AddAlerts(t.Context(), []decisions.Alert{{UUID: fmt.Sprint(i)}}); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond) // for the calls to queue up
	close(release)
	wg.Wait()
	if got := transactions(t, s) - before; got > 1+n/5 {
		t.Errorf("%d calls took %d transactions", n, got)
	}
}

func TestAFailedChangeIsLeftOut(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "cs.db"))
	defer s.Close()
	refused := errors.New("refused")
	set := func(name string) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error { return tx.Bucket(valuesBucket).Put([]byte(name), []byte("x")) }
	}
	half := func(tx *bbolt.Tx) error {
		if err := set("half")(tx); err != nil {
			return err
		}
		return refused
	}
	batch := []*change{{do: set("a")}, {do: half}, {do: set("b")}, {do: half}}
	s.commit(batch)
	for i, want := range []error{nil, refused, nil, refused} {
		if batch[i].err != want {
			t.Errorf("change %d: %v, want %v", i, batch[i].err, want)
		}
	}
	for name, want := range map[string]error{"a": nil, "b": nil, "half": storage.ErrNotFound} {
		if _, err := s.Value(t.Context(), name); !errors.Is(err, want) {
			t.Errorf("value %q: %v, want %v", name, err, want)
		}
	}
	// What bbolt refuses is a failed change like any other.
	long := make([]byte, bbolt.MaxKeySize+1)
	if err := s.AddMachine(t.Context(), storage.Machine{ID: string(long)}); err == nil {
		t.Error("a name beyond the key size was taken")
	}
	if err := s.AddMachine(t.Context(), storage.Machine{ID: "m"}); err != nil {
		t.Error(err)
	}
}

// TestPanicInTransaction stands for a damaged page found while writing: the
// store must say so, write no more, and still close.
func TestPanicInTransaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cs.db")
	s := open(t, path)
	if err := s.AddMachine(t.Context(), storage.Machine{ID: "m"}); err != nil {
		t.Fatal(err)
	}
	err := s.write(t.Context(), func(*bbolt.Tx) error { panic("page 7 can't be") })
	if !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), "page 7 can't be") {
		t.Errorf("the panic became %v", err)
	}
	if err := s.AddMachine(t.Context(), storage.Machine{ID: "n"}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a write after it: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = open(t, path)
	defer s.Close()
	if _, err := s.Machine(t.Context(), "m"); err != nil {
		t.Error(err)
	}
}

func TestPanicOfACaller(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "cs.db"))
	defer s.Close()
	if err := s.AddMachine(t.Context(), storage.Machine{ID: "m"}); err != nil {
		t.Fatal(err)
	}
	err := s.UpdateMachine(t.Context(), "m", func(m *storage.Machine) error {
		m.Datasources["nil map"] = 1
		return nil
	})
	if err == nil || errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), "BUG") {
		t.Errorf("a panicking change gives %v", err)
	}
	if err := s.AddMachine(t.Context(), storage.Machine{ID: "n"}); err != nil {
		t.Errorf("a write after it: %v", err)
	}
}

// The measure of the store: alerts per second when many agents report at once.
func BenchmarkAddAlerts(b *testing.B) {
	for _, writers := range []int{1, 50} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "cs.db"))
			defer s.Close()
			var wg sync.WaitGroup
			work := make(chan int, writers)
			for range writers {
				wg.Go(func() {
					for i := range work {
						if _, err := s.AddAlerts(b.Context(), []decisions.Alert{typical(i)}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ResetTimer()
			for i := range b.N {
				work <- i
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alerts/s")
		})
	}
}

// typical is an alert of an ssh brute force: six events of eight fields, one ban.
func typical(i int) decisions.Alert {
	a := decisions.Alert{
		UUID: fmt.Sprintf("9c1b6e1c-0000-4000-8000-%012d", i), MachineID: "web-1", Scenario: "crowdsecurity/ssh-bf",
		Message: "Ip 192.0.2.7 performed 'crowdsecurity/ssh-bf' (6 events over 12s)", Kind: "crowdsec", Leakspeed: "10s",
		Capacity: 5, EventsCount: 6, Remediation: true,
		Source:  decisions.Source{Scope: "Ip", Value: "192.0.2.7", IP: "192.0.2.7", Country: "DE"},
		StartAt: time.Now(), StopAt: time.Now(), Created: time.Now(),
		Decisions: []decisions.Decision{{
			UUID: "9c1b6e1c-0000-4000-8000-000000000000", Origin: "crowdsec", Scenario: "crowdsecurity/ssh-bf", Scope: "Ip",
			Type: "ban", Value: "192.0.2.7", Created: time.Now(), Until: time.Now().Add(4 * time.Hour),
		}},
	}
	for range 6 {
		a.Events = append(a.Events, decisions.Event{Timestamp: "2026-03-01T12:30:15Z", Meta: []decisions.KeyValue{
			{Key: "datasource_path", Value: "/var/log/auth.log"}, {Key: "datasource_type", Value: "file"},
			{Key: "log_type", Value: "ssh_failed-auth"}, {Key: "machine", Value: "web-1"}, {Key: "service", Value: "ssh"},
			{Key: "source_ip", Value: "192.0.2.7"}, {Key: "target_user", Value: "root"}, {Key: "timestamp", Value: "2026-03-01T12:30:15Z"},
		}})
	}
	return a
}

// BenchmarkEachDecision is the load at the start of a LAPI.
func BenchmarkEachDecision(b *testing.B) {
	path := filepath.Join(b.TempDir(), "cs.db")
	s := open(b, path)
	var a decisions.Alert
	for i := range 50_000 {
		a.Decisions = append(a.Decisions, decisions.Decision{
			UUID: fmt.Sprintf("9c1b6e1c-0000-4000-8000-%012d", i), Origin: "lists", Scenario: "some_blocklist", Scope: "Ip",
			Type: "ban", Value: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&0xff, i&0xff), Until: time.Now().Add(time.Hour),
		})
	}
	if _, err := s.AddAlerts(b.Context(), []decisions.Alert{a}); err != nil {
		b.Fatal(err)
	}
	s.Close()
	b.ReportAllocs()
	for b.Loop() {
		s := open(b, path)
		n := 0
		if err := s.EachDecision(b.Context(), time.Now(), func(*decisions.Decision) bool { n++; return true }); err != nil || n != 50_000 {
			b.Fatal(n, err)
		}
		s.Close()
	}
}

//go:build unix

package bolt

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/decisions"
	"cs/storage"
)

// killedChild names the file that a child process writes to until it is killed.
const killedChild = "CS_TEST_BOLT_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(killedChild); path != "" {
		writeUntilKilled(path)
	}
	if dir := os.Getenv(fullChild); dir != "" {
		if err := writeUntilFull(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// writeUntilKilled adds alerts from several goroutines and prints the ID and
// UUID of each one that is acknowledged.
func writeUntilKilled(path string) {
	s, err := Open(context.Background(), path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				uuid := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				batch := []decisions.Alert{{
					UUID: uuid, MachineID: "m", Message: strings.Repeat("x", i%5000),
					Decisions: []decisions.Decision{{Value: uuid}},
				}}
				if _, err := s.AddAlerts(context.Background(), batch); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				fmt.Fprintln(os.Stdout, batch[0].ID, uuid) // short enough to be written whole or not at all
				if i%7 == 3 {
					if _, err := s.DeleteAlerts(context.Background(), []int64{batch[0].ID - 1000}); err != nil {
						fmt.Fprintln(os.Stderr, err)
						os.Exit(1)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestKill kills a writing process at random moments and checks that the file
// opens and holds every alert that was acknowledged.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cs.db")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	total := 0
	for round := range 8 {
		total += killOnce(t, path, round, time.Duration(rnd.IntN(250))*time.Millisecond)
	}
	t.Logf("%d alerts were acknowledged", total)
	if total == 0 {
		t.Error("no child got as far as one alert")
	}
}

func killOnce(t *testing.T, path string, round int, after time.Duration) int {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), killedChild+"="+path)
	var failure bytes.Buffer
	child.Stderr = &failure
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(after, func() { child.Process.Kill() })
	defer kill.Stop()
	if round%2 > 0 {
		kill.Stop() // it is killed so long after its first alert, however slow the machine is
	}
	acknowledged := map[int64]string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		id, uuid, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			t.Fatalf("the child says %q", lines.Text())
		}
		if acknowledged[n] = uuid; round%2 > 0 && len(acknowledged) == 1 {
			kill.Reset(after)
		}
	}
	child.Wait() // killed
	if failure.Len() > 0 {
		t.Fatalf("round %d: the child failed: %s", round, &failure)
	}

	n := len(acknowledged)
	s := open(t, path)
	defer s.Close()
	last := int64(0)
	err = s.EachAlert(t.Context(), storage.AlertFilter{Oldest: true}, func(a *decisions.Alert) bool {
		if uuid, ok := acknowledged[a.ID]; ok {
			if a.UUID != uuid || len(a.Decisions) != 1 || a.Decisions[0].Value != uuid {
				t.Errorf("round %d: alert %d is %q with %d decisions, acknowledged as %q", round, a.ID, a.UUID, len(a.Decisions), uuid)
			}
			delete(acknowledged, a.ID)
		}
		last = a.ID
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, uuid := range acknowledged {
		// The child deletes what is a thousand alerts old.
		if id > last-1000 {
			t.Errorf("round %d: alert %d (%s) was acknowledged and is lost", round, id, uuid)
		}
	}
	return n
}

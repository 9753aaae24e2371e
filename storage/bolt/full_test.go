//go:build linux

package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"cs/decisions"
	"cs/storage"
)

// fullChild names the directory over which a child process, in name spaces of
// its own, mounts a small file system.
const fullChild = "CS_TEST_BOLT_FULL"

// TestDiskFull lets a disk become full under a storm of writers.
func TestDiskFull(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), fullChild+"="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := child.CombinedOutput()
	if err != nil && (child.Process == nil || strings.Contains(string(out), "cannot mount")) {
		t.Skipf("there can be no small disk here: %v %s", err, out)
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func writeUntilFull(dir string) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		return fmt.Errorf("cannot mount: %w", err)
	}
	ctx := context.Background()
	ballast, path := filepath.Join(dir, "ballast"), filepath.Join(dir, "cs.db")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		return err
	}
	s, err := Open(ctx, path)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	acknowledged := map[int64]string{}
	storm := func(name string) []error {
		var errs []error
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				for i := range 400 {
					uuid := fmt.Sprintf("%s-%d-%d", name, w, i)
					batch := []decisions.Alert{{UUID: uuid, MachineID: "m", Message: strings.Repeat("x", 1000), Decisions: make([]decisions.Decision, 2)}}
					_, err := s.AddAlerts(ctx, batch)
					mu.Lock()
					if err != nil {
						errs = append(errs, err)
					} else {
						acknowledged[batch[0].ID] = uuid
					}
					mu.Unlock()
				}
			})
		}
		writers.Wait()
		return errs
	}
	check := func() error {
		for id, uuid := range acknowledged {
			if a, err := s.Alert(ctx, id); err != nil || a.UUID != uuid || len(a.Decisions) != 2 {
				return fmt.Errorf("alert %d was acknowledged as %s: %q with %d decisions, %w", id, uuid, a.UUID, len(a.Decisions), err)
			}
		}
		seen := 0
		err := s.EachAlert(ctx, storage.AlertFilter{}, func(*decisions.Alert) bool { seen++; return true })
		if seen != len(acknowledged) {
			return errors.Join(err, fmt.Errorf("there are %d alerts, %d were acknowledged", seen, len(acknowledged)))
		}
		return err
	}
	errs := storm("first")
	if len(errs) == 0 || len(acknowledged) == 0 {
		return fmt.Errorf("%d writes failed, %d succeeded: the disk is not of the right size", len(errs), len(acknowledged))
	}
	for _, err := range errs {
		if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, storage.ErrCorrupt) {
			return fmt.Errorf("a full disk gives %w", err)
		}
	}
	if err := check(); err != nil {
		return fmt.Errorf("on a full disk: %w", err)
	}
	// With room again the same process goes on.
	if err := os.Remove(ballast); err != nil {
		return err
	}
	before := len(acknowledged)
	storm("second")
	if len(acknowledged) == before {
		return errors.New("nothing was written after there was room again")
	}
	if err := check(); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = Open(ctx, path); err != nil {
		return err
	}
	if err := check(); err != nil {
		return fmt.Errorf("opened again: %w", err)
	}
	return s.Close()
}

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// bucketsName is the file in the data directory that keeps the buckets while
// no agent runs, so that an attacker doesn't begin anew with each update.
const bucketsName = "buckets"

// loadBuckets takes over the buckets that the last agent left. They are taken
// once: after a crash they would be too old to count again.
func (a *Agent) loadBuckets() {
	path := filepath.Join(a.cfg.DataDir, bucketsName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = a.engine.LoadState(f, time.Now())
		err = errors.Join(err, f.Close(), os.Remove(path))
	}
	if err != nil {
		a.log.Error("some attackers begin anew: the buckets of the last run can't be read", "err", err)
	}
}

// saveBuckets leaves the buckets to the next agent. It doesn't wait for the disk:
// a file that a power cut damages is found out when it is read.
func (a *Agent) saveBuckets() error {
	path := filepath.Join(a.cfg.DataDir, bucketsName)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot keep the buckets: %w", err)
	}
	err = errors.Join(a.current().SaveState(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("cannot keep the buckets: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

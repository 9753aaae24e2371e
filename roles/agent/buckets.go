package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// bucketsName is the file in the data directory that keeps the buckets, so that an
// attacker doesn't begin anew with each update, or crash, of the agent.
const bucketsName = "buckets"

// loadBuckets takes over the buckets that the last agent left. What has ended since is
// left out.
func (a *Agent) loadBuckets() {
	path := filepath.Join(a.cfg.DataDir, bucketsName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = errors.Join(a.engine.LoadState(f, time.Now()), f.Close())
	}
	if err != nil {
		a.log.Error("some attackers begin anew: the buckets of the last run can't be read", "err", err)
	}
}

// saveBuckets leaves the buckets to the next agent, if any event was poured since the
// last time. It doesn't wait for the disk: a file that a power cut damages is
// found out when it is read.
//
// The positions are saved between the buckets and the moment from which those count:
// the lines that are in them are never read again and counted twice. Those
// of that moment in between are not counted after a crash.
func (a *Agent) saveBuckets() error {
	poured := a.stats().Poured
	if poured == a.bucketsOf {
		return nil
	}
	path := filepath.Join(a.cfg.DataDir, bucketsName)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot keep the buckets: %w", err)
	}
	if err = errors.Join(a.current().SaveState(f), f.Close()); err == nil {
		err = a.positions.Save()
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("cannot keep the buckets: %w", errors.Join(err, os.Remove(f.Name())))
	}
	a.bucketsOf = poured
	return nil
}

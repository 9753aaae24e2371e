package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"cs/pipeline/source"
	"cs/platform"
)

// maxMemories is how many rotated files a tail remembers after it has read
// them, so that they are not taken for missed ones.
const maxMemories = 8

// tail follows what is, and what was, at one path.
type tail struct {
	s       *Source
	path    string
	early   bool  // it was there when we started
	wanted  bool  // named as it is, not found by a pattern
	linked  bool  // a symbolic link leads to it
	resumed bool  // positions of an earlier process are taken over
	since   int64 // unix seconds; what changed after that was not read by that process
	trouble string

	cur *reader   // the file at path; nil when there is none
	old []*reader // rotated ones, oldest first

	// While positions of an earlier process are taken over: what is about to become cur, and the
	// files beside the log, for there may be as many positions as files.
	resuming bool
	next     *reader
	listed   []sibling
}

// look reads what there is to read. Errors are those of the sink and of ctx; trouble with the
// file is reported.
func (t *tail) look(ctx context.Context, out source.Sink) (more bool, err error) {
	ok := t.open()
	// Order is kept without waiting for the old files to fall silent: what is in the new
	// file up to here was written after what is in the old ones, if by the
	// same program, once they have been read to their end.
	limit := int64(noLimit)
	if t.cur != nil {
		size, err := t.cur.look(t.s.now())
		if err != nil {
			return false, t.failed(t.cur, err)
		}
		if err := t.refilled(t.cur); err != nil {
			return false, t.failed(t.cur, err)
		}
		if t.rotating() {
			limit = size
		}
	}
	for i := 0; i < len(t.old); i++ {
		r := t.old[i]
		if r.f == nil {
			continue
		}
		more, wait, err := t.drain(ctx, r, out)
		if err != nil {
			if err = t.failed(r, err); err != nil {
				return false, err
			}
			ok = false
			continue
		}
		if more || wait {
			return more, nil
		}
	}
	t.retire()
	if t.cur == nil {
		return false, nil
	}
	more, err = t.cur.read(ctx, t.s, limit, false, out)
	if errors.Is(err, errTruncated) {
		t.truncated(t.cur)
		return true, nil
	}
	if err != nil {
		return false, t.failed(t.cur, err)
	}
	if ok {
		t.trouble = ""
	}
	return more, nil
}

// open makes cur the file that is at the path now. It returns false after
// trouble.
func (t *tail) open() bool {
	id, err := platform.FileIDAt(t.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.early = false
		t.rotated()
		if !t.resumed {
			t.resume(nil)
			t.takeOver()
		}
		if t.wanted && len(t.old) == 0 {
			return t.report(describe(t.path, err))
		}
		return true
	case err != nil:
		return t.report(describe(t.path, err))
	case t.cur != nil && t.cur.id == id && !t.cur.broken:
		return true
	case t.cur != nil && t.cur.id != id:
		t.rotated()
	}
	if i := slices.IndexFunc(t.old, func(r *reader) bool { return r.f != nil && r.id == id }); i >= 0 {
		t.cur = t.old[i] // renamed back
		t.old = slices.Delete(t.old, i, i+1)
		return true
	}
	r, err := openReader(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true // gone again: the next look sees what became of it
	}
	if err != nil {
		return t.report(describe(t.path, err))
	}
	if old := t.cur; old != nil { // broken: the same file, opened again
		if r.id == old.id {
			old.close()
			old.f, old.broken = r.f, false
		} else {
			r.close()
		}
		return true
	}
	if t.s.follows(r.id) {
		r.close() // it came from another path of ours, which hands it over when it is quiet
		return true
	}
	if err := t.begin(r); err != nil {
		r.close()
		return t.report(describe(t.path, err))
	}
	t.s.moved = true
	real, err := filepath.EvalSymlinks(t.path)
	t.linked = err == nil && real != t.path
	return true
}

// begin makes r the current file and decides where it is read from.
func (t *tail) begin(r *reader) error {
	first := len(t.old) == 0
	switch {
	case !t.resumed && t.resume(r):
		first = false
	case first && t.early && !t.s.cfg.FromStart:
		if err := r.seekEnd(); err != nil {
			return err
		}
	}
	if _, err := r.look(t.s.now()); err != nil {
		return err
	}
	if _, err := r.same(&t.s.headBuf); err != nil {
		return err
	}
	if !first {
		r.missed(t.s)
		t.addMissed(r)
	}
	r.emptied = r.emptied || r.size == 0
	t.early = false
	t.cur = r
	if t.resumed {
		r.track(t.s, t.key(), nil)
	} else {
		t.takeOver()
	}
	return nil
}

// takeOver makes the positions of the files those that count, instead of the ones that an
// earlier process has left.
func (t *tail) takeOver() {
	t.resumed = true
	all := t.old
	if t.cur != nil {
		all = append(slices.Clone(t.old), t.cur)
	}
	list := make([]source.Position, len(all))
	for i, r := range all {
		list[i] = r.position()
	}
	for i, m := range t.s.cfg.Positions.Replace(t.key(), list) {
		all[i].mark = m
	}
}

// resume finds the files that an earlier process has left positions of; false if there are none.
// If one of them is of r, the file at the path, r goes on there.
func (t *tail) resume(r *reader) bool {
	t.resuming, t.next = true, r
	defer func() { t.resuming, t.next, t.listed = false, nil, nil }()
	saved := t.s.cfg.Positions.Saved(t.key())
	if len(saved) == 0 && r != nil {
		// Rotated to a path that we follow as well.
		pos, ok := t.s.cfg.Positions.SavedFile(t.s.keyPrefix(), r.id)
		return ok && r.resume(t.s, pos)
	}
	memory := func(pos source.Position) *reader {
		return &reader{path: t.path, id: pos.File, headLen: pos.HeadLen, headHash: pos.HeadHash, off: pos.Offset}
	}
	gap := false         // only its neighbours tell what became of a file
	var behind []*reader // files behind such gaps
	for i, pos := range saved {
		t.since = max(t.since, pos.Time)
		switch {
		case pos.Done:
			t.remember(memory(pos))
		case r != nil && pos.File == r.id && r.resume(t.s, pos):
		case t.s.follows(pos.File):
		case i < len(saved)-1 && pos.HeadLen == 0: // was empty; another file may have its inode now
			gap = true
		default:
			if r != nil && pos.File == r.id {
				t.listed = nil // it was emptied, perhaps just now
			}
			found := t.findRest(pos)
			if found != nil && found.f == nil { // killed between finding the copy and going on with the log
				gap = true
				continue
			}
			if found == nil {
				if i == len(saved)-1 || saved[i+1].Offset == 0 { // otherwise it had been read to its end
					t.s.cfg.Report(fmt.Errorf("lines of %s after byte %d may be lost: it was rotated while it was not read, and the old file is gone", t.path, pos.Offset))
				}
				found = memory(pos)
			}
			t.remember(found)
			if found.f != nil && (gap || found.emptied) {
				behind = append(behind, found)
			}
			// What is not in the file any more was there before it was refilled.
			gap = found.f == nil || found.id != pos.File
		}
	}
	for _, found := range behind {
		t.addMissed(found)
	}
	return len(saved) > 0
}

// remember adds a rotated file.
func (t *tail) remember(r *reader) { t.insert(len(t.old), r) }

// insert adds a rotated file that is older than the i-th.
func (t *tail) insert(i int, r *reader) {
	var next *source.Mark
	switch {
	case i < len(t.old):
		next = t.old[i].mark
	case t.cur != nil:
		next = t.cur.mark
	}
	if t.resumed {
		r.track(t.s, t.key(), next)
	}
	t.old = slices.Insert(t.old, i, r)
}

// index returns the place of a file among the rotated ones; that of the current one is
// behind them.
func (t *tail) index(r *reader) int {
	if i := slices.Index(t.old, r); i >= 0 {
		return i
	}
	return len(t.old)
}

// rotated is called when the current file is no longer at the path.
func (t *tail) rotated() {
	if t.cur == nil {
		return
	}
	t.cur.grew = t.s.now() // it may be written to for a while from now
	r := t.cur
	t.old = append(t.old, r)
	t.cur = nil
	if r.emptied { // and will perhaps never be filled again
		t.addMissed(r)
	}
}

// drain reads a rotated file. wait asks not to read newer ones yet, because its last
// line may be unfinished.
func (t *tail) drain(ctx context.Context, r *reader, out source.Sink) (more, wait bool, err error) {
	if r.packed != nil {
		more, err = r.unpack(ctx, t.s, out)
		switch {
		case err != nil:
			r.grew = time.Time{} // trying again is of no use
		case !more:
			r.close()
			r.save()
		}
		return more, false, err
	}
	now := t.s.now()
	if _, err := r.look(now); err != nil {
		return false, false, err
	}
	before := len(t.old)
	if err := t.refilled(r); err != nil {
		return false, false, err
	}
	if len(t.old) > before { // there are older ones to read first
		return true, false, nil
	}
	more, err = r.read(ctx, t.s, noLimit, false, out)
	if err == nil && !more && r.off < r.size {
		if now.Sub(r.grew) < quiet {
			return false, true, nil
		}
		more, err = r.read(ctx, t.s, noLimit, true, out)
	}
	if errors.Is(err, errTruncated) {
		t.truncated(r)
		return true, false, nil
	}
	return more, false, err
}

// retire closes the rotated files that have been quiet for long enough.
func (t *tail) retire() {
	now := t.s.now()
	for i := 0; i < len(t.old); i++ {
		r := t.old[i]
		if r.f == nil || r.off < r.size || now.Sub(r.grew) < drain {
			continue
		}
		adopted, busy := t.s.adopt(r)
		if adopted {
			t.old = slices.Delete(t.old, i, i+1)
			i--
		}
		if adopted || busy {
			continue
		}
		r.close()
		r.save()
	}
	for len(t.old) > maxMemories && t.old[0].f == nil {
		t.old[0].mark.Drop()
		t.old = t.old[1:]
	}
}

// truncated is called when a file was emptied in place. What was added to it
// before that may be in a copy.
func (t *tail) truncated(r *reader) {
	c := t.findCopy(r.position())
	switch {
	case c != nil && c.f != nil:
		t.insert(t.index(r), c)
	case c == nil && r.headLen > 0:
		t.s.cfg.Report(fmt.Errorf("%s was truncated and there is no copy of it: lines after byte %d may be lost", t.path, r.off))
	}
	r.restart()
	r.emptied = true
	t.addMissed(r)
}

// refilled looks, when there is something in a file that was empty, whether it
// was filled, copied and emptied before.
func (t *tail) refilled(r *reader) error {
	if !r.emptied || r.size == 0 {
		return nil
	}
	if _, err := r.same(&t.s.headBuf); err != nil {
		return err
	}
	r.emptied = false
	t.addMissed(r)
	return nil
}

// failed reports trouble with reading a file, which is tried again; it
// passes on what isn't.
func (t *tail) failed(r *reader, err error) error {
	if !errors.As(err, new(*readError)) {
		return err
	}
	r.broken = true
	t.report(describe(r.path, err))
	if r != t.cur && t.s.now().Sub(r.grew) >= drain {
		t.s.cfg.Report(fmt.Errorf("lines of the rotated %s after byte %d are lost: %w", t.path, r.off, err))
		r.close()
		r.save()
	}
	return nil
}

// report tells about trouble once. It returns false.
func (t *tail) report(err error) bool {
	if text := err.Error(); text != t.trouble {
		t.trouble = text
		t.s.cfg.Report(err)
	}
	return false
}

// rotating tells whether a rotated file is still read.
func (t *tail) rotating() bool {
	return slices.ContainsFunc(t.old, func(r *reader) bool { return r.f != nil })
}

// gone tells whether there is nothing left to follow.
func (t *tail) gone() bool {
	if t.wanted || t.cur != nil || t.rotating() {
		return false
	}
	if _, err := platform.FileIDAt(t.path); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	for _, r := range t.old {
		r.mark.Drop()
	}
	return true
}

// close lets go of the files; their positions stay.
func (t *tail) close() {
	for _, r := range append(t.old, t.cur) {
		if r != nil {
			r.close()
		}
	}
}

func (t *tail) key() string { return t.s.keyPrefix() + t.path }

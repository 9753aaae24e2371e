package file

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cs/pipeline/source"
	"cs/platform"
	"cs/platform/order"
)

// maxSiblings bounds how many files of a directory are looked at when a
// rotated one is searched for.
const maxSiblings = 10_000

// suffix is what rotation appends to a name: ".1", "-20260102", ".2026-01-02-1767312000".
var (
	suffix      = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[._-][0-9][0-9._-]*$`) })
	suffixAtEnd = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[._-][0-9][0-9._-]*$`) })
)

// sibling is a file next to a log.
type sibling struct {
	path    string
	id      platform.FileID
	rank    int // the number in ".1" or ".1.gz"; higher is older. 0 for dates
	changed time.Time
	size    int64
}

// older orders siblings by the time of their last change; in the same tick,
// by what the suffix says.
func (a sibling) older(b sibling) int {
	return cmp.Or(a.changed.Compare(b.changed), cmp.Compare(b.rank, a.rank), cmp.Compare(a.path, b.path))
}

// siblings returns the files in the directory of the log, and in that of the
// file it links to, whose names accept takes, oldest first.
func (t *tail) siblings(accept func(name string) bool) []sibling {
	all := t.list(accept)
	for range listTries {
		// A rotation that is under way renames files while they are listed.
		again := t.list(accept)
		if slices.EqualFunc(all, again, func(a, b sibling) bool { return a.path == b.path && a.id == b.id }) {
			break
		}
		all = again
	}
	return all
}

// listTries bounds how often a directory is listed that changes all the time.
const listTries = 10

func (t *tail) list(accept func(name string) bool) []sibling {
	dirs := []string{filepath.Dir(t.path)}
	if real, err := filepath.EvalSymlinks(t.path); err == nil && filepath.Dir(real) != dirs[0] {
		dirs = append(dirs, filepath.Dir(real))
	}
	base := filepath.Base(t.path)
	var all []sibling
	for _, dir := range dirs {
		d, err := os.Open(dir)
		if err != nil {
			continue
		}
		names, _ := d.Readdirnames(maxSiblings)
		d.Close()
		for _, name := range names {
			path := filepath.Join(dir, name)
			if path == t.path || !accept(name) {
				continue
			}
			fi, err := os.Lstat(path)
			if err != nil || !fi.Mode().IsRegular() {
				continue
			}
			sib := sibling{path: path, changed: fi.ModTime(), size: fi.Size()}
			if sib.id, err = platform.FileIDAt(path); err != nil {
				continue
			}
			if n, err := strconv.Atoi(strings.TrimPrefix(unpackedName(name), base+".")); err == nil && n < 10_000 {
				sib.rank = n
			}
			all = append(all, sib)
		}
	}
	order.Sort(all, sibling.older)
	return all
}

// isRotation tells whether name is that of the log with a suffix.
func (t *tail) isRotation(name string) bool {
	rest, ok := strings.CutPrefix(name, filepath.Base(t.path))
	return ok && suffix().MatchString(rest)
}

// isPackedRotation tells whether name is that of the log with a suffix and compressed.
func (t *tail) isPackedRotation(name string) bool {
	return unpackable(name) && t.isRotation(strings.TrimSuffix(name, filepath.Ext(name)))
}

// findRest finds the file that pos was taken of, under another name, and returns it opened
// at pos; nil if it is gone.
func (t *tail) findRest(pos source.Position) *reader {
	found := t.find(func(string) bool { return true }, func(sib sibling) bool { return sib.id == pos.File },
		func(r *reader) bool { return (r.packed == nil || pos.HeadLen > 0) && r.resume(t.s, pos) })
	if found == nil {
		if slices.ContainsFunc(t.listed, func(sib sibling) bool { return sib.id == pos.File }) {
			t.listed = nil // it was emptied, perhaps just now
		}
		return t.findCopy(pos)
	}
	return found
}

// findCopy finds the newest file that begins as the one that pos was taken of, and
// returns it opened at pos, or closed when this tail has it already; nil if there is none. If
// none is as long, lines were written and read after the copy was made: there is
// nothing to read in it then.
func (t *tail) findCopy(pos source.Position) *reader {
	if pos.HeadLen == 0 {
		return nil
	}
	found := t.find(t.isRotation, func(sib sibling) bool { return sib.size >= pos.Offset },
		func(r *reader) bool { return r.resume(t.s, pos) })
	if found == nil && pos.HeadLen == source.MaxHead { // less is too little to be sure
		found = t.find(t.isRotation, func(sib sibling) bool { return sib.size >= source.MaxHead && sib.size < pos.Offset },
			func(r *reader) bool {
				end := pos
				fi, err := r.f.Stat()
				if err != nil {
					return false
				}
				end.Offset, end.Skip = fi.Size(), false
				return r.resume(t.s, end)
			})
	}
	if found == nil {
		found = t.findPacked(pos)
	}
	if found != nil && t.knows(found) {
		found.close()
	}
	return found
}

// findPacked finds the newest compressed file with what pos was taken of, and returns it opened
// at pos; nil if there is none.
func (t *tail) findPacked(pos source.Position) *reader {
	n := 0
	return t.find(func(name string) bool {
		return t.isPackedRotation(name) || unpackable(name) && pos.HeadLen == source.MaxHead // less is too little to be sure
	}, func(sibling) bool { n++; return n <= maxPacked }, func(r *reader) bool { return r.resume(t.s, pos) })
}

// find returns the newest file with a name that accept takes for which likely and, once
// it is open, is are true; nil if there is none.
func (t *tail) find(accept func(name string) bool, likely func(sibling) bool, is func(*reader) bool) *reader {
	for try := range listTries {
		all := t.listed
		if all == nil || try > 0 {
			all = t.siblings(func(string) bool { return true })
		}
		if t.resuming {
			t.listed = all
		}
		moved := false
		for _, sib := range slices.Backward(all) {
			if !accept(filepath.Base(sib.path)) || !likely(sib) {
				continue
			}
			r, err := t.openSibling(sib)
			switch {
			case err != nil:
				moved = moved || errors.Is(err, errMoved)
			case is(r):
				return r
			default:
				r.close()
			}
		}
		if !moved {
			break
		}
	}
	return nil
}

// packedOf returns which of the siblings is what has become of a file that was read, newest first; -1
// if none is.
func (t *tail) packedOf(k *reader, all []sibling) int {
	n := 0
	for i, sib := range slices.Backward(all) {
		if !t.isPackedRotation(filepath.Base(sib.path)) {
			continue
		}
		if n++; n > maxPacked {
			break
		}
		if m, err := t.openSibling(sib); err == nil {
			packs := m.packs(k, t.s)
			m.close()
			if packs {
				return i
			}
		}
	}
	return -1
}

// errMoved says that another file has the name, or none, of one that was listed.
var errMoved = errors.New("it was renamed")

// openSibling opens a file that was listed.
func (t *tail) openSibling(sib sibling) (*reader, error) {
	r, err := openReader(sib.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errMoved
	}
	if err != nil {
		return nil, err
	}
	if r.id != sib.id {
		r.close()
		return nil, errMoved
	}
	if unpackable(sib.path) {
		if err := r.openPacked(sib.path); err != nil {
			r.close()
			return nil, err
		}
	}
	r.path = t.path // the name that operators know
	return r, nil
}

// addMissed adds the files that were at the path after the one before r, and
// before r: rotated in and out between two looks, or while we did not run.
func (t *tail) addMissed(r *reader) {
	at := t.index(r)
	for range listTries {
		missed, err := t.missed(r, t.old[:at])
		if err == nil {
			for _, m := range missed {
				m.missed(t.s)
				t.insert(at, m)
				at++
			}
			return
		}
		for _, m := range missed {
			m.close()
		}
	}
}

// missed opens the files that came after the known ones and before r. Its error is
// errMoved, when files were renamed meanwhile.
func (t *tail) missed(r *reader, known []*reader) (missed []*reader, err error) {
	all := t.siblings(func(string) bool { return true })
	i := slices.IndexFunc(all, func(sib sibling) bool { return sib.id == r.id })
	if id, err := platform.FileIDAt(t.path); i < 0 && (err != nil || id != r.id) { // it was deleted
		if fi, err := r.f.Stat(); err == nil {
			i = slices.IndexFunc(all, func(sib sibling) bool { return sib.changed.After(fi.ModTime()) })
		}
	}
	if i >= 0 {
		all = all[:i] // what is newer came after it
	}
	// The last one may be deleted. What came after it came after the one before it, too,
	// and what came between them is known.
	from, reused := -1, -1
	for _, k := range slices.Backward(known) {
		at := slices.IndexFunc(all, func(sib sibling) bool { return sib.id == k.id })
		if at < 0 {
			continue
		}
		m, err := t.openSibling(all[at])
		if errors.Is(err, errMoved) {
			return nil, err
		}
		if err != nil {
			return nil, nil
		}
		same := m.is(k, t.s) || k.headLen == 0 && all[at].size == 0
		m.close()
		if same {
			from = at
			break
		}
		if m.packed == nil { // it was refilled, or another file has its inode: what is in it now came later
			reused = at
		}
	}
	for i := len(known) - 1; i >= 0 && from < 0; i-- {
		from = t.packedOf(known[i], all)
	}
	before := ""
	switch {
	case from >= 0:
		before = filepath.Base(all[from].path)
	case reused >= 0:
		from = reused - 1
	default:
		from = len(all) - 1
	}
	if before == "" && r.off == 0 && t.since > 0 { // only their times tell new ones from old ones
		for since := time.Unix(t.since, 0); from >= 0 && all[from].changed.After(since); {
			from--
		}
	}
	now := ""
	if real, err := filepath.EvalSymlinks(t.path); err == nil && real != t.path {
		now = filepath.Base(real)
	}
	for _, sib := range all[from+1:] {
		name := filepath.Base(sib.path)
		// While we run we are faster than who compresses.
		packed := !t.s.started && (t.isPackedRotation(name) || unpackable(name) && between(unpackedName(before), unpackedName(name), now))
		if !packed && !t.isRotation(name) && !between(before, name, now) {
			continue
		}
		if packed && slices.ContainsFunc(all, func(o sibling) bool { return o.path == strings.TrimSuffix(sib.path, filepath.Ext(sib.path)) }) {
			continue // being made of that one
		}
		m, err := t.openSibling(sib)
		if errors.Is(err, errMoved) {
			return missed, err
		}
		if err != nil {
			continue
		}
		if m.id == r.id || t.next != nil && m.id == t.next.id || t.s.follows(m.id) || t.knows(m) || m.copies(r) || m.copied(r, t.s) {
			m.close()
			continue
		}
		missed = append(missed, m)
	}
	return missed, nil
}

// unpackedName returns the name that a compressed file had before.
func unpackedName(name string) string {
	if unpackable(name) {
		return strings.TrimSuffix(name, filepath.Ext(name))
	}
	return name
}

// between tells whether name is one of a series of names with a number or a date in
// them, to which a link has led after it led to the first and before it leads to
// the last.
func between(first, name, last string) bool {
	return follows(first, name) && follows(name, last)
}

// follows tells whether two names are the same but for their digits, which are
// higher in the second.
func follows(a, b string) bool {
	if len(a) != len(b) || a >= b {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && (a[i]-'0' > 9 || b[i]-'0' > 9) {
			return false
		}
	}
	return true
}

// compared is how much of the start and the end of a file is compared to find out
// whether it is a copy.
const compared = 64 << 10

// copies tells whether all that is in a file is in another one as well: it is a copy of
// it, and that one is not yet truncated.
func (r *reader) copies(o *reader) bool {
	fi, err := r.f.Stat()
	if err != nil || o.f == nil || r.packed != nil {
		return false
	}
	size := fi.Size()
	if of, err := o.f.Stat(); err != nil || size == 0 || of.Size() < size {
		return false
	}
	part := min(size, compared)
	mine, its := make([]byte, part), make([]byte, part)
	for _, at := range []int64{0, size - part} {
		if _, err := r.f.ReadAt(mine, at); err != nil && err != io.EOF {
			return false
		}
		if _, err := o.f.ReadAt(its, at); err != nil && err != io.EOF {
			return false
		}
		if !bytes.Equal(mine, its) {
			return false
		}
	}
	return true
}

// copied tells whether a file is a copy of one of which something was read: it is found, and its
// rest read, when that one is seen to be truncated.
func (r *reader) copied(o *reader, s *Source) bool {
	probe := *r
	return o.off > 0 && o.headLen == source.MaxHead && probe.resume(s, source.Position{HeadLen: o.headLen, HeadHash: o.headHash})
}

// knows tells whether a file that was just opened is one that this tail has, or has read to
// its end.
func (t *tail) knows(r *reader) bool {
	return slices.ContainsFunc(t.old, func(o *reader) bool { return r.is(o, t.s) || r.packs(o, t.s) })
}

// packs tells whether a file is what has become of another one.
func (r *reader) packs(o *reader, s *Source) bool {
	probe := *r
	return r.packed != nil && o.packed == nil && o.headLen > 0 && probe.resume(s, o.position())
}

// is tells whether a file that was just opened is one that was read.
func (r *reader) is(o *reader, s *Source) bool {
	if r.id != o.id {
		return false
	}
	if o.f != nil {
		return true
	}
	// What was empty to the end has nothing to be recognised by: another
	// file may have its inode now.
	probe := *r
	return o.headLen > 0 && probe.resume(s, o.position())
}

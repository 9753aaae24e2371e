package file

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
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
	suffix      = regexp.MustCompile(`^[._-][0-9][0-9._-]*$`)
	suffixAtEnd = regexp.MustCompile(`[._-][0-9][0-9._-]*$`)
)

// sibling is a file next to a log.
type sibling struct {
	path    string
	id      platform.FileID
	rank    int // the number in ".1"; higher is older. 0 for dates
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
			if n, err := strconv.Atoi(strings.TrimPrefix(name, base+".")); err == nil && n < 10_000 {
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
	return ok && suffix.MatchString(rest)
}

// findRest finds the file that pos was taken of, under another name, and returns it opened
// at pos; nil if it is gone.
func (t *tail) findRest(pos source.Position) *reader {
	for _, sib := range t.siblings(func(string) bool { return true }) {
		if sib.id != pos.File {
			continue
		}
		if r := t.openAt(sib.path, pos); r != nil {
			return r
		}
	}
	return t.findCopy(pos)
}

// findCopy finds the newest file that begins as the one that pos was taken of
// and is as long at least, and returns it opened at pos; nil if there is none.
func (t *tail) findCopy(pos source.Position) *reader {
	if pos.HeadLen == 0 {
		return nil
	}
	for _, sib := range slices.Backward(t.siblings(t.isRotation)) {
		if sib.size < pos.Offset || t.knows(sib.path) {
			continue
		}
		if r := t.openAt(sib.path, pos); r != nil {
			return r
		}
	}
	return nil
}

func (t *tail) openAt(path string, pos source.Position) *reader {
	r, err := openReader(path)
	if err != nil {
		return nil
	}
	if !r.resume(t.s, pos) {
		r.close()
		return nil
	}
	r.path = t.path // the name that operators know
	return r
}

// addMissed adds the files that were at the path after the one before r, and
// before r: rotated in and out between two looks, or while we did not run.
func (t *tail) addMissed(r *reader) {
	at := t.index(r)
	if at == 0 {
		return
	}
	last := t.old[at-1]
	all := t.siblings(func(string) bool { return true })
	from := slices.IndexFunc(all, func(sib sibling) bool { return sib.id == last.id })
	if from < 0 {
		return // without the last one nothing tells new ones from old ones
	}
	now := ""
	if real, err := filepath.EvalSymlinks(t.path); err == nil && real != t.path {
		now = filepath.Base(real)
	}
	for _, sib := range all[from+1:] {
		if sib.id == r.id {
			return // what is newer came after it
		}
		if name := filepath.Base(sib.path); !t.isRotation(name) && !between(filepath.Base(all[from].path), name, now) || t.knows(sib.path) {
			continue
		}
		m, err := openReader(sib.path)
		if err != nil {
			continue
		}
		if m.id == r.id || t.s.follows(m.id) {
			m.close()
			continue
		}
		m.path = t.path
		m.missed(t.s)
		t.insert(at, m)
		at++
	}
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

// knows tells whether the file at path is one that this tail has, or has read to its end.
func (t *tail) knows(path string) bool {
	r, err := openReader(path)
	if err != nil {
		return false
	}
	defer r.close()
	return slices.ContainsFunc(t.old, func(o *reader) bool {
		// What was empty to the end has nothing to be recognised by: another
		// file may have its inode now.
		return o.id == r.id && (o.f != nil || o.headLen > 0 && r.resume(t.s, o.position()))
	})
}

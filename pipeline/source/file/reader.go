package file

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"time"

	"github.com/cespare/xxhash/v2"

	"cs/pipeline/source"
	"cs/platform"
)

// reader is one open file and how far it was read. Without f it is a memory
// of a rotated file that was read to its end.
type reader struct {
	f        *os.File
	packed   *packed // what counts is what is in f; nil: f itself
	path     string  // where it was opened
	id       platform.FileID
	headLen  int    // the first bytes, up to source.MaxHead …
	headHash uint64 // … tell it from another file with the same identity
	off      int64  // of the first byte that was not delivered
	skip     bool   // off is within a line that was cut
	size     int64  // when last looked at
	grew     time.Time
	changed  time.Time // by its own time stamp
	touched  bool      // that has moved since its beginning was looked at
	broken   bool      // reading failed: open it again
	emptied  bool      // it was empty when last looked at, and nothing of it was read since
	behind   int64     // up to here it was written while nobody read it,
	written  time.Time // until then
	mark     *source.Mark

	next     int64 // off and skip behind the batch that is with the sink
	nextSkip bool
	done     func() // moves there
}

var (
	errTruncated  = errors.New("truncated")
	errNotRegular = errors.New("it is no regular file")
)

func openReader(path string) (*reader, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() { // opening a device may do something
		return nil, errNotRegular
	}
	f, err := platform.OpenShared(path)
	if err != nil {
		return nil, err
	}
	id, err := platform.FileIDOf(f)
	if fi, serr := f.Stat(); err == nil && serr == nil && !fi.Mode().IsRegular() {
		err = errNotRegular // it took the file's place meanwhile
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	r := &reader{f: f, path: path, id: id}
	r.done = r.advance
	return r, nil
}

// resume goes on at pos if the file is the one that pos was taken of.
func (r *reader) resume(s *Source, pos source.Position) bool {
	fresh := *r
	r.headLen, r.headHash, r.off, r.skip = pos.HeadLen, pos.HeadHash, pos.Offset, pos.Skip
	if size, err := r.look(s.now()); err == nil && size >= pos.Offset {
		if same, err := r.same(&s.headBuf); err == nil && same {
			r.missed(s)
			r.emptied = pos.HeadLen == 0 // it was empty: who knows how often since
			return true
		}
	}
	*r = fresh
	return false
}

// missed notes that what is in the file now was written while nobody read it, if we
// have just begun.
func (r *reader) missed(s *Source) {
	if fi, err := r.f.Stat(); err == nil && !s.started {
		r.behind, r.written = fi.Size(), fi.ModTime()
		if r.packed != nil {
			r.behind = r.packed.size()
		}
	}
}

// endSearch is how far back from the end the start of the last line is searched.
const endSearch = 64 << 10

// seekEnd moves to the start of the last line if that has no newline yet, else
// to the end.
func (r *reader) seekEnd() error {
	fi, err := r.f.Stat()
	if err != nil {
		return err
	}
	size := fi.Size()
	start := max(0, size-endSearch)
	buf := make([]byte, size-start)
	n, err := r.f.ReadAt(buf, start)
	if err != nil && err != io.EOF {
		return err
	}
	last := bytes.LastIndexByte(buf[:n], '\n')
	if last < 0 && start > 0 {
		r.off, r.skip = start+int64(n), true
		return nil
	}
	r.off = start + int64(last) + 1
	return nil
}

// look returns the size and remembers when it last changed.
func (r *reader) look(now time.Time) (int64, error) {
	fi, err := r.f.Stat()
	if err != nil {
		return 0, &readError{err}
	}
	size := fi.Size()
	if r.packed != nil {
		size = r.packed.size()
	}
	if size != r.size || r.grew.IsZero() {
		r.size, r.grew = size, now
	}
	if at := fi.ModTime(); !at.Equal(r.changed) {
		r.changed, r.touched = at, true
	}
	return r.size, nil
}

// same tells whether the file still begins as it did, and learns more of its
// beginning.
func (r *reader) same(buf *[source.MaxHead]byte) (bool, error) {
	var n int
	if r.packed != nil {
		n = copy(buf[:], r.packed.head)
	} else {
		var err error
		if n, err = r.f.ReadAt(buf[:], 0); err != nil && err != io.EOF {
			return false, &readError{err}
		}
	}
	if n < r.headLen || r.headLen > 0 && xxhash.Sum64(buf[:r.headLen]) != r.headHash {
		return false, nil
	}
	if n > r.headLen {
		r.headLen, r.headHash = n, xxhash.Sum64(buf[:n])
	}
	return true, nil
}

// read delivers whole lines up to limit, or the end of file, and with final also a last
// one without newline. more tells that its turn was over before. It
// returns errTruncated when the file isn't what it was.
func (r *reader) read(ctx context.Context, s *Source, limit int64, final bool, out source.Sink) (more bool, err error) {
	s.split.SetSource(r.path)
	if s.buf == nil {
		s.buf = make([]byte, bufferSize)
	}
	defer func() {
		if len(s.buf) > bufferSize {
			s.buf = make([]byte, bufferSize) // one huge line must not pin its size for ever
		}
	}()
	if r.size < max(r.off, int64(r.headLen)) { // or its beginning was looked at later than its size
		if size, err := r.look(s.now()); err != nil {
			return false, err
		} else if size < max(r.off, int64(r.headLen)) {
			return false, errTruncated
		}
	}
	if r.headLen == 0 { // what is read must be of the file that this head is of
		if _, err := r.same(&s.headBuf); err != nil {
			return false, err
		}
	}
	if r.touched && r.off == r.size && r.off > 0 { // emptied, and as much written again?
		if same, err := r.same(&s.headBuf); err != nil {
			return false, err
		} else if !same {
			return false, errTruncated
		}
	}
	r.touched = false
	for budget := turn; r.off < min(limit, r.size); {
		want := min(int64(len(s.buf)), limit-r.off)
		n, err := r.f.ReadAt(s.buf[:want], r.off)
		if err != nil && err != io.EOF {
			return false, &readError{err}
		}
		// Checked after reading: if the beginning is still the same now, what
		// was read is of the same file as well.
		if same, serr := r.same(&s.headBuf); serr != nil {
			return false, serr
		} else if !same {
			return false, errTruncated
		}
		used, err := r.deliver(ctx, s, s.buf[:n], final && err == io.EOF, out)
		if err != nil {
			return false, err
		}
		if used == 0 {
			if n < len(s.buf) {
				return false, nil // the last line waits for its newline
			}
			s.buf = make([]byte, 2*len(s.buf))
		}
		if budget -= used; budget <= 0 {
			return true, nil
		}
	}
	return false, nil
}

// deliver hands over the lines in data, which begins at r.off.
func (r *reader) deliver(ctx context.Context, s *Source, data []byte, final bool, out source.Sink) (used int, err error) {
	for used < len(data) {
		if err := ctx.Err(); err != nil {
			return used, err
		}
		rest := data[used:]
		late := r.behind - r.off
		if late > 0 {
			s.split.SetWritten(r.written)
			rest = rest[:min(int64(len(rest)), late)]
		} else {
			s.split.SetWritten(time.Time{})
		}
		r.nextSkip = r.skip
		batch, n := s.split.Take(rest, &r.nextSkip, final && len(rest) == len(data)-used)
		if n == 0 && late > 0 && len(rest) < len(data)-used {
			r.behind = 0 // its last line was not complete then
			continue
		}
		if n == 0 {
			break
		}
		r.next = r.off + int64(n)
		if len(batch) == 0 {
			r.advance()
		} else if err := out(ctx, batch, r.done); err != nil {
			return used, err
		}
		if r.off != r.next {
			panic("BUG: a sink took lines of " + r.path + " and did not say that they are done")
		}
		used += n
	}
	return used, nil
}

func (r *reader) advance() {
	r.off, r.skip = r.next, r.nextSkip
	r.save()
}

// track makes the position of the file known to the positions under key.
func (r *reader) track(s *Source, key string, before *source.Mark) {
	pos := r.position()
	pos.Key = key
	r.mark = s.cfg.Positions.TrackBefore(pos, before)
}

func (r *reader) save() { r.mark.Set(r.position()) }

func (r *reader) position() source.Position {
	return source.Position{
		File: r.id, Offset: r.off, HeadLen: r.headLen, HeadHash: r.headHash, Skip: r.skip, Done: r.f == nil,
	}
}

// rename makes the reader belong to another path.
func (r *reader) rename(s *Source, path string) {
	r.path = path
	before := r.mark
	r.track(s, s.keyPrefix()+path, nil)
	before.Drop()
}

// restart begins the file anew, after a truncation.
func (r *reader) restart() {
	r.off, r.headLen, r.headHash, r.skip, r.behind = 0, 0, 0, false, 0
	r.save()
}

func (r *reader) close() {
	if r.packed != nil {
		r.packed.close()
	}
	if r.f != nil {
		r.f.Close()
		r.f = nil
	}
}

// readError tells trouble with a file from trouble with the sink.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

const noLimit = math.MaxInt64

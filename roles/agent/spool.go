package agent

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cs/platform"
	"cs/platform/order"
)

// The spool is a directory of segments, 1.seg, 2.seg, …, to which frames are
// appended, and a file that says up to where they have been dealt with.
//
//	frame: length of kind and payload (uint32, little endian), CRC-32C of them, kind, payload
//
// A frame that is cut off or damaged ends its segment: that is what a power
// cut leaves behind. So do alerts without the positions that follow them: a
// process that is killed may leave the first pages of what it was writing, and
// the lines of those alerts are read again.
//
// Several may take what is in it, each at its own pace: what all are done with goes.
type spool struct {
	*spoolReader // the first one
	dir          string
	limit        int64 // bytes of all segments
	lock         io.Closer

	mu       sync.Mutex
	segments []segment // oldest first; the last one is written to
	w        *os.File
	readers  []*spoolReader
	dirty    bool  // written and not yet synced
	damaged  int64 // bytes that could not be read at the start
}

// spoolReader is how far one of those who take alerts has got.
type spoolReader struct {
	s       *spool
	name    string // of the file that says so
	done    cursor // frames before it are dealt with
	dropped int    // alerts that it never took because of the limit, and has not told yet
}

type segment struct {
	number uint64
	size   int64
	alerts int // frames of kindAlert
}

// cursor is a place in the spool.
type cursor struct {
	segment uint64
	offset  int64
}

func (c cursor) before(d cursor) bool {
	return c.segment < d.segment || c.segment == d.segment && c.offset < d.offset
}

type frameKind byte

const (
	kindAlert frameKind = 'A'
	kindMoves frameKind = 'M' // positions that belong to the alerts before it
)

// frame is one record. end is the place behind it.
type frame struct {
	kind    frameKind
	payload []byte
	end     cursor
}

const (
	frameHead = 8
	// maxFrame bounds one frame. The engine bounds what an alert holds far below.
	maxFrame = 4 << 20
	// parts is how many segments a full spool has: a whole one is dropped when
	// it is full.
	parts    = 16
	doneName = "done"
	lockName = "lock"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openSpool opens the spool in dir, which is made if it isn't there. One
// process at a time has it open.
func openSpool(dir string, limit int64) (_ *spool, err error) {
	s := &spool{dir: dir, limit: limit}
	s.spoolReader = &spoolReader{s: s, name: doneName}
	s.readers = []*spoolReader{s.spoolReader}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the spool: %w", err)
	}
	if s.lock, err = platform.Lock(filepath.Join(dir, lockName)); err != nil {
		return nil, fmt.Errorf("cannot open the spool: %w", err)
	}
	defer func() {
		if err != nil {
			s.lock.Close()
		}
	}()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the spool: %w", err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".seg")
		if number, err := strconv.ParseUint(name, 10, 64); ok && err == nil && number > 0 {
			s.segments = append(s.segments, segment{number: number})
		}
	}
	order.Sort(s.segments, func(a, b segment) int { return cmp.Compare(a.number, b.number) })
	for i := range s.segments {
		if err := s.scan(&s.segments[i]); err != nil {
			return nil, fmt.Errorf("cannot open the spool: %w", err)
		}
	}
	if len(s.segments) == 0 {
		s.segments = []segment{{number: 1}}
	}
	s.readDone(s.spoolReader)
	if err := s.openLast(); err != nil {
		return nil, fmt.Errorf("cannot open the spool: %w", err)
	}
	return s, nil
}

// reader adds one who takes what is in the spool as well. The name must be good for a
// file. One that was not there before begins where the first one is.
func (s *spool) reader(name string) (*spoolReader, error) {
	r := &spoolReader{s: s, name: doneName + "-" + name}
	if _, err := os.Lstat(filepath.Join(s.dir, r.name)); errors.Is(err, fs.ErrNotExist) {
		if err := r.settle(s.spoolReader.done); err != nil {
			return nil, err
		}
	} else {
		s.readDone(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers = append(s.readers, r)
	return r, nil
}

// scan finds the end of what was appended to a segment as a whole and cuts off what
// is behind.
func (s *spool) scan(seg *segment) error {
	f, err := os.OpenFile(s.path(seg.number), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	r := frameReader{r: f, at: cursor{segment: seg.number}}
	for alerts := 0; ; {
		fr, err := r.next()
		if err != nil {
			break
		}
		if fr.kind == kindAlert {
			alerts++
			continue
		}
		seg.size = fr.end.offset
		seg.alerts += alerts
		alerts = 0
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if bad := fi.Size() - seg.size; bad > 0 {
		s.damaged += bad
		return f.Truncate(seg.size)
	}
	return nil
}

func (s *spool) path(number uint64) string {
	return filepath.Join(s.dir, strconv.FormatUint(number, 10)+".seg")
}

func (s *spool) last() *segment { return &s.segments[len(s.segments)-1] }

func (s *spool) openLast() (err error) {
	s.w, err = os.OpenFile(s.path(s.last().number), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return err
}

// append writes alerts and the positions behind their lines, the last frame, all or
// none as far as a crash goes.
func (s *spool) append(frames ...frame) error {
	var b []byte
	alerts := 0
	for _, fr := range frames {
		n := len(fr.payload) + 1
		if n > maxFrame {
			return fmt.Errorf("cannot spool an alert of %d bytes: the limit is %d", n, maxFrame)
		}
		if fr.kind == kindAlert {
			alerts++
		}
		head := len(b)
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
		b = append(b, 0, 0, 0, 0, byte(fr.kind))
		b = append(b, fr.payload...)
		binary.LittleEndian.PutUint32(b[head+4:], crc32.Checksum(b[head+frameHead:], castagnoli))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last().size > 0 && s.last().size+int64(len(b)) > s.limit/parts {
		if err := s.roll(); err != nil {
			return fmt.Errorf("cannot spool alerts: %w", err)
		}
	}
	if n, err := s.w.Write(b); err != nil {
		if n > 0 {
			err = errors.Join(err, s.cut())
		}
		return fmt.Errorf("cannot spool alerts: %w", err)
	}
	s.last().size += int64(len(b))
	s.last().alerts += alerts
	s.dirty = true
	return s.shrink()
}

// cut removes what was written of a frame that didn't fit, so that the next one
// follows a whole one. By its name, and back to the end of it: on Windows a file
// that is open to append can't be truncated, and one that roll made has a position.
func (s *spool) cut() error {
	if err := os.Truncate(s.path(s.last().number), s.last().size); err != nil {
		return err
	}
	_, err := s.w.Seek(0, io.SeekEnd)
	return err
}

// roll begins a new segment.
func (s *spool) roll() error {
	if err := s.w.Sync(); err != nil {
		return err
	}
	number := s.last().number + 1
	w, err := os.OpenFile(s.path(number), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	s.w.Close()
	s.w = w
	s.segments = append(s.segments, segment{number: number})
	return nil
}

// shrink keeps the limit by dropping the oldest segments.
func (s *spool) shrink() error {
	total := int64(0)
	for _, seg := range s.segments {
		total += seg.size
	}
	for total > s.limit && len(s.segments) > 1 {
		old := s.segments[0]
		left := make([]int, len(s.readers))
		for i, r := range s.readers {
			left[i] = r.pendingIn(old)
		}
		if err := os.Remove(s.path(old.number)); err != nil {
			return fmt.Errorf("cannot drop the oldest alerts: %w", err)
		}
		for i, r := range s.readers {
			r.dropped += left[i]
		}
		total -= old.size
		s.segments = s.segments[1:]
	}
	return nil
}

// pendingIn counts the alerts of a segment that are not dealt with. Where that can't be
// read it says all: better a number too high than a silent loss.
func (r *spoolReader) pendingIn(seg segment) int {
	if !r.done.before(cursor{seg.number, seg.size}) {
		return 0
	}
	if r.done.segment != seg.number {
		return seg.alerts
	}
	frames, err := r.s.readSegment(seg, r.done, seg.alerts)
	if err != nil {
		return seg.alerts
	}
	return len(frames)
}

// sync returns when everything appended is on disk. What the LAPI has already
// taken needs no disk.
func (s *spool) sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dirty {
		return nil
	}
	if err := s.w.Sync(); err != nil {
		return fmt.Errorf("cannot sync the spool: %w", err)
	}
	s.dirty = false
	return nil
}

// peek returns the oldest alerts that are not dealt with, n at most.
func (r *spoolReader) peek(n int) ([]frame, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	var out []frame
	for _, seg := range r.s.segments {
		if !r.done.before(cursor{seg.number, seg.size}) {
			continue
		}
		frames, err := r.s.readSegment(seg, r.done, n-len(out))
		out = append(out, frames...)
		if err != nil {
			return out, fmt.Errorf("cannot read the spool: %w", err)
		}
		if len(out) == n {
			break
		}
	}
	return out, nil
}

// readSegment returns at most n alerts of a segment that are not before from.
func (s *spool) readSegment(seg segment, from cursor, n int) (out []frame, err error) {
	f, err := os.Open(s.path(seg.number))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	at := cursor{segment: seg.number}
	if from.segment == seg.number {
		at = from
	}
	if _, err := f.Seek(at.offset, io.SeekStart); err != nil {
		return nil, err
	}
	r := frameReader{r: f, at: at}
	for len(out) < n && r.at.offset < seg.size {
		fr, err := r.next()
		if err != nil {
			return out, err
		}
		if fr.kind == kindAlert {
			out = append(out, fr)
		}
	}
	return out, nil
}

// each calls f with every frame of one kind that is there, dealt with or not.
func (s *spool) each(kind frameKind, f func(payload []byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.segments {
		file, err := os.Open(s.path(seg.number))
		if err != nil {
			return fmt.Errorf("cannot read the spool: %w", err)
		}
		r := frameReader{r: file, at: cursor{segment: seg.number}}
		for r.at.offset < seg.size {
			fr, err := r.next()
			if err != nil {
				file.Close()
				return fmt.Errorf("cannot read the spool: %w", err)
			}
			if fr.kind == kind {
				f(fr.payload)
			}
		}
		file.Close()
	}
	return nil
}

// settle says that the frames before c are dealt with. It survives the process; a
// power cut may bring some back, which the LAPI then recognises by their UUID.
func (r *spoolReader) settle(c cursor) error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.done = c
	b := binary.LittleEndian.AppendUint64(nil, c.segment)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.offset))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	f, err := os.OpenFile(filepath.Join(r.s.dir, r.name), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot note what was sent: %w", err)
	}
	_, err = f.WriteAt(b, 0)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot note what was sent: %w", err)
	}
	return nil
}

func (s *spool) readDone(r *spoolReader) {
	b, err := os.ReadFile(filepath.Join(s.dir, r.name))
	if err != nil || len(b) != 20 || crc32.Checksum(b[:16], castagnoli) != binary.LittleEndian.Uint32(b[16:]) {
		return // everything is sent again, and recognised
	}
	c := cursor{binary.LittleEndian.Uint64(b), int64(binary.LittleEndian.Uint64(b[8:]))}
	for _, seg := range s.segments {
		if c.segment == seg.number && c.offset > seg.size {
			return // a cut-off segment: the place isn't the same any more
		}
	}
	// Numbers are never used again while something refers to them.
	if last := s.last().number; c.segment > last && s.w == nil {
		s.segments = append(s.segments, segment{number: c.segment + 1})
	}
	r.done = c
}

// trim removes segments that all are done with. Call it when the positions are
// saved: until then the segments hold newer ones.
func (s *spool) trim() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	needed := func(r *spoolReader) bool { return r.done.before(cursor{s.segments[0].number, s.segments[0].size}) }
	for len(s.segments) > 1 && !slices.ContainsFunc(s.readers, needed) {
		if err := os.Remove(s.path(s.segments[0].number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove what was sent: %w", err)
		}
		s.segments = s.segments[1:]
	}
	return nil
}

// pending counts the alerts that wait.
func (r *spoolReader) pending() (n int) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	for _, seg := range r.s.segments {
		n += r.pendingIn(seg)
	}
	return n
}

// takeDropped returns the number of alerts dropped since the last call.
func (r *spoolReader) takeDropped() int {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	n := r.dropped
	r.dropped = 0
	return n
}

func (s *spool) close() error {
	err := s.sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(err, s.w.Close(), s.lock.Close())
}

// frameReader reads frames one after the other.
type frameReader struct {
	r  io.Reader
	at cursor
}

var errDamaged = errors.New("damaged frame")

// next returns the next frame, io.EOF at the end, and another error where the
// bytes are no frame.
func (r *frameReader) next() (frame, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return frame{}, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n == 0 || n > maxFrame {
		return frame{}, errDamaged
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r.r, body); err != nil {
		return frame{}, io.ErrUnexpectedEOF
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return frame{}, errDamaged
	}
	r.at.offset += frameHead + int64(n)
	return frame{kind: frameKind(body[0]), payload: body[1:], end: r.at}, nil
}

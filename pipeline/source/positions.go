package source

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"cs/platform"
	"cs/platform/order"
)

const (
	// maxPositions bounds the file; beyond it the positions that were not
	// touched for the longest time are forgotten.
	maxPositions = 10_000
	// staleAfter is how long the position of something that is no longer
	// followed is kept: it may be a log on a disk that is mounted now and then.
	staleAfter = 30 * 24 * time.Hour
	// maxPositionsFile refuses a file that can't be ours.
	maxPositionsFile = 16 << 20
)

// Position is where a source goes on after a restart. Which fields matter is up to the
// kind of source.
type Position struct {
	Key      string          `json:"key"`              // kind of source and what it reads; not unique
	File     platform.FileID `json:"file,omitzero"`    // identity
	Offset   int64           `json:"offset,omitempty"` // of the first byte that was not delivered
	HeadLen  int             `json:"head_len,omitempty"`
	HeadHash uint64          `json:"head_hash,omitempty"` // of the first HeadLen bytes
	Skip     bool            `json:"skip,omitempty"`      // within a line that was cut
	Done     bool            `json:"done,omitempty"`      // rotated away and read to its end
	Cursor   string          `json:"cursor,omitempty"`    // of a journal
	Time     int64           `json:"time"`                // unix seconds of the last change
}

// Positions remembers in one small file how far each source got. Safe for
// concurrent use. Sources may work with nil Positions, which remember nothing.
type Positions struct{ *book }

// book is what all parts of Positions share.
type book struct {
	path    string
	barrier func() error
	now     func() time.Time

	saving sync.Mutex // held during Save
	mu     sync.Mutex
	dirty  bool
	seq    uint64     // grows with each snapshot that is to be saved
	kept   uint64     // the last one that certainly was
	live   []*Mark    // in the order of Saved
	saved  []Position // left by an earlier process and not taken over yet
}

// OpenPositions reads the file at path; none is a first start. barrier runs before each
// write and must return nil only when everything that came out of the lines
// delivered so far is on disk; nil if there is nothing to wait for.
//
// A file that can't be read is an error together with empty, usable Positions:
// sources then start as they do the first time.
func OpenPositions(path string, barrier func() error, now func() time.Time) (*Positions, error) {
	p := &Positions{&book{path: path, barrier: barrier, now: now}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		p.seq, p.saved, err = decodePositions(data)
		p.kept = p.seq
	}
	if err != nil {
		return p, fmt.Errorf("cannot read positions of logs from %s: %w", path, err)
	}
	return p, nil
}

// Part returns Positions for one source: the same book, but it knows which
// positions are its own.
func (p *Positions) Part() *Positions {
	if p == nil {
		return nil
	}
	return &Positions{p.book}
}

// Leave makes the positions of a part those that Saved returns: its source has
// stopped, and another one may take its place.
func (p *Positions) Leave() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now().Unix()
	p.live = slices.DeleteFunc(p.live, func(m *Mark) bool {
		if m.by != p {
			return false
		}
		p.saved = append(p.saved, m.stamped(now))
		p.dirty = true
		return true
	})
}

// Saved returns the positions that an earlier process, or source, left under
// key, oldest first.
func (p *Positions) Saved(key string) []Position {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []Position
	for _, pos := range p.saved {
		if pos.Key == key {
			found = append(found, pos)
		}
	}
	return found
}

// SavedFile returns the position that an earlier process left for a file, under
// any key with the given prefix.
func (p *Positions) SavedFile(prefix string, id platform.FileID) (Position, bool) {
	if p == nil {
		return Position{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pos := range p.saved {
		if pos.File == id && strings.HasPrefix(pos.Key, prefix) {
			return pos, true
		}
	}
	return Position{}, false
}

// Forget drops what Saved returns for key, after its owner took it over.
func (p *Positions) Forget(key string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty = true
	p.saved = slices.DeleteFunc(p.saved, func(pos Position) bool { return pos.Key == key })
}

// Replace takes over what Saved returns for key: Save and Moves know either that or all
// of list, which follows what else is tracked.
func (p *Positions) Replace(key string, list []Position) []*Mark {
	marks := make([]*Mark, len(list))
	if p == nil {
		return marks
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty = true
	p.saved = slices.DeleteFunc(p.saved, func(pos Position) bool { return pos.Key == key })
	for i, pos := range list {
		pos.Key = key
		marks[i] = &Mark{of: p.book, by: p, pos: pos, seq: p.seq}
	}
	p.live = append(p.live, marks...)
	return marks
}

// Track adds a position, the last of those that Saved returns.
func (p *Positions) Track(pos Position) *Mark { return p.TrackBefore(pos, nil) }

// TrackBefore adds a position before another one; nil is the end.
func (p *Positions) TrackBefore(pos Position, before *Mark) *Mark {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m := &Mark{of: p.book, by: p, pos: pos, seq: p.seq}
	at := slices.Index(p.live, before)
	if at < 0 {
		at = len(p.live)
	} else {
		before.seq = p.seq // for Moves: it tells Restore where this one belongs
	}
	p.live = slices.Insert(p.live, at, m)
	p.dirty = true
	return m
}

// Save writes the file if a position changed since the last time. Call it every
// few seconds and when all sources have stopped.
func (p *Positions) Save() error {
	p.saving.Lock()
	defer p.saving.Unlock()
	p.mu.Lock()
	if !p.dirty {
		p.mu.Unlock()
		return nil
	}
	all := p.collect()
	p.seq++
	seq := p.seq
	p.dirty = false
	p.mu.Unlock()

	// The barrier comes after the snapshot: it covers all that led to it.
	err := p.write(seq, all)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.dirty = true
		return fmt.Errorf("cannot save positions of logs: %w", err)
	}
	p.kept = seq
	return nil
}

// Moves are the positions that moved since a snapshot, and while it is not yet on
// disk since the one before it. Kept together with what came out of the lines
// before them, they take the place of a Save.
type Moves struct {
	Since     uint64     `json:"since"`
	Positions []Position `json:"positions"`
}

// DecodeMoves reads moves that were kept as JSON.
func DecodeMoves(data []byte) (m Moves, err error) {
	if err := json.Unmarshal(data, &m); err != nil {
		return Moves{}, fmt.Errorf("cannot decode positions: %w", err)
	}
	for i := range m.Positions {
		if err := m.Positions[i].check(); err != nil {
			return Moves{}, fmt.Errorf("cannot decode positions: %w", err)
		}
	}
	return m, nil
}

// Moves returns the positions that moved since the last Save that succeeded.
func (p *Positions) Moves() Moves {
	if p == nil {
		return Moves{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m := Moves{Since: p.seq}
	now := p.now().Unix()
	for _, mark := range p.live {
		if mark.seq >= p.kept {
			m.Positions = append(m.Positions, mark.stamped(now))
		}
	}
	return m
}

// Restore takes over moves that an earlier process kept after it saved for the last time;
// older ones are ignored. Call it in the order in which they were kept, before
// sources start.
func (p *Positions) Restore(m Moves) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.Since < p.seq {
		return
	}
	next := make(map[string]int) // the place of the one after it, by key
	for _, pos := range slices.Backward(m.Positions) {
		if pos.Time == 0 {
			pos.Time = p.now().Unix()
		}
		at, ok := next[pos.Key]
		older := p.saved
		if ok {
			older = p.saved[:at]
		}
		// The newest: a file that was removed may have left its identity to another one.
		i := lastIndex(older, func(s *Position) bool { return s.Key == pos.Key && s.File == pos.File })
		switch {
		case i >= 0:
			p.saved[i] = pos
		case ok:
			i = at
			p.saved = slices.Insert(p.saved, i, pos)
			for key, n := range next {
				if n >= i {
					next[key] = n + 1
				}
			}
		default:
			i = len(p.saved)
			p.saved = append(p.saved, pos)
		}
		next[pos.Key] = i
		p.dirty = true
	}
}

func lastIndex(list []Position, is func(*Position) bool) int {
	for i := len(list) - 1; i >= 0; i-- {
		if is(&list[i]) {
			return i
		}
	}
	return -1
}

func (p *Positions) write(seq uint64, all []Position) error {
	if p.barrier != nil {
		if err := p.barrier(); err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(positionsFile{Version: 1, Seq: seq, Positions: all}, "", " ")
	if err != nil {
		return err
	}
	return platform.WriteFile(p.path, append(data, '\n'), 0o600)
}

func (p *Positions) collect() []Position {
	now := p.now().Unix()
	limit := now - int64(staleAfter/time.Second)
	p.saved = slices.DeleteFunc(p.saved, func(pos Position) bool { return pos.Time < limit })
	all := slices.Clone(p.saved)
	for _, m := range p.live {
		all = append(all, m.stamped(now))
	}
	if excess := len(all) - maxPositions; excess > 0 {
		byAge := slices.Clone(all)
		order.Stable(byAge, func(a, b Position) int { return cmp.Compare(a.Time, b.Time) })
		oldest := byAge[excess].Time
		all = slices.DeleteFunc(all, func(pos Position) bool {
			if excess > 0 && pos.Time <= oldest {
				excess--
				return true
			}
			return false
		})
	}
	return all
}

// Mark is one position that moves. A nil Mark, as nil Positions give, ignores
// all calls.
type Mark struct {
	of  *book
	by  *Positions // the part that it was made with
	pos Position
	seq uint64 // when it last moved
}

// Set moves the position; the key stays.
func (m *Mark) Set(pos Position) {
	if m == nil {
		return
	}
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	pos.Key, pos.Time = m.pos.Key, m.pos.Time
	if pos != m.pos {
		m.pos = pos
		m.seq, m.of.dirty = m.of.seq, true
	}
}

// Leave makes the position one that Saved returns: nothing follows it any
// more, and something may again.
func (m *Mark) Leave() {
	if m == nil {
		return
	}
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	m.of.live = slices.DeleteFunc(m.of.live, func(l *Mark) bool { return l == m })
	m.of.saved = append(m.of.saved, m.stamped(m.of.now().Unix()))
	m.of.dirty = true
}

// stamped returns the position with its time. The book is locked.
func (m *Mark) stamped(now int64) Position {
	if m.seq == m.of.seq { // it moved after the last snapshot
		m.pos.Time = now
	}
	return m.pos
}

// Drop forgets the position.
func (m *Mark) Drop() {
	if m == nil {
		return
	}
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	m.of.live = slices.DeleteFunc(m.of.live, func(l *Mark) bool { return l == m })
	m.of.dirty = true
}

type positionsFile struct {
	Version   int        `json:"version"`
	Seq       uint64     `json:"seq"`
	Positions []Position `json:"positions"`
}

// decodePositions reads what write has written.
func decodePositions(data []byte) (uint64, []Position, error) {
	if len(data) > maxPositionsFile {
		return 0, nil, fmt.Errorf("it has %d bytes, more than %d", len(data), maxPositionsFile)
	}
	var f positionsFile
	if err := json.Unmarshal(data, &f); err != nil {
		return 0, nil, err
	}
	if f.Version != 1 {
		return 0, nil, fmt.Errorf("its version is %d, not 1", f.Version)
	}
	if len(f.Positions) > maxPositions {
		return 0, nil, fmt.Errorf("it has %d positions, more than %d", len(f.Positions), maxPositions)
	}
	for _, pos := range f.Positions {
		if err := pos.check(); err != nil {
			return 0, nil, err
		}
	}
	return f.Seq, f.Positions, nil
}

// check refuses what nobody can have saved, so that nobody seeks there.
func (pos *Position) check() error {
	if pos.Offset < 0 || pos.HeadLen < 0 || pos.HeadLen > MaxHead {
		return fmt.Errorf("impossible position of %q: offset %d, head of %d bytes", pos.Key, pos.Offset, pos.HeadLen)
	}
	return nil
}

// MaxHead is how many bytes at the start of a file, at most, tell it from
// another one with the same identity.
const MaxHead = 1 << 10

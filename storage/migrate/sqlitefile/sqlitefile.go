// Package sqlitefile reads the tables of a SQLite 3 database, so that what an
// old program has kept can be taken over. It reads whole tables in the order
// of their row IDs, with what is in a write-ahead log, and does nothing
// else: no SQL, no indexes, no writing. The library that can do all of it would
// make the program larger by a third.
//
// The format is that of https://www.sqlite.org/fileformat2.html. Nothing in a
// file is trusted: one that is damaged gives ErrCorrupt.
package sqlitefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

var (
	// ErrCorrupt means that the file does not hold what the format demands.
	ErrCorrupt = errors.New("damaged")
	// ErrNotSQLite means that the file is something else.
	ErrNotSQLite = errors.New("not a SQLite 3 database")
	// ErrNoTable means that there is no table of a name.
	ErrNoTable = errors.New("no such table")
)

const (
	headerSize = 100
	// maxDepth bounds the levels of a tree: with two entries a page there would
	// be as many pages as there can be.
	maxDepth = 32
	// maxRecord bounds a row; upstream's longest texts are some 100 kB.
	maxRecord = 64 << 20
)

// File is an open database.
type File struct {
	db, wal  *os.File // wal is nil if there is none
	pageSize int
	usable   int              // bytes of a page without those reserved at its end
	pages    uint32           // how many there are
	logged   map[uint32]int64 // where in the log the newest state of a page is
	tables   map[string]table
	state    [3]int64 // when it was opened, see Changed
}

type table struct {
	root    uint32
	columns []string
	rowID   int // index of the column that is another name of the row ID; -1: none
}

// Open opens a database and reads its schema, and the log beside it
// ("-wal"). A transaction that was broken off is not undone: where there is such
// a journal the error says so.
func Open(path string) (*File, error) {
	f := new(File)
	if err := f.open(path); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	return f, nil
}

func (f *File) open(path string) (err error) {
	if f.db, err = os.Open(path); err != nil {
		return bare(err)
	}
	if info, err := os.Stat(path + "-journal"); err == nil && info.Size() > 0 && hot(path+"-journal") {
		return errors.New("a transaction was broken off: start and stop the program that wrote it once")
	}
	if f.wal, err = os.Open(path + "-wal"); errors.Is(err, os.ErrNotExist) {
		f.wal = nil
	} else if err != nil {
		return bare(err)
	}
	if f.state, err = f.stateNow(); err != nil {
		return err
	}
	if err := f.readHeader(); err != nil {
		return err
	}
	if f.wal != nil {
		if err := f.readLog(); err != nil {
			return err
		}
	}
	return f.readSchema()
}

// bare returns the cause of an error that names the path.
func bare(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// hot tells whether a journal has something to undo: its header is zeroed when
// it has not.
func hot(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], 0)
	return err == nil && b[0] != 0
}

// Close closes the file.
func (f *File) Close() error {
	var errs []error
	for _, file := range []*os.File{f.db, f.wal} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
}

// Changed tells whether somebody has written to the database since it was
// opened: then what was read may not fit together.
func (f *File) Changed() (bool, error) {
	now, err := f.stateNow()
	return now != f.state, err
}

// stateNow is the file's change counter, and the size and the time of the log.
func (f *File) stateNow() (state [3]int64, err error) {
	var counter [4]byte
	if _, err := f.db.ReadAt(counter[:], 24); err != nil {
		if err == io.EOF {
			err = ErrNotSQLite
		}
		return state, err
	}
	state[0] = int64(binary.BigEndian.Uint32(counter[:]))
	if f.wal != nil {
		info, err := f.wal.Stat()
		if err != nil {
			return state, err
		}
		state[1], state[2] = info.Size(), info.ModTime().UnixNano()
	}
	return state, nil
}

func (f *File) readHeader() error {
	var h [headerSize]byte
	if _, err := f.db.ReadAt(h[:], 0); err == io.EOF {
		return ErrNotSQLite
	} else if err != nil {
		return err
	}
	if string(h[:16]) != "SQLite format 3\x00" {
		return ErrNotSQLite
	}
	f.pageSize = int(binary.BigEndian.Uint16(h[16:]))
	if f.pageSize == 1 {
		f.pageSize = 65536
	}
	f.usable = f.pageSize - int(h[20])
	if f.pageSize < 512 || f.pageSize&(f.pageSize-1) != 0 || f.usable < 480 {
		return corrupt("pages of %d bytes", f.pageSize)
	}
	if encoding := binary.BigEndian.Uint32(h[56:]); encoding > 1 {
		return errors.New("its texts are not in UTF-8")
	}
	info, err := f.db.Stat()
	if err != nil {
		return err
	}
	f.pages = uint32(min(info.Size()/int64(f.pageSize), 1<<32-1))
	return nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrCorrupt)
}

// page reads a page; they count from 1.
func (f *File) page(n uint32, buf []byte) error {
	if at, ok := f.logged[n]; ok {
		_, err := f.wal.ReadAt(buf[:f.pageSize], at)
		return err
	}
	if n == 0 || n > f.pages {
		return corrupt("page %d of %d", n, f.pages)
	}
	_, err := f.db.ReadAt(buf[:f.pageSize], int64(n-1)*int64(f.pageSize))
	if err == io.EOF {
		err = corrupt("page %d ends early", n)
	}
	return err
}

// readSchema finds the tables.
func (f *File) readSchema() error {
	f.tables = map[string]table{"sqlite_schema": {root: 1, columns: []string{"type", "name", "tbl_name", "rootpage", "sql"}, rowID: -1}}
	found := make(map[string]table)
	err := f.Each("sqlite_schema", func(r *Row) error {
		if r.Text("type") != "table" {
			return nil
		}
		root := r.Int("rootpage")
		if root <= 0 || root > 1<<32-1 {
			return nil // a virtual table
		}
		columns, rowID := columnsOf(r.Text("sql"))
		found[r.Text("name")] = table{uint32(root), columns, rowID}
		return nil
	})
	for name, t := range found {
		f.tables[name] = t
	}
	return err
}

// Has tells whether there is a table.
func (f *File) Has(name string) bool {
	_, ok := f.tables[name]
	return ok
}

// Each calls f with the rows of a table in the order of their IDs, until f
// returns an error, which it passes on. A row is good during the call only.
func (f *File) Each(name string, visit func(*Row) error) error {
	t, ok := f.tables[name]
	if !ok {
		return fmt.Errorf("%w %q", ErrNoTable, name)
	}
	w := walker{f: f, left: f.pages + uint32(len(f.logged)) + 1, row: Row{table: &t}, visit: visit}
	if err := w.tree(t.root, 0); err != nil {
		return fmt.Errorf("cannot read table %q: %w", name, err)
	}
	return nil
}

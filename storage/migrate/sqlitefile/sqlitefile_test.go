package sqlitefile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestTree compares a table with what the real program shows of it: trees of
// three levels, rows on many pages, numbers of all lengths, odd names.
func TestTree(t *testing.T) {
	want, err := os.ReadFile("testdata/tree.txt")
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, "testdata/tree.db")
	var got strings.Builder
	err = f.Each("things", func(r *Row) error {
		if r.ID != r.Int("id") {
			t.Fatalf("row %d has ID %d", r.ID, r.Int("id"))
		}
		real := fmt.Sprint(r.Float("real_"))
		if !strings.Contains(real, ".") {
			real += ".0"
		}
		_, err := fmt.Fprintf(&got, "%d|%s|%d|%s|%X|%s\n", r.ID, r.Text("a, (b"), r.Int("n"), real, r.Text("blob"), r.Text("later"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
	if err := f.Each("empty", func(*Row) error { return errors.New("there is a row") }); err != nil {
		t.Error(err)
	}
	var names []string
	if err := f.Each("plain", func(r *Row) error { names = append(names, r.Text("name"), r.Text("none")); return nil }); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"two", ""}, names); diff != "" {
		t.Error(diff)
	}
	if err := f.Each("nothing", nil); !errors.Is(err, ErrNoTable) {
		t.Error(err)
	}
	stop := errors.New("enough")
	if err := f.Each("things", func(*Row) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

// logged copies the database with a log, changed, and returns its rows.
func logged(t *testing.T, change func(log []byte) []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "wal.db")
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile("testdata/wal.db" + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if suffix != "" {
			data = change(data)
		}
		if err := os.WriteFile(path+suffix, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := open(t, path)
	n, first, fifth := 0, false, ""
	err := f.Each("t", func(r *Row) error {
		n++
		first = first || r.ID == 1
		if r.ID == 5 {
			fifth = r.Text("v")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(n, " ", first, " ", fifth)
}

// TestLog reads what only the log has, as far as its transactions are whole.
func TestLog(t *testing.T) {
	f := func(want string, change func([]byte) []byte) {
		t.Helper()
		if got := logged(t, change); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	const head, frame = 32, 24 + 512
	// Three transactions, of one, four and one page; then what is left of an
	// older round.
	f("59 false new", func(log []byte) []byte { return log })
	f("60 true new", func(log []byte) []byte { return log[:head+6*frame-1] })
	f("60 true new", func(log []byte) []byte { log[head+5*frame+8]++; return log }) // of another round
	f("20 true new", func(log []byte) []byte { return log[:head+4*frame] })
	f("20 true old 4", func(log []byte) []byte { log[head+40]++; return log }) // a sum is wrong
	f("20 true old 4", func(log []byte) []byte { return log[:0] })
	f("20 true old 4", func(log []byte) []byte { log[0]++; return log })
}

func TestChanged(t *testing.T) {
	data, err := os.ReadFile("testdata/tree.db")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	if changed, err := f.Changed(); changed || err != nil {
		t.Error(changed, err)
	}
	data[27]++
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := f.Changed(); !changed || err != nil {
		t.Error(changed, err)
	}
	if err := os.WriteFile(path+"-journal", []byte{0xd9}, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "broken off") {
		t.Error(err)
	}
}

func TestColumns(t *testing.T) {
	f := func(sql string, rowID int, want ...string) {
		t.Helper()
		got, id := columnsOf(sql)
		if diff := cmp.Diff(want, got); diff != "" || id != rowID {
			t.Errorf("%s: row ID %d, %s", sql, id, diff)
		}
	}
	f("CREATE TABLE x (a, b text)", -1, "a", "b")
	f("CREATE TABLE `x` (`id` integer NOT NULL PRIMARY KEY AUTOINCREMENT, `b` text NULL DEFAULT ('a,b'), PRIMARY KEY (a, b))", 0, "id", "b")
	f(`CREATE TABLE x(a decimal(10,2),"primary" INTEGER PRIMARY KEY,[c d] text,CONSTRAINT q UNIQUE(a))`, 1, "a", "primary", "c d")
	f("CREATE TABLE x (id int PRIMARY KEY)", -1, "id")
	f("nothing", -1)
	f("CREATE TABLE x ('", -1)
	f("CREATE TABLE x (`a", -1)
}

// FuzzRead wants an error, or rows, of whatever file.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"tree.db", "wal.db"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:min(len(data), 8192)])
		f.Add(data)
	}
	log, err := os.ReadFile("testdata/wal.db-wal")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "x.db")
		if err := errors.Join(os.WriteFile(path, data, 0o600), os.WriteFile(path+"-wal", log, 0o600)); err != nil {
			t.Fatal(err)
		}
		file, err := Open(path)
		if err != nil {
			return
		}
		defer file.Close()
		for name := range file.tables {
			rows := 0
			err := file.Each(name, func(r *Row) error {
				if rows++; rows > 1<<20 {
					t.Fatal("there is no end")
				}
				for _, c := range r.table.columns {
					r.Text(c)
					r.Float(c)
					r.Int(c)
				}
				return nil
			})
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
		}
	})
}

// TestRandomDamage is the fuzz target for those who don't fuzz.
func TestRandomDamage(t *testing.T) {
	data, err := os.ReadFile("testdata/tree.db")
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for i := 100; i < len(data); i += 701 {
		bad := bytes.Clone(data)
		copy(bad[i:], bytes.Repeat([]byte{byte(i)}, 9))
		path := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err == nil {
			err = f.Each("things", func(*Row) error { return nil })
			f.Close()
		}
		if err != nil {
			failed++
		}
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNoTable) {
			t.Fatal(err)
		}
	}
	if failed == 0 {
		t.Error("no damage was found")
	}
}

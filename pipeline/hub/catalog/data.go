package catalog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"cs/pipeline/hub"
	"cs/platform"
)

// maxData bounds a data file, in bytes. Databases of addresses are the largest.
const maxData = 1 << 30

// dataDir is the directory of data files. Their names come from content: os.Root
// keeps them from leading out.
type dataDir struct {
	root  *os.Root
	etags map[string]etag // by name
}

// etag remembers what a server called the file that was written at a time.
type etag struct {
	Tag      string    `json:"etag"`
	Modified time.Time `json:"modified"`
	Size     int64     `json:"size"`
}

const etagsName = ".etags.json"

func openDataDir(dir string) (*dataDir, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the directory of data files: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the directory of data files: %w", err)
	}
	d := &dataDir{root: root, etags: map[string]etag{}}
	if text, err := fs.ReadFile(root.FS(), etagsName); err == nil {
		_ = json.Unmarshal(text, &d.etags) // a lost one costs a download
	}
	return d, nil
}

func (d *dataDir) close() { d.root.Close() }

// seen tells what is here of a file.
func (d *dataDir) seen(name string) (s seen) {
	info, err := d.root.Stat(name)
	if err != nil {
		return s
	}
	s.modified = info.ModTime()
	if e := d.etags[name]; e.Size == info.Size() && e.Modified.Equal(info.ModTime()) {
		s.etag = e.Tag
	}
	return s
}

// errMissing is about a data file that a hub in a folder doesn't have.
var errMissing = errors.New("data file is missing")

// fetch gets a data file unless what is here is the latest. changed tells whether
// the file is another now; said gets a line before a download.
func (d *dataDir) fetch(ctx context.Context, s *Source, f hub.DataFile, force bool, now time.Time, said func(string)) (changed bool, err error) {
	name := f.DestFile.Value
	if !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, `\:`) || strings.HasPrefix(path.Base(name), ".") {
		return false, fmt.Errorf("invalid dest_file %q: it leads out of the data directory", name)
	}
	if f.SourceURL == "" && !s.IsFolder() {
		return false, nil // somebody else brings it
	}
	here := d.seen(name)
	b, err := s.openData(ctx, f, here, force, now)
	switch {
	case errors.Is(err, errNotModified):
		return false, nil
	case s.IsFolder() && errors.Is(err, fs.ErrNotExist):
		if here.modified.IsZero() {
			err = fmt.Errorf("%w: there is no %s in %s", errMissing, dataName(f), s.data)
		} else {
			err = nil // an older source had it
		}
		return false, err
	case err != nil:
		return false, err
	}
	defer b.Close()
	if !s.IsFolder() {
		said("downloading " + f.SourceURL)
	}
	return d.write(name, b)
}

// write replaces a file unless it holds the same bytes.
func (d *dataDir) write(name string, b *body) (changed bool, err error) {
	dir := path.Dir(name)
	if err := d.root.MkdirAll(dir, 0o755); err != nil {
		return false, fmt.Errorf("cannot write data file %s: %w", name, err)
	}
	tmp := path.Join(dir, ".new-"+path.Base(name))
	out, err := d.root.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return false, fmt.Errorf("cannot write data file %s: %w", name, err)
	}
	defer d.root.Remove(tmp) // it is gone if all went well
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(b, maxData+1))
	if err == nil && n > maxData {
		err = fmt.Errorf("it has more than %d bytes", int64(maxData))
	}
	if err == nil {
		err = out.Sync()
	}
	if err := cmp.Or(err, out.Close()); err != nil {
		return false, fmt.Errorf("cannot get data file %s from %s: %w", name, b.from, err)
	}
	changed = !d.holds(name, sum.Sum(nil))
	if changed {
		if err := d.root.Rename(tmp, name); err != nil {
			return false, fmt.Errorf("cannot write data file %s: %w", name, err)
		}
	}
	if !b.lastModified.IsZero() {
		_ = d.root.Chtimes(name, b.lastModified, b.lastModified) // else it is asked for once more
	}
	return changed, d.remember(name, b.etag)
}

// holds tells whether a file has a hash.
func (d *dataDir) holds(name string, sum []byte) bool {
	f, err := d.root.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return err == nil && string(h.Sum(nil)) == string(sum)
}

// remember keeps the tag of a file.
func (d *dataDir) remember(name, tag string) error {
	if _, had := d.etags[name]; !had && tag == "" {
		return nil
	}
	delete(d.etags, name)
	if info, err := d.root.Stat(name); err == nil && tag != "" {
		d.etags[name] = etag{tag, info.ModTime(), info.Size()}
	}
	text, err := json.Marshal(d.etags)
	if err == nil {
		err = platform.WriteFile(path.Join(d.root.Name(), etagsName), text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot remember the version of data file %s: %w", name, err)
	}
	return nil
}

// Data gets a data file into a directory.
func (s *Source) Data(ctx context.Context, f hub.DataFile, dir string) error {
	d, err := openDataDir(dir)
	if err != nil {
		return err
	}
	defer d.close()
	_, err = d.fetch(ctx, s, f, false, time.Now(), func(string) {})
	return err
}

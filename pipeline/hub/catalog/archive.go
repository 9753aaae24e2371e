package catalog

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"cs/pipeline/hub"
)

// A hub in an archive is a compressed tar file with the tree of a hub: the index
// with the content of items, data files in data/, and what was installed where it
// was made, one "TYPE:NAME" a line in the file "installed".

const (
	installedName = "installed"
	maxArchive    = 4 << 30 // bytes of what is in it
	maxFiles      = 100_000 // in it
)

// Export writes the hub as an archive: the index, the content of all items that
// is known, their data files, and what is installed. Local items are not of the
// hub; the number of those that are installed is returned.
func (c *Catalog) Export(w io.Writer) (local int, err error) {
	zip := gzip.NewWriter(w)
	out := tar.NewWriter(zip)
	add := func(name string, text []byte) error {
		err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg})
		if err == nil {
			_, err = out.Write(text)
		}
		return err
	}
	var installed strings.Builder
	x, files := Index{}, map[string]hub.DataFile{}
	for _, t := range Types {
		x[t] = map[string]*Entry{}
		for _, it := range c.Items(t) {
			if it.Local {
				local++
				continue
			}
			e := it.Entry
			if e.Content == nil && it.DownloadPath != "" && it.LocalVersion == it.Version {
				if e.Content, err = readLimited(it.DownloadPath, maxItem); err != nil {
					return local, fmt.Errorf("cannot export %s: %w", it, err)
				}
			}
			x[t][it.Name] = &e
			if it.Installed() {
				installed.WriteString(it.String() + "\n")
			}
			for _, f := range hub.DataFilesIn(it.Path, e.Content) {
				if name := dataName(f); name != "" {
					files[name] = f
				}
			}
		}
	}
	text, err := x.text()
	if err == nil {
		err = add(IndexName, text)
	}
	if err == nil {
		err = add(installedName, []byte(installed.String()))
	}
	for _, name := range sortedNames(files) {
		if err == nil {
			err = c.exportData(out, name, files[name])
		}
	}
	for _, end := range []func() error{out.Close, zip.Close} {
		if err == nil {
			err = end()
		}
	}
	if err != nil {
		return local, fmt.Errorf("cannot export the hub: %w", err)
	}
	return local, nil
}

// exportData adds a data file, if it is here.
func (c *Catalog) exportData(out *tar.Writer, name string, f hub.DataFile) error {
	in, err := c.openHere(name, f)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	err = out.WriteHeader(&tar.Header{Name: DataDirName + "/" + name, Mode: 0o644, Size: info.Size(), ModTime: info.ModTime(), Typeflag: tar.TypeReg})
	if err == nil {
		_, err = io.CopyN(out, in, info.Size())
	}
	return err
}

// openHere opens a data file that is in use, or that was imported.
func (c *Catalog) openHere(name string, f hub.DataFile) (*os.File, error) {
	root, err := os.OpenRoot(c.Dirs.Data)
	if err == nil {
		defer root.Close()
		in, err := root.Open(filepath.FromSlash(f.DestFile.Value))
		if err == nil {
			return in, nil
		}
	}
	return os.Open(filepath.Join(importedData(c.Dirs), name))
}

// Import takes over a hub from an archive, or from a folder, so that its items
// can be installed without a network. It returns the names of the items that were
// installed where the archive was made.
func Import(dirs Dirs, from string) (installed []string, warnings []string, err error) {
	if err := os.MkdirAll(dirs.Hub, 0o755); err != nil {
		return nil, nil, fmt.Errorf("cannot import the hub: %w", err)
	}
	dir := from
	if info, err := os.Stat(from); err != nil {
		return nil, nil, fmt.Errorf("cannot import the hub: %w", err)
	} else if !info.IsDir() {
		tmp, err := os.MkdirTemp(dirs.Hub, ".import-")
		if err != nil {
			return nil, nil, fmt.Errorf("cannot import the hub: %w", err)
		}
		defer os.RemoveAll(tmp)
		if dir, err = extract(from, tmp); err != nil {
			return nil, nil, fmt.Errorf("cannot import the hub from %s: %w", from, err)
		}
	}
	known, _ := ReadIndex(dirs.Index) // without it versions begin anew
	x, warnings, err := ReadFolder(dir, known)
	if err != nil {
		return nil, warnings, err
	}
	for _, t := range Types {
		for _, name := range sortedNames(x[t]) {
			if w := x[t][name].embed(dir); w != nil {
				warnings = append(warnings, fmt.Sprintf("%s:%s can't be installed: %v", t, name, w))
			}
		}
	}
	if err := importData(importedData(dirs), filepath.Join(dir, DataDirName)); err != nil {
		return nil, warnings, fmt.Errorf("cannot import data files: %w", err)
	}
	text, err := x.text()
	if err == nil {
		err = writeIndex(dirs, text)
	}
	if err != nil {
		return nil, warnings, err
	}
	list, err := readLimited(filepath.Join(dir, installedName), maxItem)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, warnings, err
	}
	return strings.Fields(string(list)), warnings, nil
}

// embed puts the content of an item into the index.
func (e *Entry) embed(dir string) error {
	if e.Content != nil {
		return nil
	}
	want, err := e.digest()
	if err != nil {
		return err
	}
	text, err := readLimited(filepath.Join(dir, filepath.FromSlash(e.Path)), maxItem)
	if err != nil {
		return plainPath(err)
	}
	if hashOf(text) != want {
		return errors.New("its file is not of the version in the index")
	}
	e.Content = text
	return nil
}

// importData replaces the imported data files.
func importData(to, from string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := copyFile(filepath.Join(to, e.Name()), filepath.Join(from, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}

// extract unpacks the regular files of an archive, whatever their order, and
// returns the directory in it that holds the hub: archives of repositories have
// one more around it.
func extract(name, dir string) (string, error) {
	in, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer in.Close()
	zip, err := gzip.NewReader(in)
	if err != nil {
		return "", err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	r, left, files := tar.NewReader(zip), int64(maxArchive), 0
	var tops []string
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
		at := path.Clean(h.Name)
		if h.Typeflag != tar.TypeReg || hidden(at) {
			continue
		}
		if files++; files > maxFiles {
			return "", fmt.Errorf("it has more than %d files", maxFiles)
		}
		if left -= h.Size; left < 0 {
			return "", fmt.Errorf("its files have more than %d bytes", int64(maxArchive))
		}
		if err := unpack(root, at, r); err != nil {
			return "", err
		}
		_ = root.Chtimes(at, h.ModTime, h.ModTime) // of no matter but for data files
		if top, _, ok := strings.Cut(at, "/"); ok && !slices.Contains(tops, top) {
			tops = append(tops, top)
		}
	}
	if _, err := root.Stat(IndexName); err != nil && len(tops) == 1 && !slices.Contains(Types, Type(tops[0])) {
		return filepath.Join(dir, tops[0]), nil
	}
	return dir, nil
}

// hidden tells files that are not of a hub: those below directories like .git.
func hidden(at string) bool {
	for elem := range strings.SplitSeq(path.Dir(at), "/") {
		if strings.HasPrefix(elem, ".") && elem != "." {
			return true
		}
	}
	return false
}

func unpack(root *os.Root, at string, r io.Reader) error {
	if err := root.MkdirAll(path.Dir(at), 0o755); err != nil {
		return err
	}
	out, err := root.OpenFile(at, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, r)
	return errors.Join(err, out.Close())
}

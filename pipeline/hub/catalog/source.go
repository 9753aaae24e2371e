package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"cs/pipeline/hub"
	"cs/platform"
)

// DefaultTemplate is where upstream publishes its hub, by branch and path.
const DefaultTemplate = "https://cdn-hub.crowdsec.net/crowdsecurity/%s/%s"

// Source is where a hub comes from: a web server, or a folder with the same tree.
type Source struct {
	dir    string // of a folder; "" for a web server
	data   string // its directory of data files
	format func(name string) string
	mirror bool // it is no server of upstream's, so it may have data files, too
	agent  string
	client *http.Client
	down   map[string]error // servers that could not be reached, by host
}

// NewSource returns the hub at a place:
//
//	https://HOST/…/%s/%s   a web server, by branch and path (http:// too)
//	https://HOST/…         the same without branches
//	file:///DIR, DIR       a folder, which may name branch and path with %s too
//
// agent names the program to web servers.
func NewSource(place, branch, agent string) (*Source, error) {
	template := func(name string) string {
		switch strings.Count(place, "%s") {
		case 0:
			return strings.TrimSuffix(place, "/") + "/" + name
		default:
			return strings.Replace(strings.Replace(place, "%s", branch, 1), "%s", name, 1)
		}
	}
	n := strings.Count(place, "%s")
	if n != 0 && n != 2 || strings.Count(place, "%") != n {
		return nil, fmt.Errorf("invalid URL template '%s': it needs two %%s, for the branch and the path", place)
	}
	if strings.HasPrefix(place, "http://") || strings.HasPrefix(place, "https://") {
		if u, err := url.Parse(template("x")); err != nil || u.Host == "" {
			return nil, fmt.Errorf("invalid URL template '%s'", place)
		}
		return &Source{format: template, mirror: place != DefaultTemplate, agent: agent, client: newClient(), down: map[string]error{}}, nil
	}
	if rest, ok := strings.CutPrefix(place, "file://"); ok {
		place = rest
	} else if strings.Contains(place, "://") || place == "" {
		return nil, fmt.Errorf("invalid URL template '%s': want https://…, file://… or a folder", place)
	}
	dir, err := filepath.Abs(strings.TrimSuffix(template(""), "/"))
	if err != nil {
		return nil, fmt.Errorf("cannot find the hub: %w", err)
	}
	return &Source{dir: dir, data: filepath.Join(dir, DataDirName)}, nil
}

// IsFolder tells that no network is needed, and that only the data files of the
// folder can be had.
func (s *Source) IsFolder() bool { return s.dir != "" }

// newClient returns a client that gives up on servers that don't answer.
func newClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone() // with the proxies of the environment
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	t.TLSHandshakeTimeout = 10 * time.Second
	t.ResponseHeaderTimeout = 30 * time.Second
	return &http.Client{Transport: t, Timeout: 10 * time.Minute}
}

// get asks a web server. The caller closes the body of the answer, which has
// status 200 or 304.
func (s *Source) get(ctx context.Context, from string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot download %s: %w", from, err)
	}
	if err := s.down[req.URL.Host]; err != nil {
		return nil, fmt.Errorf("cannot download %s: %w", from, err)
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("User-Agent", s.agent)
	resp, err := s.client.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // it would name the URL once more
		}
		if ctx.Err() == nil {
			s.down[req.URL.Host] = err // a second one would take as long
		}
		return nil, fmt.Errorf("cannot download %s: %w", from, err)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotModified {
		resp.Body.Close()
		err := fmt.Errorf("cannot download %s: bad http code %d", from, resp.StatusCode)
		if resp.StatusCode == http.StatusNotFound {
			err = fmt.Errorf("%w: %w", err, fs.ErrNotExist)
		}
		return nil, err
	}
	return resp, nil
}

// UpdateIndex brings the index of an installation up to date; changed is false
// if it was. The index of a web server ends that an imported hub is in force.
func (s *Source) UpdateIndex(ctx context.Context, dirs Dirs, withContent bool) (changed bool, warnings []string, err error) {
	old, err := readLimited(dirs.Index, maxIndex)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, nil, fmt.Errorf("cannot read the hub's index: %w", err)
	}
	text := old
	if s.IsFolder() {
		known, _ := ParseIndex(old) // without it versions begin anew
		x, left, err := ReadFolder(s.dir, known)
		if warnings = left; err != nil {
			return false, warnings, err
		}
		if text, err = x.text(); err != nil {
			return false, warnings, err
		}
	} else {
		if text, err = s.downloadIndex(ctx, old, withContent); err != nil {
			return false, nil, err
		}
		if err := os.RemoveAll(importedData(dirs)); err != nil {
			return false, nil, fmt.Errorf("cannot remove the imported data files: %w", err)
		}
	}
	if string(text) == string(old) {
		return false, warnings, nil
	}
	return true, warnings, writeIndex(dirs, text)
}

func writeIndex(dirs Dirs, text []byte) error {
	err := os.MkdirAll(filepath.Dir(dirs.Index), 0o755)
	if err == nil {
		err = platform.WriteFile(dirs.Index, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot write the hub's index: %w", err)
	}
	return nil
}

// downloadIndex returns old if the server has nothing else.
func (s *Source) downloadIndex(ctx context.Context, old []byte, withContent bool) ([]byte, error) {
	from := s.format(IndexName)
	if withContent {
		from += "?with_content=true"
	}
	header := http.Header{}
	if old != nil {
		header.Set("If-None-Match", `"`+hashOf(old)+`"`)
	}
	resp, err := s.get(ctx, from, header)
	if err != nil {
		return nil, fmt.Errorf("failed to update hub: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		return old, nil
	}
	text, err := readAll(resp.Body, maxIndex, from)
	if err != nil {
		return nil, fmt.Errorf("failed to update hub: cannot download %s: %w", from, err)
	}
	if _, err := ParseIndex(text); err != nil {
		return nil, fmt.Errorf("failed to update hub: %s: invalid hub index: %w", from, err)
	}
	return text, nil
}

// Item returns the content of the latest version of an item.
func (s *Source) Item(ctx context.Context, it *Item) ([]byte, error) {
	want, err := it.digest()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", it, err)
	}
	text := it.Content
	switch {
	case text != nil:
	case s.IsFolder():
		text, err = readLimited(filepath.Join(s.dir, filepath.FromSlash(it.Path)), maxItem)
	default:
		text, err = s.download(ctx, s.format(it.Path))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", it, err)
	}
	if got := hashOf(text); got != want {
		return nil, fmt.Errorf("%s: hash mismatch: expected %s, got %s. The index file is invalid/outdated, please run 'cscli hub update' and try again", it, want, got)
	}
	return text, nil
}

func (s *Source) download(ctx context.Context, from string) ([]byte, error) {
	resp, err := s.get(ctx, from, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := readAll(resp.Body, maxItem, from)
	if err != nil {
		return nil, fmt.Errorf("cannot download %s: %w", from, err)
	}
	return text, nil
}

// DataDirName is where a hub in a folder has the data files of its items, each
// under the last part of its URL.
const DataDirName = "data"

// dataName is the name of a data file in DataDirName; "" if it can have none.
func dataName(d hub.DataFile) string {
	from, _, _ := strings.Cut(d.SourceURL, "?")
	name := path.Base(from)
	if from == "" {
		name = path.Base(d.DestFile.Value)
	}
	if !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, `\:`) {
		return ""
	}
	return name
}

// body is a data file that was found, to be closed.
type body struct {
	io.ReadCloser
	from         string // where
	lastModified time.Time
	etag         string
}

// errNotModified says that what is here is the latest.
var errNotModified = errors.New("not modified")

// seen is what is known of a data file that is here.
type seen struct {
	modified time.Time // zero if there is none
	etag     string    // "" if the server gave none, or the file was changed since
}

// staleAfter is for how long a data file is taken for the latest if its server
// doesn't tell.
const staleAfter = 7 * 24 * time.Hour

// openData asks for a data file; errNotModified if that which is here will do.
// force asks for it in any case.
func (s *Source) openData(ctx context.Context, d hub.DataFile, here seen, force bool, now time.Time) (*body, error) {
	if s.IsFolder() {
		return openLocalData(s.data, d)
	}
	u, err := url.Parse(d.SourceURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("a valid URL was expected (note: local items can download data too): %q", d.SourceURL)
	}
	if name := dataName(d); s.mirror && name != "" {
		if b, err := s.requestData(ctx, s.format(DataDirName+"/"+name), here, force, now); err == nil || errors.Is(err, errNotModified) {
			return b, err
		}
	}
	return s.requestData(ctx, d.SourceURL, here, force, now)
}

func (s *Source) requestData(ctx context.Context, from string, here seen, force bool, now time.Time) (*body, error) {
	header := http.Header{}
	if !here.modified.IsZero() && !force {
		header.Set("If-Modified-Since", here.modified.UTC().Format(http.TimeFormat))
		if here.etag != "" {
			header.Set("If-None-Match", here.etag)
		}
	}
	resp, err := s.get(ctx, from, header)
	if err != nil {
		return nil, err
	}
	b := &body{ReadCloser: resp.Body, from: from, etag: resp.Header.Get("ETag")}
	b.lastModified, _ = http.ParseTime(resp.Header.Get("Last-Modified"))
	current := resp.StatusCode == http.StatusNotModified
	if !here.modified.IsZero() && !force && !current { // a server that knows no conditions
		switch {
		case b.etag != "" && here.etag != "":
			current = b.etag == here.etag
		case !b.lastModified.IsZero():
			current = !b.lastModified.After(here.modified)
		default:
			current = b.etag == "" && now.Sub(here.modified) < staleAfter
		}
	}
	if current {
		resp.Body.Close()
		return nil, errNotModified
	}
	return b, nil
}

// openLocalData opens a data file in the directory of a hub in a folder.
func openLocalData(dir string, d hub.DataFile) (*body, error) {
	name := dataName(d)
	if name == "" {
		return nil, fmt.Errorf("data file %s: its URL %q ends in no name", d.DestFile.Value, d.SourceURL)
	}
	at := filepath.Join(dir, name)
	f, err := os.Open(at)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", at)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &body{ReadCloser: f, from: at, lastModified: info.ModTime()}, nil
}

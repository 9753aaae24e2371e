//go:build !edge

package lapi

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// addHubRoute offers the hub directory of this host for reading, if that is
// wanted: hosts that reach nothing but us install content from it, with
// "--source http://HOST:8080/v1/hub", or with http://HOST:8080/v1/hub/%s/%s as
// the template of upstream's cscli. What is in a hub is public.
func (s *Server) addHubRoute(mux *http.ServeMux) {
	if s.conf.Hub == "" {
		return
	}
	h := &hubFiles{dir: s.conf.Hub}
	mux.Handle("/v1/hub/{path...}", methods{"GET": h.serve, "HEAD": h.serve})
}

// hubFiles serves files of a hub. The directory may be made while we run.
type hubFiles struct {
	dir string

	mu    sync.Mutex
	stamp time.Time // of the index that etag is of
	size  int64
	etag  string
}

// hubTops are the names that may be read: directories of items and data files,
// and the index.
var hubTops = []string{
	".index.json", "data", "parsers", "postoverflows", "scenarios", "contexts", "appsec-configs", "appsec-rules", "collections",
}

func (h *hubFiles) serve(w http.ResponseWriter, r *http.Request) {
	name := path.Clean(r.PathValue("path"))
	top, rest, _ := strings.Cut(name, "/")
	if !slices.Contains(hubTops, top) { // a branch: we have one
		name = rest
		top, rest, _ = strings.Cut(name, "/")
	}
	if !slices.Contains(hubTops, top) {
		http.NotFound(w, r)
		return
	}
	f, info, err := h.open(name)
	if err != nil && top == "data" { // of a hub that was imported
		f, info, err = h.open(".data/" + rest)
	}
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	if name == hubTops[0] {
		if etag, err := h.etagOf(f, info); err == nil {
			w.Header().Set("ETag", etag)
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// open opens a regular file below the hub.
func (h *hubFiles) open(name string) (*os.File, os.FileInfo, error) {
	root, err := os.OpenRoot(h.dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() { // to open a FIFO would hang
		return nil, nil, os.ErrNotExist
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// etagOf returns what cscli calls an index: its SHA-256.
func (h *hubFiles) etagOf(f *os.File, info os.FileInfo) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stamp.Equal(info.ModTime()) && h.size == info.Size() {
		return h.etag, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	h.stamp, h.size, h.etag = info.ModTime(), info.Size(), `"`+hex.EncodeToString(sum.Sum(nil))+`"`
	return h.etag, nil
}

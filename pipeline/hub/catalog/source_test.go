package catalog

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPlaces(t *testing.T) {
	f := func(place, want string) {
		t.Helper()
		s, err := NewSource(place, "v1", "")
		got := ""
		switch {
		case err != nil:
			got = "error: " + err.Error()
		case s.IsFolder():
			got = s.dir
		default:
			got = s.format("a/b.yaml")
		}
		if got != want && !(strings.HasSuffix(want, "…") && strings.HasPrefix(got, strings.TrimSuffix(want, "…"))) {
			t.Errorf("%s: got %s, want %s", place, got, want)
		}
	}
	f(DefaultTemplate, "https://cdn-hub.crowdsec.net/crowdsecurity/v1/a/b.yaml")
	f("http://host:8080/x/", "http://host:8080/x/a/b.yaml")
	f("https://host/%s", "error: invalid URL template 'https://host/%s'…")
	f("https://host/%s/%s/%s", "error: invalid URL template…")
	f("https://host/%d/%s", "error: invalid URL template…")
	f("https:///%s/%s", "error: invalid URL template…")
	f("ftp://host/", "error: invalid URL template…")
	f("", "error: invalid URL template…")
	wd, _ := os.Getwd()
	f("sub/dir/", filepath.Join(wd, "sub", "dir"))
	if os.PathSeparator == '/' {
		f("file:///srv/hub", "/srv/hub")
		f("file:///srv/%s/%s", "/srv/v1")
		f("/srv/%s/%s", "/srv/v1")
	}
}

// mirror serves the folder of a world as a web server of a hub, and data files.
type mirror struct {
	*httptest.Server
	log []string // requests and answers
	// data are the answers for data files.
	data map[string]http.HandlerFunc
}

func (w *world) mirror() *mirror {
	m := &mirror{data: map[string]http.HandlerFunc{}}
	files := http.FileServerFS(os.DirFS(w.path("etc/mirror")))
	m.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rec := &status{ResponseWriter: rw, code: 200}
		if h := m.data[r.URL.Path]; h != nil {
			h(rec, r)
		} else if r.URL.Path == "/master/"+IndexName {
			text := w.read("etc/mirror/" + IndexName)
			if r.Header.Get("If-None-Match") == `"`+hashOf([]byte(text))+`"` {
				rec.WriteHeader(http.StatusNotModified)
			} else {
				fmt.Fprint(rec, text)
			}
		} else {
			http.StripPrefix("/master", files).ServeHTTP(rec, r)
		}
		m.log = append(m.log, fmt.Sprintf("%s %d", r.URL, rec.code))
	}))
	w.t.Cleanup(m.Close)
	return m
}

type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) { s.code = code; s.ResponseWriter.WriteHeader(code) }

// asked returns the requests since it was last asked.
func (m *mirror) asked() (log []string) {
	log, m.log = m.log, nil
	return log
}

// publish puts the folder on the mirror, with an index.
func (w *world) publish() {
	w.t.Helper()
	old, _ := ReadIndex(w.path("etc/mirror/" + IndexName))
	x, _, err := ReadFolder(w.path("src"), old)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, t := range Types {
		for _, e := range x[t] {
			w.write("etc/mirror/"+e.Path, string(e.Content))
			e.Content = nil
		}
	}
	text, err := x.text()
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("etc/mirror/"+IndexName, string(text))
}

func TestWebServer(t *testing.T) {
	w := newWorld(t, map[string]string{"scenarios/acme/bf.yaml": "name: acme/bf\n", "scenarios/acme/x.yaml": "name: acme/x\n"})
	w.publish()
	m := w.mirror()
	ctx := context.Background()
	s, err := NewSource(m.URL+"/%s/%s", "master", "test")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		changed, _, err := s.UpdateIndex(ctx, w.dirs, false)
		if err != nil || changed != want {
			t.Errorf("update %d: %v, %v", i, changed, err)
		}
	}
	install := func(names ...string) error {
		c := w.open()
		p := c.NewPlan(false)
		for _, name := range names {
			p.Install(w.find(c, name), false)
		}
		_, err := p.Carry(ctx, s, time.Now(), func(string) {})
		return err
	}
	if err := install("scenarios:acme/bf"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/master/.index.json 200", "/master/.index.json 304", "/master/scenarios/acme/bf.yaml 200"}, m.asked()); diff != "" {
		t.Error(diff)
	}
	// What isn't what the index promises is not taken.
	w.write("etc/mirror/scenarios/acme/x.yaml", "name: acme/evil\n")
	if err := install("scenarios:acme/x"); err == nil || !strings.Contains(err.Error(), "scenarios:acme/x: hash mismatch: expected ") ||
		!strings.Contains(err.Error(), "The index file is invalid/outdated, please run 'cscli hub update' and try again") {
		t.Error(err)
	}
	if err := os.Remove(w.path("etc/mirror/scenarios/acme/x.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := install("scenarios:acme/x"); err == nil || !strings.Contains(err.Error(), "bad http code 404") {
		t.Error(err)
	}
	w.wantState("scenarios:acme/bf downloaded installed latest 0.1")
	// Neither is an index that is none.
	w.write("etc/mirror/"+IndexName, "<html>")
	if _, _, err := s.UpdateIndex(ctx, w.dirs, false); err == nil || !strings.Contains(err.Error(), "invalid hub index") {
		t.Error(err)
	}
	m.Close()
	if _, _, err := s.UpdateIndex(ctx, w.dirs, false); err == nil || !strings.Contains(err.Error(), "cannot download "+m.URL) {
		t.Error(err)
	}
	w.wantState("scenarios:acme/bf downloaded installed latest 0.1")
}

func TestDataFiles(t *testing.T) {
	w := newWorld(t, nil)
	m := w.mirror()
	w.write("src/scenarios/acme/data.yaml", fmt.Sprintf(`name: acme/data
data:
 - {source_url: '%[1]s/dated.txt', dest_file: dated.txt}
 - {source_url: '%[1]s/tagged.txt', dest_file: sub/tagged.txt}
 - {source_url: '%[1]s/plain.txt', dest_file: plain.txt}
 - {source_url: '', dest_file: brought.txt}
---
data: [{source_url: '%[1]s/dated.txt', dest_file: dated.txt}]
`, m.URL))
	w.write("src/scenarios/acme/bad.yaml", fmt.Sprintf(`name: acme/bad
data:
 - {source_url: '%[1]s/dated.txt', dest_file: ../up.txt}
 - {source_url: '%[1]s/dated.txt', dest_file: /etc/x.txt}
 - {source_url: 'nothing', dest_file: nothing.txt}
 - {source_url: '%[1]s/gone.txt', dest_file: gone.txt}
 - {source_url: '%[1]s/cut.txt', dest_file: cut.txt}
 - {source_url: '%[1]s/dated.txt', dest_file: good.txt}
`, m.URL))
	w.publish()
	now := time.Now()
	text, stamp, tag := "one", now.Add(-time.Hour).Truncate(time.Second), `"1"`
	conditional := true
	m.data["/dated.txt"] = func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Last-Modified", stamp.UTC().Format(http.TimeFormat))
		if since, err := http.ParseTime(r.Header.Get("If-Modified-Since")); conditional && err == nil && !stamp.After(since) {
			rw.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(rw, text)
	}
	m.data["/tagged.txt"] = func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("ETag", tag)
		if conditional && r.Header.Get("If-None-Match") == tag {
			rw.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(rw, text)
	}
	m.data["/plain.txt"] = func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, text) }
	m.data["/cut.txt"] = func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Length", "100")
		fmt.Fprint(rw, "short")
	}
	ctx := context.Background()
	s, err := NewSource(m.URL+"/%s/%s", "master", "test")
	if err != nil {
		t.Fatal(err)
	}
	s.mirror = false // for now
	if _, _, err := s.UpdateIndex(ctx, w.dirs, false); err != nil {
		t.Fatal(err)
	}
	m.asked()
	var said []string
	refresh := func(force bool, at time.Time) (Outcome, error) {
		t.Helper()
		said = nil
		c := w.open()
		p := c.NewPlan(force)
		p.Install(w.find(c, "scenarios:acme/data"), false)
		p.Refresh()
		return p.Carry(ctx, s, at, func(line string) { said = append(said, strings.TrimPrefix(line, "downloading "+m.URL)) })
	}
	f := func(force bool, at time.Time, wantReload bool, want ...string) {
		t.Helper()
		out, err := refresh(force, at)
		if err != nil || out.Reload != wantReload {
			t.Errorf("reload %v, error %v", out.Reload, err)
		}
		if diff := cmp.Diff(want, said); diff != "" {
			t.Errorf("said: want -, got +:\n%s", diff)
		}
	}
	f(false, now, true, "downloading scenarios:acme/data", "/dated.txt", "/tagged.txt", "/plain.txt", "enabling scenarios:acme/data")
	if w.read("data/dated.txt")+w.read("data/sub/tagged.txt")+w.read("data/plain.txt") != "oneoneone" {
		t.Error("data files are wrong")
	}
	f(false, now, false)
	conditional = false // the server knows no conditions, but tells versions
	f(false, now, false)
	f(true, now, false, "/dated.txt", "/tagged.txt", "/plain.txt") // the same bytes
	conditional = true
	text, stamp, tag = "two", now.Add(-time.Minute).Truncate(time.Second), `"2"`
	f(false, now, true, "/dated.txt", "/tagged.txt")
	f(false, now.Add(8*24*time.Hour), true, "/plain.txt") // old enough to ask again
	if w.read("data/dated.txt")+w.read("data/sub/tagged.txt")+w.read("data/plain.txt") != "twotwotwo" {
		t.Error("data files are wrong")
	}
	// A file that was changed here is not what the server's tag stands for.
	w.write("data/sub/tagged.txt", "mine")
	f(false, now, true, "/tagged.txt")

	// A failure is clear and stops no other file.
	c := w.open()
	p := c.NewPlan(false)
	p.Install(w.find(c, "scenarios:acme/bad"), false)
	_, err = p.Carry(ctx, s, now, func(string) {})
	for _, want := range []string{
		`scenarios:acme/bad: while getting data: invalid dest_file "../up.txt": it leads out of the data directory`,
		`invalid dest_file "/etc/x.txt"`,
		`a valid URL was expected (note: local items can download data too): "nothing"`,
		"cannot download " + m.URL + "/gone.txt: bad http code 404",
		"cannot get data file cut.txt from " + m.URL + "/cut.txt: unexpected EOF",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if w.read("data/good.txt") != "two" || !w.find(w.open(), "scenarios:acme/bad").Installed() {
		t.Error("the rest was not done")
	}
	if _, err := os.Stat(w.path("data/cut.txt")); err == nil {
		t.Error("half a file was kept")
	}

	// A mirror is asked for data files first.
	s.mirror = true
	m.data["/master/data/plain.txt"] = func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, "mirrored") }
	m.asked()
	_, _ = refresh(true, now) // the bad one fails still
	if w.read("data/plain.txt") != "mirrored" || w.read("data/dated.txt") != "two" {
		t.Error(m.asked())
	}
}

// A server that is away is waited for once.
func TestServerAway(t *testing.T) {
	m := httptest.NewServer(nil)
	m.Close()
	w := newWorld(t, map[string]string{"scenarios/acme/x.yaml": "name: acme/x\ndata: [{source_url: '" + m.URL + "/a', dest_file: a}, {source_url: '" + m.URL + "/b', dest_file: b}]\n"})
	w.update()
	s, err := NewSource(DefaultTemplate, "master", "")
	if err != nil {
		t.Fatal(err)
	}
	c := w.open()
	p := c.NewPlan(false)
	p.Install(w.find(c, "scenarios:acme/x"), false)
	_, err = p.Carry(context.Background(), s, time.Now(), func(string) {})
	if err == nil || strings.Count(err.Error(), "connection refused") != 2 || len(s.down) != 1 {
		t.Error(err)
	}
}

func TestExportAndImport(t *testing.T) {
	files := acme()
	files["scenarios/acme/bf.yaml"] = "name: acme/bf\ndata: [{source_url: 'https://host.invalid/x/list.txt', dest_file: own.txt}, {source_url: 'https://host.invalid/db.mmdb', dest_file: db.mmdb}]\n"
	files["data/list.txt"] = "192.0.2.1\n"
	w := newWorld(t, files)
	w.update()
	out := w.install("collections:acme/ssh")
	if !cmp.Equal(out.Missing, []string{"scenarios:acme/bf: data file is missing: there is no db.mmdb in " + w.path("src/data")}) {
		t.Error(out.Missing)
	}
	w.write("etc/scenarios/mine.yaml", "name: me/mine\n")
	var archive bytes.Buffer
	if local, err := w.open().Export(&archive); err != nil || local != 1 {
		t.Fatal(local, err)
	}
	there := newWorld(t, nil)
	if err := os.WriteFile(there.path("hub.tgz"), archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	names, warnings, err := Import(there.dirs, there.path("hub.tgz"))
	if err != nil || len(warnings) > 0 || !cmp.Equal(names, []string{"parsers:acme/ssh", "parsers:acme/syslog", "scenarios:acme/bf", "collections:acme/base", "collections:acme/ssh"}) {
		t.Fatal(names, warnings, err)
	}
	if entries, _ := filepath.Glob(there.path("etc/hub/.import-*")); len(entries) > 0 {
		t.Error("left behind: ", entries)
	}
	s, err := NewSource(DefaultTemplate, "master", "")
	if err != nil {
		t.Fatal(err)
	}
	s.client = nil // whoever asks the network panics
	c := there.open()
	p := c.NewPlan(false)
	for _, name := range append(names, "collections:acme/web") {
		p.Install(there.find(c, name), false)
	}
	if _, err := p.Carry(context.Background(), s, time.Now(), func(string) {}); err != nil {
		t.Fatal(err)
	}
	if there.read("data/own.txt") != "192.0.2.1\n" {
		t.Error("no data file")
	}
	if got := len(there.open().Installed(Scenarios)); got != 2 {
		t.Errorf("%d scenarios", got)
	}
}

// An archive of a repository has a directory around it; a hostile one leads nowhere.
func TestArchives(t *testing.T) {
	pack := func(w *world, headers ...*tar.Header) string {
		t.Helper()
		var b bytes.Buffer
		zip := gzip.NewWriter(&b)
		out := tar.NewWriter(zip)
		for _, h := range headers {
			text := "name: x\n"
			h.Mode = 0o644
			if h.Typeflag == 0 {
				h.Typeflag, h.Size = tar.TypeReg, int64(len(text))
			}
			if err := out.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if h.Size > 0 {
				fmt.Fprint(out, text)
			}
		}
		out.Close()
		zip.Close()
		w.write("x.tgz", b.String())
		return w.path("x.tgz")
	}
	w := newWorld(t, nil)
	_, _, err := Import(w.dirs, pack(w, &tar.Header{Name: "hub-master/scenarios/acme/bf.yaml"}, &tar.Header{Name: "hub-master/.tests/x/config.yaml"}))
	if err != nil || len(w.open().Items(Scenarios)) != 1 {
		t.Error(err)
	}
	_, _, err = Import(w.dirs, pack(w, &tar.Header{Name: "../../up.yaml"}, &tar.Header{Name: "scenarios/l", Linkname: "/etc", Typeflag: tar.TypeSymlink},
		&tar.Header{Name: "scenarios/acme/b.yaml"}, &tar.Header{Name: "/scenarios/acme/abs.yaml"}))
	if err == nil {
		t.Error("an absolute path was taken")
	}
	for _, name := range []string{"up.yaml", "etc/up.yaml", "etc/hub/up.yaml"} {
		if _, err := os.Stat(w.path(name)); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	w.write("bad.tgz", "nonsense")
	for _, name := range []string{"bad.tgz", "none.tgz", "data"} {
		if _, _, err := Import(w.dirs, w.path(name)); err == nil {
			t.Errorf("%s is imported", name)
		}
	}
}

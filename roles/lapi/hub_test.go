//go:build !edge

package lapi

import (
	"crypto/sha256"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func TestServeHub(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		".index.json": "{}", "scenarios/acme/bf.yaml": "name: acme/bf", ".data/list.txt": "192.0.2.1", ".git/config": "secret", "secret": "secret",
	} {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_ = os.Symlink("/etc", filepath.Join(dir, "scenarios", "out")) // where there are links
	v := visitor{t: t, h: open(t, func(c *Config) { c.Hub = dir }).handler()}
	etag := fmt.Sprintf("\"%x\"", sha256.Sum256([]byte("{}")))
	for range 2 {
		if w := v.want("GET", "/v1/hub/master/.index.json?with_content=true", "", 200, "{}"); w.Header().Get("ETag") != etag {
			t.Errorf("the index is called %s", w.Header().Get("ETag"))
		}
	}
	r := httptest.NewRequest("GET", "/v1/hub/.index.json", nil)
	r.Header.Set("If-None-Match", etag)
	if w := v.send(r); w.Code != 304 {
		t.Errorf("got %d", w.Code)
	}
	v.want("GET", "/v1/hub/scenarios/acme/bf.yaml", "", 200, "name: acme/bf")
	v.want("HEAD", "/v1/hub/any/scenarios/acme/bf.yaml", "", 200, "")
	v.want("GET", "/v1/hub/master/data/list.txt", "", 200, "192.0.2.1")
	for _, path := range []string{
		"", "secret", "master/secret", ".git/config", "master/.git/config", ".data/list.txt", "scenarios", "scenarios/acme", "scenarios/none",
		"scenarios/out/passwd", "data/../../secret", "data/..%2f..%2fsecret", "a/b/scenarios/acme/bf.yaml",
	} {
		if w := v.do("GET", "/v1/hub/"+path, ""); w.Code == 200 {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
	v.want("PUT", "/v1/hub/scenarios/acme/bf.yaml", "x", 405, "")
	v.h = open(t, nil).handler()
	v.want("GET", "/v1/hub/.index.json", "", 404, "*")
}

package catalog

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cs/pipeline/hub"
	"cs/platform/sharedtest"
)

// BenchmarkLoadInstalled is what a daemon reads when all of the public hub is
// installed from its index, with the content of all items in that, and without
// an index.
func BenchmarkLoadInstalled(b *testing.B) {
	dir := b.TempDir()
	dirs := Dirs{Config: dir, Hub: filepath.Join(dir, "hub"), Index: filepath.Join(dir, "hub", IndexName), Data: filepath.Join(dir, "data")}
	if _, _, err := Import(dirs, filepath.Join(sharedtest.Dir(b), "hub")); err != nil {
		b.Fatal(err)
	}
	c, err := Open(dirs)
	if err != nil {
		b.Fatal(err)
	}
	p := c.NewPlan(false)
	for _, t := range Types {
		for _, it := range c.Items(t) {
			p.Install(it, false)
		}
	}
	s, err := NewSource(dirs.Hub, "", "")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := p.Carry(context.Background(), s, time.Now(), func(string) {}); err != nil {
		b.Fatal(err)
	}
	load := func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if c, errs := (hub.Dirs{Config: dir}).Load(); len(c.Items) < 700 || len(errs) > 0 {
				b.Fatal(len(c.Items), errs)
			}
		}
	}
	b.Run("indexed", load)
	if err := os.Remove(dirs.Index); err != nil {
		b.Fatal(err)
	}
	b.Run("bare", load)
}

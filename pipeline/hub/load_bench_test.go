package hub_test

import (
	"path/filepath"
	"testing"

	"cs/pipeline"
	"cs/pipeline/hub"
	"cs/platform/sharedtest"
)

// BenchmarkLoad is what a start costs until the first line can be read: content
// is read and compiled.
func BenchmarkLoad(b *testing.B) {
	f := func(name string, content func() hub.Content, dataDir string) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e, _ := pipeline.Load(pipeline.Options{Content: content(), DataDir: dataDir})
				if e.Stats().Parsers == 0 {
					b.Fatal("nothing is loaded")
				}
			}
		})
	}
	dir := filepath.Join(sharedtest.Dir(b), "hub")
	f("starter", hub.Base, "")
	f("hub", func() hub.Content { c, _ := hub.Load(dir); return c }, filepath.Join(dir, "data"))
}

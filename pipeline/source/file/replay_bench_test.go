package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"cs/pipeline/event"
)

// BenchmarkReplay is what a line costs until the engine has it.
func BenchmarkReplay(b *testing.B) {
	path := filepath.Join(b.TempDir(), "access.log")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	const lines = 200_000
	for i := range lines {
		fmt.Fprintf(f, `198.51.100.%d - - [14/Mar/2026:10:00:00 +0000] "GET /page/%d.html HTTP/1.1" 200 %d "https://www.example.com/" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"`+"\n", i%250, i, i)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += lines {
		n := 0
		err := NewReplay(Config{Globs: []string{path}}).Run(b.Context(), func(_ context.Context, batch []event.Line, done func()) error {
			n += len(batch)
			done()
			return nil
		})
		if err != nil || n != lines {
			b.Fatal(n, err)
		}
	}
}

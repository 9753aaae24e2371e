package source

import (
	"bytes"
	"testing"
	"time"

	"cs/pipeline/event"
)

// BenchmarkSplit tells how fast lines are cut on one core; its target is 1 GB/s.
func BenchmarkSplit(b *testing.B) {
	line := []byte(`203.0.113.7 - - [14/Mar/2026:10:00:00 +0000] "GET /a/page/of/usual/length?id=4711 HTTP/1.1" 200 5316 "https://example.com/" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"` + "\n")
	data := bytes.Repeat(line, 256<<10/len(line))
	now := time.Now()
	s := NewSplitter(event.Line{Module: "file", Src: "/var/log/nginx/access.log"}, 0, func() time.Time { return now })
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		skip := false
		for used := 0; used < len(data); {
			_, n := s.Take(data[used:], &skip, false)
			used += n
		}
	}
}

package pipeline_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/pipeline/event"
)

// BenchmarkTurns tells what it costs that lines of several sources take turns, as those of a syslog
// server do, and what is left of that when those of each come together.
func BenchmarkTurns(b *testing.B) {
	for _, sources := range []int{1, 8, 100} {
		for _, sorted := range []bool{false, true} {
			if sources == 1 && sorted {
				continue
			}
			b.Run(fmt.Sprintf("%d/sorted=%v", sources, sorted), func(b *testing.B) {
				e, _ := loadHub(b, installed(b, false, "crowdsecurity/linux", "crowdsecurity/sshd", "crowdsecurity/nginx", "crowdsecurity/base-http-scenarios"))
				lines := webLines("nginx", false)
				for i := range lines {
					lines[i].Src = fmt.Sprintf("192.0.2.%d", i*7%sources)
				}
				if sorted {
					for part := range slices.Chunk(lines, 256) {
						slices.SortStableFunc(part, func(a, b event.Line) int { return strings.Compare(a.Src, b.Src) })
					}
				}
				benchmarkBatches(b, e, lines, 6*time.Hour)
			})
		}
	}
}

package injection

import (
	"testing"

	"github.com/corazawaf/libinjection-go"
)

// BenchmarkTwin compares with the library on attacks, and on what is none.
func BenchmarkTwin(b *testing.B) {
	texts := map[string][]string{
		"attacks": attacks,
		"harmless": {
			"hello world", "user@example.com", "2024-01-15", `{"id": 1, "name": "test product"}`, "page=1&sort=name&order=asc",
			"123e4567-e89b-12d3-a456-426614174000", "The quick brown fox jumps over the lazy dog near the riverbank at sunset",
			"+1 (555) 867-5309", "#ff0000", "/assets/js/vendor/jquery-3.6.0.min.js", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
			"it's the dog's", "a < b and c > d", "<p>some <b>bold</b> text</p>",
		},
	}
	for _, f := range []struct {
		name string
		test func(string) bool
	}{
		{"sqli/ours", SQLi},
		{"sqli/library", func(s string) bool { found, _ := libinjection.IsSQLi(s); return found }},
		{"xss/ours", XSS},
		{"xss/library", libinjection.IsXSS},
	} {
		for name, list := range texts {
			b.Run(f.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					for _, text := range list {
						f.test(text)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(list)), "ns/text")
			})
		}
	}
}

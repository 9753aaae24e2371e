package gen

import (
	"bufio"
	"io"
	"math/rand/v2"
	"strconv"
	"time"
)

// Web makes access log lines of a busy site in the combined format: pages,
// their pictures and scripts, some errors, from a few thousand addresses that
// each stay below what a scenario calls an attack. The zero value is not usable.
type Web struct {
	rng      *rand.Rand
	at       time.Time
	nonASCII bool
	stamp    []byte // at, as text
}

// NewWeb returns a maker of lines. Those of a non-ASCII one have a raw UTF-8
// path, referer and user agent, as some clients send them.
func NewWeb(nonASCII bool) *Web {
	return &Web{rng: rand.New(rand.NewPCG(3, 4)), at: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), nonASCII: nonASCII}
}

var (
	pages   = []string{"/", "/blog/", "/blog/2026/11/keeping-logs-short", "/about", "/products/list?page=2&sort=price", "/search?q=garden+chair", "/cart", "/api/v2/items/4711"}
	statics = []string{"/static/app.6f1d2c.js", "/static/site.css", "/img/logo.png", "/img/photos/IMG_2041.jpg", "/favicon.ico", "/fonts/inter-latin.woff2"}
	agents  = []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
	}
	foreign = []string{"/wiki/Grüße_aus_Köln", "/поиск/садовый-стул", "/商品/庭の椅子", "/café/menu"}
)

// Append adds the next line, without its end, to dst.
func (w *Web) Append(dst []byte) []byte {
	if step := w.rng.IntN(40); step > 0 || w.stamp == nil {
		w.at = w.at.Add(time.Duration(step) * time.Millisecond)
		w.stamp = w.at.AppendFormat(w.stamp[:0], "02/Jan/2006:15:04:05 -0700")
	}
	who := w.rng.IntN(4096)
	dst = append(dst, "203.0."...)
	dst = strconv.AppendInt(dst, int64(who>>8), 10)
	dst = append(dst, '.')
	dst = strconv.AppendInt(dst, int64(who&255), 10)
	dst = append(dst, " - - ["...)
	dst = append(dst, w.stamp...)
	dst = append(dst, `] "`...)
	method, path, status := "GET", "", int64(200)
	switch kind := w.rng.IntN(100); {
	case kind < 55:
		path = statics[w.rng.IntN(len(statics))]
	case kind < 97:
		path = pages[w.rng.IntN(len(pages))]
		if kind < 60 {
			method = "POST"
		}
	default:
		path, status = "/old/page-"+strconv.Itoa(w.rng.IntN(1000))+".html", 404
	}
	if w.nonASCII {
		path = foreign[w.rng.IntN(len(foreign))]
	}
	dst = append(append(append(dst, method...), ' '), path...)
	dst = append(dst, ` HTTP/1.1" `...)
	dst = strconv.AppendInt(dst, status, 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(w.rng.IntN(50000)), 10)
	switch {
	case w.nonASCII:
		dst = append(dst, ` "https://www.example.com/übersicht" "`...)
	case w.rng.IntN(2) == 0:
		dst = append(dst, ` "-" "`...)
	default:
		dst = append(dst, ` "https://www.example.com/blog/" "`...)
	}
	dst = append(dst, agents[w.rng.IntN(len(agents))]...)
	if w.nonASCII {
		dst = append(dst, " Браузер"...)
	}
	return append(dst, '"')
}

// Lines returns the next n lines.
func (w *Web) Lines(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = string(w.Append(nil))
	}
	return lines
}

// Write writes at least size bytes of whole lines and returns how many lines
// they are.
func (w *Web) Write(out io.Writer, size int64) (lines int, err error) {
	buf := bufio.NewWriterSize(out, 1<<20)
	for line := []byte(nil); size > 0; size -= int64(len(line)) {
		line = append(w.Append(line[:0]), '\n')
		if _, err := buf.Write(line); err != nil {
			return lines, err
		}
		lines++
	}
	return lines, buf.Flush()
}

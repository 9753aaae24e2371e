package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cs/roles/config"
)

// Output formats.
const (
	human    = "human"
	jsonText = "json"
	raw      = "raw" // CSV, or the bare value
)

// A printer writes what a command has to say: data to stdout, and log lines,
// which confirm and warn, to stderr.
type printer struct {
	format string     // human, jsonText or raw
	level  slog.Level // log lines below it are left out
	fancy  bool       // stdout is a terminal that draws lines
	out    io.Writer
	errs   io.Writer
}

// newPrinter checks the output flags. Under json and raw only errors are
// logged, so that both streams can be parsed.
func newPrinter(out, errs io.Writer, g *Globals, c *config.Cscli) (*printer, error) {
	level, _ := g.Level()
	p := &printer{format: first(g.Output, c.Output, human), level: level, out: out, errs: errs}
	switch p.format {
	case human:
	case jsonText, raw:
		p.level = slog.LevelError
	default:
		return nil, globalError{fmt.Errorf("output format '%s' not supported: must be one of human, json, raw", p.format)}
	}
	when := first(g.Color, c.Color, "auto")
	if when != "yes" && when != "no" && when != "auto" {
		return nil, globalError{fmt.Errorf("color %q not supported: must be one of yes, no, auto", when)}
	}
	p.fancy = decorated(out, when)
	return p, nil
}

// decorated tells whether output to w is drawn, rather than written, if a user wants that
// "yes", "no" or "auto".
func decorated(w io.Writer, when string) bool {
	return when == "yes" || when != "no" && os.Getenv("NO_COLOR") == "" && isTerminal(w)
}

// Red returns the line that FormatError has made with its first word in red, if w is a
// terminal. color is what the flag of that name says.
func Red(w io.Writer, color, line string) string {
	const word = "Error:"
	if strings.HasPrefix(line, word) && decorated(w, color) {
		return "\x1b[31m" + word + "\x1b[0m" + line[len(word):]
	}
	return line
}

// isTerminal tells whether w is a character device that is worth drawing on.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}

// text writes s to stdout as it is.
func (p *printer) text(s string) error {
	if _, err := io.WriteString(p.out, s); err != nil {
		return fmt.Errorf("cannot write the output: %w", err)
	}
	return nil
}

// json writes v, indented, and a line break. Control characters that JSON
// would let through are escaped: a terminal may show it.
func (p *printer) json(v any, indent string) error {
	text, err := json.MarshalIndent(v, "", indent)
	if err != nil {
		return fmt.Errorf("cannot encode the output: %w", err)
	}
	return p.text(string(safeJSON(text)) + "\n")
}

// safeJSON escapes the unsafe characters that encoding/json leaves as they
// are: DEL, C1 controls, direction overrides. They can be within strings only.
func safeJSON(text []byte) []byte {
	unsafe := func(r rune) bool { return r != '\n' && unsafeRune(r) }
	if bytes.IndexFunc(text, unsafe) < 0 {
		return text
	}
	out := make([]byte, 0, len(text)+64)
	for _, r := range string(text) {
		switch {
		case !unsafe(r):
			out = utf8.AppendRune(out, r)
		case r > 0xFFFF: // JSON has 16-bit escapes: a surrogate pair
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xD800+r>>10, 0xDC00+r&0x3FF)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// table returns an empty table with these columns.
func (p *printer) table(header ...string) *table {
	return &table{header: header, fancy: p.fancy}
}

func (p *printer) debug(format string, args ...any) { p.log(slog.LevelDebug, format, args) }
func (p *printer) info(format string, args ...any)  { p.log(slog.LevelInfo, format, args) }
func (p *printer) warn(format string, args ...any)  { p.log(slog.LevelWarn, format, args) }

// problem logs an error that does not end the command.
func (p *printer) problem(format string, args ...any) { p.log(slog.LevelError, format, args) }

// log writes one line in the form that scripts match on: level=info msg="…",
// and a JSON object when the output is JSON.
func (p *printer) log(level slog.Level, format string, args []any) {
	if level < p.level {
		return
	}
	name := map[slog.Level]string{slog.LevelDebug: "debug", slog.LevelInfo: "info", slog.LevelWarn: "warning", slog.LevelError: "error"}[level]
	msg := fmt.Sprintf(format, args...)
	if p.format == jsonText {
		line, _ := json.Marshal(struct { // two strings: it can't fail
			Level string `json:"level"`
			Msg   string `json:"msg"`
		}{name, msg})
		fmt.Fprintf(p.errs, "%s\n", safeJSON(line))
		return
	}
	if strings.ContainsFunc(msg, needsQuotes) || msg == "" {
		msg = strconv.Quote(msg)
	}
	fmt.Fprintf(p.errs, "level=%s msg=%s\n", name, msg)
}

func needsQuotes(r rune) bool {
	alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !alnum && !strings.ContainsRune("-._/@^+", r)
}

// stamp is the time in tables and CSV: RFC 3339, UTC, whole seconds; "" for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// first returns the first text that is not empty.
func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

// verbose tells whether confirmations are shown.
func (p *printer) verbose() bool { return p.level <= slog.LevelInfo }

package status

import (
	"bufio"
	"io"
	"os"
	"strings"
	"time"
)

const (
	// maxLog is how much of the end of a log is looked through for the lines of
	// alerts, and maxLogs how many logs.
	maxLog  = 16 << 20
	maxLogs = 20
	// maxHeld bounds the lines that are kept of a log: those that hold the address.
	maxHeld = 5000
	maxText = 8 << 10
)

// Logs finds lines of logs of this host.
type Logs struct {
	ip   string
	held map[string][]string // by path: the lines that name the address
	told map[string]bool     // by path and line: those given already
}

// NewLogs returns what looks for the lines that name an address.
func NewLogs(ip string) *Logs {
	return &Logs{ip: ip, held: make(map[string][]string), told: make(map[string]bool)}
}

// Line returns the line of a log that an event was, "" if it isn't found there
// any more. Each is given once: of several that are like the event, those that
// were not given before count first.
func (l *Logs) Line(path string, at time.Time, facts map[string]string) string {
	if !strings.HasPrefix(path, "/") {
		return ""
	}
	lines, ok := l.held[path]
	if !ok && len(l.held) < maxLogs {
		lines = l.read(path)
		l.held[path] = lines
	}
	best, score := "", 0
	for _, line := range lines {
		n := 2 * likeness(line, at, facts)
		if n > 0 && !l.told[path+"\x00"+line] {
			n++
		}
		if n > score {
			best, score = line, n
		}
	}
	l.told[path+"\x00"+best] = true
	return best
}

// likeness counts what of an event a line has: its time, in the forms that logs
// have it, and the texts of its facts. A line without the time is none.
func likeness(line string, at time.Time, facts map[string]string) int {
	n := 0
	for _, zone := range []*time.Location{time.UTC, time.Local, at.Location()} {
		t := at.In(zone)
		for _, layout := range []string{"15:04:05", time.RFC3339} {
			if strings.Contains(line, t.Format(layout)) {
				n = max(n, 2)
			}
		}
	}
	if n == 0 {
		return 0
	}
	for key, value := range facts {
		switch key {
		case "source_ip", "datasource_path", "datasource_type", "timestamp", "log_type", "service", "machine":
		default:
			if len(value) > 1 && strings.Contains(line, value) {
				n++
			}
		}
	}
	return n
}

// read returns the lines at the end of a log that hold the address.
func (l *Logs) read(path string) (lines []string) {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	if over := info.Size() - maxLog; over > 0 {
		if _, err := f.Seek(over, io.SeekStart); err != nil {
			return nil
		}
	}
	in := bufio.NewReaderSize(io.LimitReader(f, maxLog), maxText)
	for {
		text, err := in.ReadSlice('\n')
		if holds(string(text), l.ip) {
			if len(lines) == maxHeld {
				lines = lines[1:]
			}
			lines = append(lines, strings.TrimRight(string(text), "\r\n"))
		}
		for err == bufio.ErrBufferFull { // the rest of a long line
			_, err = in.ReadSlice('\n')
		}
		if err != nil {
			return lines
		}
	}
}

// holds tells whether a line names an address, not one that begins or ends like it.
func holds(line, ip string) bool {
	for rest := line; ; {
		i := strings.Index(rest, ip)
		if i < 0 {
			return false
		}
		before, after := byte(' '), byte(' ')
		if i > 0 {
			before = rest[i-1]
		}
		if end := i + len(ip); end < len(rest) {
			after = rest[end]
		}
		if !partOfAddress(before) && !partOfAddress(after) {
			return true
		}
		rest = rest[i+1:]
	}
}

func partOfAddress(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

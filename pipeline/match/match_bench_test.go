package match_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"cs/pipeline/match"
)

// load is a set of patterns, tried in order until one matches, with lines for
// each outcome.
type load struct {
	name  string
	progs []*match.Program
	lines map[string][]string // by outcome
}

// outcomes are what the lines of a load lead to: a match; failing at once, being
// of another kind, or in the last field; and the same beyond ASCII.
var outcomes = []string{"match", "early", "late", "match-unicode", "late-unicode"}

// loads returns what the speed goals are about: the nginx access line, the
// syslog line, and the patterns for sshd.
func loads(tb testing.TB) []load {
	tb.Helper()
	var nginx, syslog, sshd []*match.Program
	for _, g := range hubGroks(tb) {
		switch {
		case g.named:
		case g.file == "parsers/s01-parse/crowdsecurity/nginx-logs.yaml" && nginx == nil:
			nginx = append(nginx, g.pattern.Program())
		case g.file == "parsers/s00-raw/crowdsecurity/syslog-logs.yaml" && syslog == nil:
			syslog = append(syslog, g.pattern.Program())
		case g.file == "parsers/s01-parse/crowdsecurity/sshd-logs.yaml":
			sshd = append(sshd, g.pattern.Program())
		}
	}
	rng := rand.New(rand.NewPCG(9, 10))
	ip := func() string {
		return fmt.Sprintf("%d.%d.%d.%d", 1+rng.IntN(223), rng.IntN(256), rng.IntN(256), rng.IntN(256))
	}
	pick := func(s ...string) string { return s[rng.IntN(len(s))] }
	user := func() string { return pick("root", "admin", "test", "oracle", "ubuntu", "git", "deploy-1") }
	access := func() string {
		return fmt.Sprintf(`%s - - [%02d/Nov/2026:%02d:%02d:%02d +0000] "%s %s HTTP/1.1" %d %d "%s" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0"`,
			ip(), 1+rng.IntN(30), rng.IntN(24), rng.IntN(60), rng.IntN(60), pick("GET", "POST", "HEAD"),
			pick("/", "/index.html", "/wp-login.php?a=1", "/static/css/main.css", "/.env", "/api/v1/items/"+fmt.Sprint(rng.IntN(9999))),
			pick1(rng, 200, 301, 403, 404, 500), rng.IntN(90000), pick("-", "https://example.com/start"), 100+rng.IntN(40))
	}
	auth := func() string {
		switch rng.IntN(5) {
		case 0:
			return fmt.Sprintf("Failed password for %s from %s port %d ssh2", user(), ip(), 1024+rng.IntN(60000))
		case 1:
			return fmt.Sprintf("Invalid user %s from %s port %d", user(), ip(), 1024+rng.IntN(60000))
		case 2:
			return fmt.Sprintf("Connection closed by invalid user %s %s port %d [preauth]", user(), ip(), 1024+rng.IntN(60000))
		case 3:
			return fmt.Sprintf("Disconnected from authenticating user %s %s port %d [preauth]", user(), ip(), 1024+rng.IntN(60000))
		}
		return fmt.Sprintf("pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=%s  user=%s", ip(), user())
	}
	other := func() string {
		return pick(fmt.Sprintf("pam_unix(cron:session): session opened for user %s(uid=0) by (uid=0)", user()),
			fmt.Sprintf("Accepted publickey for %s from %s port %d ssh2: ED25519 SHA256:abcdef", user(), ip(), rng.IntN(60000)),
			fmt.Sprintf("Server listening on %s port 22.", ip()),
			fmt.Sprintf("kernel: [%d.%06d] usb 1-1: new high-speed USB device number %d using xhci_hcd", rng.IntN(99999), rng.IntN(999999), rng.IntN(99)))
	}
	host := func() string {
		return fmt.Sprintf("Nov %2d %02d:%02d:%02d web-%d", 1+rng.IntN(30), rng.IntN(24), rng.IntN(60), rng.IntN(60), rng.IntN(9))
	}
	system := func() string {
		if rng.IntN(4) == 0 {
			return host() + " " + pick("CRON", "kernel", "systemd") + ": " + other()
		}
		return fmt.Sprintf("%s sshd[%d]: %s", host(), 1000+rng.IntN(30000), auth())
	}
	// beyond writes the words of a text in other scripts.
	beyond := func(f func() string) func() string {
		words := strings.NewReplacer("wp-login", "вход", "index", "日本語", "static", "données", "items", "файлы", "start", "början",
			"Mozilla", "Браузер", "Linux", "リナックス", "like Gecko", "как 壁虎 😀", "password", "пароль", "invalid user", "недопустимый", "root", "rööt")
		return func() string { return words.Replace(f()) }
	}
	many := func(f func() string) []string {
		lines := make([]string, 4096)
		for i := range lines {
			lines[i] = f()
		}
		return lines
	}
	return []load{
		{"nginx", nginx, map[string][]string{"match": many(access), "early": many(system),
			"late":          many(func() string { l := access(); return l[:len(l)-1] }),
			"match-unicode": many(beyond(access)),
			"late-unicode":  many(beyond(func() string { l := access(); return l[:len(l)-1] }))}},
		{"syslog", syslog, map[string][]string{"match": many(system), "early": many(access),
			"late":          many(func() string { l := system(); return l[:15] + l[16:] }),
			"match-unicode": many(beyond(system))}},
		{"sshd", sshd, map[string][]string{"match": many(auth), "early": many(other),
			"late": many(func() string {
				l := auth()
				return strings.NewReplacer(" from ", " by ", " port ", " porc ", "rhost=", "rhost=x").Replace(l)
			}),
			"late-unicode": many(beyond(func() string { return strings.Replace(auth(), "user", "user root", 1) }))}},
	}
}

func pick1(rng *rand.Rand, n ...int) int { return n[rng.IntN(len(n))] }

func (l *load) run(m *match.Machine, s string, caps []int32) bool {
	for _, p := range l.progs {
		if p.Match(m, s, caps) {
			return true
		}
	}
	return false
}

// TestWarmMatchDoesNotAllocate also checks that the lines do what they are
// named for.
func TestWarmMatchDoesNotAllocate(t *testing.T) {
	for _, l := range loads(t) {
		for outcome, lines := range l.lines {
			var m match.Machine
			caps := make([]int32, 64)
			for _, s := range lines {
				if got := l.run(&m, s, caps); got != strings.HasPrefix(outcome, "match") {
					t.Fatalf("%s, %s: %q: got %v", l.name, outcome, s, got)
				}
			}
			i := 0
			if n := testing.AllocsPerRun(500, func() {
				l.run(&m, lines[i%len(lines)], caps)
				i++
			}); n != 0 {
				t.Errorf("%s, %s: %v allocations a line", l.name, outcome, n)
			}
			if c := m.Counts; c.Backtrack+c.Stdlib > 0 {
				t.Errorf("%s, %s: automata don't suffice: %+v", l.name, outcome, c)
			}
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, l := range loads(b) {
		for _, outcome := range outcomes {
			lines := l.lines[outcome]
			if lines == nil {
				continue
			}
			b.Run(l.name+"/"+outcome+"/engine", func(b *testing.B) {
				var m match.Machine
				caps := make([]int32, 64)
				size := 0
				for _, s := range lines { // warm
					l.run(&m, s, caps)
					size += len(s)
				}
				b.SetBytes(int64(size / len(lines)))
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					l.run(&m, lines[i%len(lines)], caps)
					i++
				}
			})
			b.Run(l.name+"/"+outcome+"/regexp", func(b *testing.B) {
				var res []*regexp.Regexp
				for _, p := range l.progs {
					res = append(res, regexp.MustCompile(p.String()))
				}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					for _, re := range res {
						if re.FindStringSubmatchIndex(lines[i%len(lines)]) != nil {
							break
						}
					}
					i++
				}
			})
		}
	}
}

// BenchmarkCold compiles the nginx pattern and runs a few lines, which is when
// the tables are built.
func BenchmarkCold(b *testing.B) {
	l := loads(b)[0]
	expr, groups := l.progs[0].String(), l.progs[0].Groups()
	b.ReportAllocs()
	for b.Loop() {
		p, err := match.Compile(expr, groups)
		if err != nil {
			b.Fatal(err)
		}
		var m match.Machine
		for _, s := range l.lines["match"][:20] {
			p.Match(&m, s, nil)
		}
	}
}

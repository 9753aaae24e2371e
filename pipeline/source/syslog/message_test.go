package syslog

import (
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

func TestMessage(t *testing.T) {
	f := func(msg, format, want string) {
		t.Helper()
		got, gotFormat := appendMessage(nil, []byte(msg), true, noon)
		if string(got) != want || gotFormat != format {
			t.Errorf("%q: got %s %q, want %s %q", msg, gotFormat, got, format, want)
		}
	}
	// RFC 3164
	f("<34>Oct 11 22:14:15 mymachine su: 'su root' failed", rfc3164, "Oct 11 22:14:15 mymachine su: 'su root' failed")
	f("<34>Oct  1 22:14:15 web sshd[42]: Failed password\n", rfc3164, "Oct 1 22:14:15 web sshd[42]: Failed password")
	f("<34>Oct 01 22:14:15 web sshd[42]: x\r\n\x00", rfc3164, "Oct 1 22:14:15 web sshd[42]: x")
	f("<34>Oct 11 22:14:15 2026 web sshd[42]: x", rfc3164, "Oct 11 22:14:15 web sshd[42]: x")
	f("<34>2026-10-11T22:14:15+02:00 web sshd[42]: x", rfc3164, "Oct 11 22:14:15 web sshd[42]: x")
	f("<34>2026-10-01T22:14:15.003Z web sshd[42]: x", rfc3164, "Oct 1 22:14:15 web sshd[42]: x")
	f("<34>Oct 11 22:14:15 fe80::1 postfix/smtpd[7]: NOQUEUE", rfc3164, "Oct 11 22:14:15 fe80::1 postfix/smtpd[7]: NOQUEUE")
	f("<34>Oct 11 22:14:15 web su hello", rfc3164, "Oct 11 22:14:15 web su: hello")
	f("<34>Oct 11 22:14:15 web su:   hello", rfc3164, "Oct 11 22:14:15 web su: hello")
	f("<34>Oct 11 22:14:15 filterlog[77]: 5,,,1000", rfc3164, "Oct 11 22:14:15 unknownhost filterlog[77]: 5,,,1000") // pf
	f("<34>Oct 11 22:14:15 sshd: x", rfc3164, "Oct 11 22:14:15 unknownhost sshd: x")
	f("<34>Oct 11 22:14:15 web kernel: [12.5] IN=eth0", rfc3164, "Oct 11 22:14:15 web kernel: [12.5] IN=eth0")
	f("<34>Oct 11 22:14:15 web app[x1]: y", rfc3164, "Oct 11 22:14:15 web app: [x1]: y")
	// RFC 5424
	f("<165>1 2026-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time", rfc5424, "Aug 24 05:14:15 192.0.2.1 myproc[8710]: %% It's time")
	f("<34>1 2026-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su root' failed", rfc5424, "Oct 11 22:14:15 mymachine.example.com su: 'su root' failed")
	f(`<165>1 2026-10-11T22:14:15.003Z h evntslog - ID47 [a@1 x="3" y="\"]" z="]"][b@1 p="q"] text`, rfc5424, "Oct 11 22:14:15 h evntslog: text")
	f(`<165>1 2026-10-11T22:14:15Z h app 1 ID47 [a@1 x="3"]`, rfc5424, "Oct 11 22:14:15 h app[1]: ")
	f("<34>1 - - - - - - text", rfc5424, "Mar 9 12:00:00 unknownhost: text")
	f("<34>1 - h a - - -", rfc5424, "Mar 9 12:00:00 h a: ")
	// None of them: as it is, without the priority.
	f("<34>", other, "")
	f("<34>hello", other, "hello")
	f("hello <34>", other, "hello <34>")
	f("<1234>Oct 11 22:14:15 h a: x", other, "<1234>Oct 11 22:14:15 h a: x")
	f("<>Oct 11 22:14:15 h a: x", other, "<>Oct 11 22:14:15 h a: x")
	f("<34>Oct 32 22:14:15 h a: x", other, "Oct 32 22:14:15 h a: x")
	f("<34>Oct 11 24:14:15 h a: x", other, "Oct 11 24:14:15 h a: x")
	f("<34>ctO 11 22:14:15 h a: x", other, "ctO 11 22:14:15 h a: x")
	f("<34>Oct 11 22:14:15 web su:", other, "Oct 11 22:14:15 web su:")
	f("<34>Oct 11 22:14:15", other, "Oct 11 22:14:15")
	f("<34>1 2026-10-11T22:14:15Z h app 1 ID47 [a@1 x=\"3]", other, "1 2026-10-11T22:14:15Z h app 1 ID47 [a@1 x=\"3]")
	f(`<34>1 2026-10-11T22:14:15Z h app 1 ID47 [a@1 x="\`, other, `1 2026-10-11T22:14:15Z h app 1 ID47 [a@1 x="\`)
	f("<34>1 2026-10-11T22:14:15Z h "+strings.Repeat("a", 49)+" 1 - - x", other, "1 2026-10-11T22:14:15Z h "+strings.Repeat("a", 49)+" 1 - - x")
	f("<34>2 2026-10-11T22:14:15Z h a 1 - - x", other, "2 2026-10-11T22:14:15Z h a 1 - - x")

	got, format := appendMessage(nil, []byte("<34>Oct 11 22:14:15 web su: x\n"), false, noon)
	if string(got) != "Oct 11 22:14:15 web su: x" || format != other {
		t.Errorf("without parsing: %s %q", format, got)
	}
}

func TestMessageAllocatesNothing(t *testing.T) {
	for _, msg := range []string{
		"<34>Oct 11 22:14:15 web sshd[42]: Failed password for root",
		`<165>1 2026-10-11T22:14:15.003Z h evntslog 7 ID47 [a@1 x="3"] text`,
		"<34>nothing known",
	} {
		m, dst := []byte(msg), make([]byte, 0, 1000)
		if n := testing.AllocsPerRun(100, func() { appendMessage(dst, m, true, noon) }); n != 0 {
			t.Errorf("%q: %v allocations", msg, n)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte("<34>Oct 11 22:14:15 web sshd[42]: Failed password"))
	f.Add([]byte(`<165>1 2026-10-11T22:14:15.003Z h evntslog - ID47 [a@1 x="3" y="\"]"][b@1 p="q"] text`))
	f.Add([]byte("<34>1 - - - - - - text"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		dst, format := appendMessage([]byte("before"), msg, true, noon)
		if !strings.HasPrefix(string(dst), "before") {
			t.Fatalf("%q: what was before is gone: %q", msg, dst)
		}
		line := dst[len("before"):]
		if len(line) > len(msg)+len("Mar 9 12:00:00 unknownhost: ") {
			t.Fatalf("%q grew to %q", msg, line)
		}
		if format == other {
			return
		}
		if _, err := time.Parse("Jan 2 15:04:05", strings.Join(strings.SplitN(string(line), " ", 4)[:3], " ")); err != nil && !strings.Contains(string(line), ":60") && !strings.Contains(err.Error(), "day out of range") {
			t.Fatalf("%q: %v in %q", msg, err, line)
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	f := func(name, msg string) {
		b.Run(name, func(b *testing.B) {
			m, dst := []byte(msg), make([]byte, 0, 1000)
			b.SetBytes(int64(len(m)))
			for b.Loop() {
				appendMessage(dst, m, true, noon)
			}
		})
	}
	f("3164", "<34>Oct 11 22:14:15 web sshd[42]: Failed password for root from 192.0.2.7 port 4711 ssh2")
	f("5424", "<34>1 2026-10-11T22:14:15.003Z web sshd 42 - - Failed password for root from 192.0.2.7 port 4711 ssh2")
}

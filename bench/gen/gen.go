// Package gen makes or finds logs for benchmarks and the demo: seeded, so that
// every run sees the same lines.
package gen

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// SSH returns n syslog lines of a busy sshd: sessions, accepted logins and
// cron between failed logins from many addresses, one in four.
func SSH(n int) []string {
	rng := rand.New(rand.NewPCG(1, 2))
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	lines := make([]string, n)
	for i := range lines {
		at = at.Add(time.Duration(rng.IntN(2000)) * time.Millisecond)
		ip := fmt.Sprintf("203.0.%d.%d", rng.IntN(16), rng.IntN(256))
		pid, port := 1000+rng.IntN(60000), 1024+rng.IntN(60000)
		var text string
		switch i % 8 {
		case 0:
			text = fmt.Sprintf("sshd[%d]: Failed password for root from %s port %d ssh2", pid, ip, port)
		case 4:
			text = fmt.Sprintf("sshd[%d]: Failed password for invalid user user%d from %s port %d ssh2", pid, rng.IntN(50), ip, port)
		case 1:
			text = fmt.Sprintf("sshd[%d]: Accepted publickey for deploy from 192.0.2.%d port %d ssh2: ED25519 SHA256:abc", pid, rng.IntN(256), port)
		case 2:
			text = fmt.Sprintf("sshd[%d]: pam_unix(sshd:session): session opened for user deploy(uid=1000) by (uid=0)", pid)
		case 3:
			text = fmt.Sprintf("sshd[%d]: pam_unix(sshd:session): session closed for user deploy", pid)
		case 5:
			text = fmt.Sprintf("CRON[%d]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)", pid)
		case 6:
			text = fmt.Sprintf("systemd-logind[611]: New session %d of user deploy.", i)
		default:
			text = fmt.Sprintf("sshd[%d]: Received disconnect from 192.0.2.%d port %d:11: disconnected by user", pid, rng.IntN(256), port)
		}
		lines[i] = at.Format("Jan _2 15:04:05") + " gate " + text
	}
	return lines
}

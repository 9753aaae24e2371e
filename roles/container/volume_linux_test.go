package container

import (
	"strings"
	"testing"
)

func TestMounted(t *testing.T) {
	const mounts = `22 1 0:20 / / rw - overlay overlay rw
30 22 0:30 /vol /var/lib/crowdsec/data rw - ext4 /dev/sda1 rw
31 22 0:31 / /with\040blank rw - tmpfs tmpfs rw
short line
`
	f := func(path string, want bool) {
		t.Helper()
		if got := mounted(strings.NewReader(mounts), path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	f("/var/lib/crowdsec/data", true)
	f("/var/lib/crowdsec/data/", true)
	f("/var/lib/crowdsec/data/sub/cs.db", true)
	f("/var/lib/crowdsec/database", false)
	f("/var/lib/crowdsec", false)
	f("/with blank/x", true)
	f("/", false)
}

package platform

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
)

func TestPortOwner(t *testing.T) {
	for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", host)
		if err != nil {
			t.Skipf("cannot listen on %s: %v", host, err)
		}
		defer l.Close()
		_, err = net.Listen("tcp", l.Addr().String())
		if !IsAddrInUse(err) {
			t.Fatal(err)
		}
		got := PortOwner(l.Addr().String())
		if want := fmt.Sprintf(", pid %d", os.Getpid()); runtime.GOOS == "linux" && !strings.HasSuffix(got, want) {
			t.Fatalf("got %q, want …%q", got, want)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		for _, other := range []string{"0.0.0.0", "localhost", ""} {
			if got := PortOwner(net.JoinHostPort(other, port)); runtime.GOOS == "linux" && got == "" {
				t.Fatalf("%s: who listens on %s isn't found", other, l.Addr())
			}
		}
		if got := PortOwner(net.JoinHostPort("192.0.2.1", port)); got != "" {
			t.Fatalf("%q listens on %s, not on 192.0.2.1", got, l.Addr())
		}
		l.Close()
		if got := PortOwner(l.Addr().String()); got != "" {
			t.Fatalf("nobody's port is %q's", got)
		}
	}
	for _, bad := range []string{"", "x", "1.2.3.4", "[::1]", "host:http"} {
		if got := PortOwner(bad); got != "" {
			t.Fatalf("%q: %q", bad, got)
		}
	}
}

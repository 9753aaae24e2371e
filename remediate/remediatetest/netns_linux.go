package remediatetest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace that lives as long as its test.
type Namespace struct {
	t  testing.TB
	fd int
}

// Netns makes an empty network namespace with its loopback up. The test is
// skipped where that is not allowed.
func Netns(t testing.TB) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	n := &Namespace{t: t, fd: -1}
	var err error
	onThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			n.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
	})
	if err != nil {
		t.Skipf("cannot make a network namespace: %v", err)
	}
	t.Cleanup(func() { unix.Close(n.fd) })
	n.Run("ip", "link", "set", "lo", "up")
	return n
}

// Do runs f on a thread in the namespace. Sockets that f opens stay in it, and
// so do programs that f starts; goroutines that f starts do not.
func (n *Namespace) Do(f func()) {
	n.t.Helper()
	var err error
	onThread(func() {
		if err = unix.Setns(n.fd, unix.CLONE_NEWNET); err == nil {
			f()
		}
	})
	if err != nil {
		n.t.Fatalf("cannot enter a network namespace: %v", err)
	}
}

// onThread runs f on an operating system thread of its own, which ends with it.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread is thrown away
		f()
	}()
	<-done
}

// Try runs a program in the namespace and returns what it printed.
func (n *Namespace) Try(name string, args ...string) (string, error) {
	n.t.Helper()
	var out []byte
	var err error
	n.Do(func() { out, err = exec.Command(name, args...).CombinedOutput() })
	if err != nil {
		err = fmt.Errorf("cannot run %s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// Run is Try for programs that must work.
func (n *Namespace) Run(name string, args ...string) string {
	n.t.Helper()
	out, err := n.Try(name, args...)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// IP makes several settings with one run of the ip program.
func (n *Namespace) IP(lines ...string) {
	n.t.Helper()
	n.Do(func() {
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			n.t.Errorf("cannot set up a network: %v: %s", err, out)
		}
	})
	if n.t.Failed() {
		n.t.FailNow()
	}
}

// Join connects two namespaces with a pair of virtual interfaces of the given
// names.
func Join(a *Namespace, aName string, b *Namespace, bName string) {
	a.t.Helper()
	peer := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), b.fd)
	a.IP("link add "+aName+" type veth peer name "+bName, "link set "+bName+" netns "+peer, "link set "+aName+" up")
	b.IP("link set " + bName + " up")
}

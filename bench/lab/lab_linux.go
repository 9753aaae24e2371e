// Package lab is a small network on one machine: two namespaces joined by a
// cable, a victim in which the program under test runs, and a peer with an
// attacker's address and an innocent one. The demo, the end-to-end test and
// the latency benchmark stand on it. Nothing leaves the machine.
package lab

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Addresses of the lab, from the ranges for documentation.
var (
	Victim   = netip.MustParseAddr("198.51.100.1")
	Attacker = netip.MustParseAddr("198.51.100.66")
	Innocent = netip.MustParseAddr("198.51.100.7")
)

const probePort = 4242

// Lab is the pair of namespaces and what runs in them.
type Lab struct {
	victim, peer string // names of the namespaces
	mu           sync.Mutex
	procs        []*Proc
	socks        []net.PacketConn
}

// Usable tells why a lab can't be built here, nil if it can.
func Usable() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return errors.New("the ip command is missing (Debian: apt-get install iproute2)")
	}
	return nil
}

var labs atomic.Int32

// New builds the network. Close takes it away again.
func New(ctx context.Context) (*Lab, error) {
	id := fmt.Sprintf("cs%d-%d", os.Getpid(), labs.Add(1))
	l := &Lab{victim: id + "v", peer: id + "p"}
	script := strings.NewReplacer("VICTIM", l.victim, "PEER", l.peer, "CABLE", "c"+id, "HOST", Victim.String(),
		"ATTACKER", Attacker.String(), "INNOCENT", Innocent.String()).Replace(`
set -e
ip netns add VICTIM
ip netns add PEER
ip -n VICTIM link add eth0 type veth peer name eth0 netns PEER
ip -n VICTIM addr add HOST/24 dev eth0
ip -n PEER addr add ATTACKER/24 dev eth0
ip -n PEER addr add INNOCENT/24 dev eth0
for ns in VICTIM PEER; do
	ip -n $ns link set lo up
	ip -n $ns link set eth0 up
done
`)
	if out, err := exec.CommandContext(ctx, "sh", "-c", script).CombinedOutput(); err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot build the namespaces: %w: %s", err, out)
	}
	return l, nil
}

// Close kills what runs in the lab and removes the namespaces.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.procs {
		p.Kill()
	}
	for _, s := range l.socks {
		s.Close()
	}
	var all error
	for _, ns := range []string{l.victim, l.peer} {
		if out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput(); err != nil {
			all = errors.Join(all, fmt.Errorf("cannot remove namespace %s: %w: %s", ns, err, out))
		}
	}
	return all
}

// Sh runs a shell command in the victim's namespace and returns what it printed.
func (l *Lab) Sh(ctx context.Context, script string) (string, error) {
	out, err := exec.CommandContext(ctx, "ip", "netns", "exec", l.victim, "sh", "-c", script).CombinedOutput()
	return string(out), err
}

// Proc is a program in the victim's namespace.
type Proc struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
	mu   sync.Mutex
	out  []string
	wake chan struct{}
}

// Start runs a program in the victim's namespace. Every line it prints goes to
// echo, which may be nil, and is remembered for Wait.
func (l *Lab) Start(echo func(line string), name string, args ...string) (*Proc, error) {
	p := &Proc{
		cmd:  exec.Command("ip", append([]string{"netns", "exec", l.victim, name}, args...)...),
		done: make(chan struct{}),
		wake: make(chan struct{}, 1),
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The signal comes at the end of the thread that started the program, not of the
	// process: a thread that has run inside() ends.
	onStarter(func() { err = p.cmd.Start() })
	if err != nil {
		r.Close()
		w.Close()
		return nil, fmt.Errorf("cannot start %s: %w", filepath.Base(name), err)
	}
	w.Close()
	go func() {
		defer r.Close()
		for in := bufio.NewReader(r); ; {
			line, err := in.ReadString('\n')
			if line = strings.TrimRight(line, "\n"); line != "" {
				p.mu.Lock()
				p.out = append(p.out, line)
				p.mu.Unlock()
				select {
				case p.wake <- struct{}{}:
				default:
				}
				if echo != nil {
					echo(line)
				}
			}
			if err != nil {
				break
			}
		}
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	l.mu.Lock()
	l.procs = append(l.procs, p)
	l.mu.Unlock()
	return p, nil
}

// onStarter runs f on a thread that lasts as long as the process.
func onStarter(f func()) {
	starter.Do(func() {
		go func() {
			runtime.LockOSThread()
			for f := range starting {
				f()
			}
		}()
	})
	done := make(chan struct{})
	starting <- func() {
		defer close(done)
		f()
	}
	<-done
}

var (
	starter  sync.Once
	starting = make(chan func())
)

// Kill ends the program at once, as a power cut would, and waits for its end.
func (p *Proc) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the program to stop and returns how long it took and how it ended.
func (p *Proc) Stop(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return time.Since(start), p.err
	case <-ctx.Done():
		return time.Since(start), ctx.Err()
	}
}

// Pid returns the program's process number.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Output returns what the program has printed.
func (p *Proc) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.out, "\n")
}

// Wait returns the first line, printed or to be printed, that contains text.
func (p *Proc) Wait(ctx context.Context, text string) (string, error) {
	for {
		p.mu.Lock()
		for _, line := range p.out {
			if strings.Contains(line, text) {
				p.mu.Unlock()
				return line, nil
			}
		}
		p.mu.Unlock()
		select {
		case <-p.wake:
		case <-p.done:
			return "", fmt.Errorf("the program ended (%v) without printing %q; it printed:\n%s", p.err, text, p.Output())
		case <-ctx.Done():
			return "", fmt.Errorf("the program did not print %q: %w; it printed:\n%s", text, ctx.Err(), p.Output())
		}
	}
}

// Ready returns the text that a role prints when it does its work.
func Ready(role string) string {
	switch role {
	case "run":
		role = "cs"
	case "bouncer-firewall":
		role = "bouncer"
	}
	return role + " is ready"
}

// Memory returns the resident memory of a process in KiB.
func Memory(pid int) (kib int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("cannot read the memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			_, err = fmt.Sscanf(rest, "%d kB", &kib)
			return kib, err
		}
	}
	return 0, fmt.Errorf("cannot read the memory of process %d: it has ended", pid)
}

// inside runs f on a thread that is in a namespace. Sockets that f opens stay there.
func inside(ns string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread can't be trusted to come back, so it ends
		// with this goroutine.
		runtime.LockOSThread()
		fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err != nil {
			done <- fmt.Errorf("cannot enter namespace %s: %w", ns, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Probe sends a packet every millisecond from the attacker's and from the
// innocent address to the victim, and notes when each last arrived.
type Probe struct {
	last map[netip.Addr]*atomic.Int64 // unix nanoseconds
	stop context.CancelFunc
	work sync.WaitGroup
}

// Probe starts sending. Stop it before the lab is closed.
func (l *Lab) Probe(ctx context.Context) (*Probe, error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &Probe{last: map[netip.Addr]*atomic.Int64{Attacker: {}, Innocent: {}}, stop: cancel}
	open := func(ns string, at netip.AddrPort) (conn *net.UDPConn, err error) {
		err = inside(ns, func() (err error) {
			conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("cannot open a probe on %s: %w", at, err)
		}
		l.mu.Lock()
		l.socks = append(l.socks, conn)
		l.mu.Unlock()
		return conn, nil
	}
	target := netip.AddrPortFrom(Victim, probePort)
	sink, err := open(l.victim, target)
	if err != nil {
		cancel()
		return nil, err
	}
	var senders []*net.UDPConn
	for a := range p.last {
		s, err := open(l.peer, netip.AddrPortFrom(a, 0))
		if err != nil {
			cancel()
			return nil, err
		}
		senders = append(senders, s)
	}
	p.work.Go(func() {
		for buf := make([]byte, 16); ; {
			sink.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, from, err := sink.ReadFromUDPAddrPort(buf)
			if err == nil {
				if t := p.last[from.Addr().Unmap()]; t != nil {
					t.Store(time.Now().UnixNano())
				}
			} else if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
				return
			}
		}
	})
	p.work.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for _, s := range senders {
				// A refused or full socket is the same as a lost packet.
				_, _ = s.WriteToUDPAddrPort([]byte("probe"), target)
			}
		}
	})
	return p, nil
}

// Stop ends the probe.
func (p *Probe) Stop() {
	p.stop()
	p.work.Wait()
}

// Last returns when a packet from an address arrived last.
func (p *Probe) Last(a netip.Addr) time.Time { return time.Unix(0, p.last[a].Load()) }

// Passing tells whether packets of an address arrive now.
func (p *Probe) Passing(a netip.Addr) bool { return time.Since(p.Last(a)) < quiet }

// quiet is how long nothing must arrive until an address counts as dropped:
// two hundred lost packets in a row.
const quiet = 200 * time.Millisecond

// Await waits until the packets of an address pass or are dropped, and returns
// since when.
func (p *Probe) Await(ctx context.Context, a netip.Addr, passing bool) (time.Time, error) {
	for {
		if p.Passing(a) == passing {
			return p.Last(a), nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("packets from %s: passing is %v, want %v: %w", a, !passing, passing, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

var _ io.Closer = (*Lab)(nil)

// Inside runs f on a thread in the victim's namespace. Sockets that f opens stay there.
func (l *Lab) Inside(f func() error) error { return inside(l.victim, f) }

// burst is how many packets Flood times together: few enough that a burst is
// over before somebody else gets the processor.
const burst = 256

// Flood sends bursts of packets from random ones of so many addresses, at most the
// 16 million of 12.0.0.0/8, to a port of the victim where nobody listens, and returns how
// long each packet of the fastest tenth of them took, its way through the victim included.
// A burst is one system call, as a network card hands over many packets at a time: one
// for each would measure above all what entering the kernel does to its caches.
func (l *Lab) Flood(bursts, sources int) (each time.Duration, err error) {
	err = inside(l.peer, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: Victim.As4()}
		var packets [burst][29]byte
		var parts [burst]unix.Iovec
		var messages [burst]struct { // struct mmsghdr, sendmmsg(2)
			unix.Msghdr
			sent uint32
		}
		for i := range packets {
			p := &packets[i]
			*p = [29]byte{0: 0x45, 3: 29, 8: 64, 9: unix.IPPROTO_UDP, 12: 12, 20: 0x30, 21: 0x39, 23: 9, 25: 9, 28: 'x'}
			copy(p[16:], to.Addr[:])
			parts[i].Base = &p[0]
			parts[i].SetLen(len(p))
			m := &messages[i].Msghdr
			m.Name, m.Namelen, m.Iov = (*byte)(unsafe.Pointer(&to)), unix.SizeofSockaddrInet4, &parts[i]
			m.SetIovlen(1)
		}
		random := rand.New(rand.NewPCG(1, 2))
		times := make([]time.Duration, bursts)
		for i := range times {
			for j := range packets {
				// An odd factor spreads few addresses as it does many.
				binary.BigEndian.PutUint32(packets[j][12:], 12<<24|uint32(random.IntN(sources))*2654435761>>8)
			}
			began := time.Now()
			n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&messages)), burst, 0, 0, 0)
			times[i] = time.Since(began)
			if errno != 0 || n != burst {
				return fmt.Errorf("sent %d of %d packets: %w", n, burst, errno)
			}
		}
		slices.Sort(times)
		each = times[len(times)/10] / burst
		return nil
	})
	return each, err
}

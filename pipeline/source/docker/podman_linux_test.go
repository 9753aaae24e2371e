package docker

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/pipeline/source"
	"cs/pipeline/source/sourcetest"
)

var record = flag.Bool("record", false, "write the replies of the podman of this host to testdata/podman.json")

// pod is a Podman with nothing but one image of BusyBox, in a mount namespace of its own.
type pod struct {
	t      *testing.T
	dir    string
	socket string
	stop   func() // ends its API service
}

// inNamespace is what podman runs in: crun takes no host whose cgroups are those of v1
// and v2 together.
const inNamespace = `umount -R /sys/fs/cgroup 2>/dev/null
mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null || mount -t tmpfs none /sys/fs/cgroup
exec "$@"`

func (p *pod) command(args ...string) *exec.Cmd {
	base := []string{"--mount", "--propagation", "private", "sh", "-c", inNamespace, "sh", "podman",
		"--root", p.dir + "/root", "--runroot", p.dir + "/run", "--tmpdir", p.dir + "/tmp", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"}
	return exec.Command("unshare", append(base, args...)...)
}

func (p *pod) podman(args ...string) (string, error) {
	var errText bytes.Buffer
	cmd := p.command(args...)
	cmd.Stderr = &errText
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("podman %q: %w: %s", args, err, errText.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

// newPod skips the test where no container can be run. One, that nobody has chosen, was.
func newPod(t *testing.T) *pod {
	t.Helper()
	if testing.Short() {
		t.Skip("starts containers")
	}
	for _, name := range []string{"podman", "unshare", "busybox"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
	dir, err := os.MkdirTemp("", "pod") // the socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &pod{t: t, dir: dir, socket: dir + "/sock"}
	t.Cleanup(func() { _, _ = p.podman("rm", "--all", "--force", "--time", "0") })
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	for _, name := range []string{"bin/", "dev/", "proc/", "sys/", "etc/", "run/", "tmp/"} {
		err = w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755})
	}
	if err == nil {
		err = w.WriteHeader(&tar.Header{Name: "bin/busybox", Mode: 0o755, Size: int64(len(program))})
	}
	if err == nil {
		_, err = w.Write(program)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = os.WriteFile(dir+"/image.tar", image.Bytes(), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.podman("import", dir+"/image.tar", "busy:local"); err != nil {
		t.Skip("podman can't import an image here: ", err)
	}
	if _, err := p.run("--name", "other", "busy:local", "/bin/busybox", "echo", "not chosen"); err != nil {
		t.Skip("podman can't run a container here: ", err)
	}
	p.serve()
	return p
}

func (p *pod) run(args ...string) (string, error) {
	return p.podman(append([]string{"run", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network", "none", "--cgroups", "disabled"}, args...)...)
}

// serve starts the API service.
func (p *pod) serve() {
	p.t.Helper()
	cmd := p.command("system", "service", "--time", "0", "unix://"+p.socket)
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	p.t.Cleanup(func() { p.stop() })
	sourcetest.Until(p.t, "podman serves", func() bool {
		conn, err := net.Dial("unix", p.socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// container starts one that prints what is written to the file it returns. more are
// flags of podman run.
func (p *pod) container(name string, more ...string) *os.File {
	p.t.Helper()
	dir := filepath.Join(p.dir, "in-"+name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	in, err := os.OpenFile(filepath.Join(dir, "in"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { in.Close() })
	args := append([]string{"--detach", "--name", name, "--volume", dir + ":/in"}, more...)
	if _, err := p.run(append(args, "busy:local", "/bin/busybox", "tail", "-n", "+1", "-s", "1", "-f", "/in/in")...); err != nil {
		p.t.Fatal(err)
	}
	return in
}

// TestPodman follows containers of a real Podman over restarts of the source, of the
// service and of a container. Its times have a resolution of one second.
func TestPodman(t *testing.T) {
	p := newPod(t)
	path := filepath.Join(t.TempDir(), "positions")
	var positions *source.Positions
	var want []string
	say := func(in *os.File, lines int) {
		t.Helper()
		var text strings.Builder
		for range lines {
			want = append(want, fmt.Sprintf("line %d", len(want)))
			fmt.Fprintln(&text, want[len(want)-1])
		}
		if _, err := in.WriteString(text.String()); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	var r *sourcetest.Run
	start := func() {
		t.Helper()
		var err error
		if positions, err = source.OpenPositions(path, nil, time.Now); err != nil {
			t.Fatal(err)
		}
		spec := sourcetest.Spec(t, "docker", "docker_host: "+p.socket+"\nuse_container_labels: true\n")
		spec.Positions, spec.FromStart = positions, true
		r = sourcetest.Start(t, quick, spec)
	}
	heard := func() {
		t.Helper()
		sourcetest.Until(t, "all that was printed arrives", func() bool { return len(got)+len(r.Lines()) >= len(want) })
		if all := append(slices.Clone(got), r.Texts()...); !slices.Equal(all, want) {
			t.Fatalf("got %q, want %q", all, want)
		}
	}
	stop := func() {
		t.Helper()
		got = append(got, r.Texts()...)
		r.Stop()
		if err := positions.Save(); err != nil {
			t.Fatal(err)
		}
	}

	marks := []string{"--label", "crowdsec.enable=true", "--label", "crowdsec.labels.type=nginx"}
	web := p.container("web", marks...)
	say(web, 3)
	start()
	heard()
	if l := r.Lines()[0]; l.Src != "web" || l.Labels["type"] != "nginx" {
		t.Errorf("got %+v", l)
	}
	for range 2 { // within one second, as far as it goes
		say(web, 2)
		heard()
		stop()
		say(web, 2)
		start()
		heard()
	}
	if *record {
		p.record()
	}
	// One that starts later, with a terminal.
	late := p.container("late", append(marks, "--tty")...)
	say(late, 2)
	heard()
	// The service goes away and comes back.
	p.stop()
	say(web, 2)
	p.serve()
	heard()
	// The container is started again: it prints all of its file once more.
	if _, err := p.podman("restart", "--time", "0", "web"); err != nil {
		t.Fatal(err)
	}
	printed := len(want) - 2 // the others are late's
	before := len(got) + len(r.Lines())
	sourcetest.Until(t, "what it prints after the restart arrives", func() bool { return len(got)+len(r.Lines()) >= before+printed })
	stop()
	if n := len(got) - before; n != printed {
		t.Errorf("%d lines after the restart, want %d", n, printed)
	}
}

// exchange is a recorded reply.
type exchange struct {
	Path string // without the query
	Body string
}

const recorded = "testdata/podman.json"

// record asks what the source asks and keeps the replies.
func (p *pod) record() {
	p.t.Helper()
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", p.socket)
	}}}
	id, err := p.podman("inspect", "--format", "{{.Id}}", "web")
	if err != nil {
		p.t.Fatal(err)
	}
	var all []exchange
	for _, path := range []string{"/containers/json", "/containers/" + id + "/json", "/containers/" + id + "/logs?timestamps=1&stdout=1&stderr=1"} {
		resp, err := c.Get("http://podman" + path)
		if err != nil {
			p.t.Fatal(err)
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			p.t.Fatalf("%s: %s, %v: %s", path, resp.Status, err, body.Bytes())
		}
		text := strings.ReplaceAll(body.String(), p.dir, "/pod")
		path, _, _ = strings.Cut(path, "?")
		all = append(all, exchange{path, text})
	}
	resp, err := c.Get("http://podman/events?" + url.Values{"filters": {`{"type":["container"],"event":["start"]}`}}.Encode())
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := p.podman("start", "other"); err != nil {
		p.t.Fatal(err)
	}
	event, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil {
		p.t.Fatal(err)
	}
	all = append(all, exchange{"/events", event})
	data, err := json.MarshalIndent(all, "", " ")
	if err == nil {
		err = os.WriteFile(recorded, append(data, '\n'), 0o644)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// TestRecorded reads the replies of a real Podman 4.3.1, which TestPodman recorded with
// -record.
func TestRecorded(t *testing.T) {
	data, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	var all []exchange
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	var events string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, e := range all {
			if e.Path == r.URL.Path {
				_, _ = w.Write([]byte(e.Body))
				return
			}
		}
		http.Error(w, `{"message":"not recorded"}`, http.StatusNotFound)
	}))
	defer server.Close()
	for _, e := range all {
		if e.Path == "/events" {
			events = e.Body
		}
	}
	spec := sourcetest.Spec(t, "docker", "docker_host: "+server.URL+"\nuse_container_labels: true\n")
	spec.Once = true
	r := sourcetest.Start(t, Kind, spec)
	if err := r.End(); err != nil {
		t.Fatal(err)
	}
	got := r.Texts()
	for i, line := range got {
		if line != fmt.Sprintf("line %d", i) {
			t.Fatalf("line %d: %q", i, line)
		}
	}
	if l := r.Lines(); len(l) != 11 || l[0].Src != "web" || l[0].Labels["type"] != "nginx" {
		t.Fatalf("got %d lines, %+v", len(l), l)
	}
	var e event
	if err := json.Unmarshal([]byte(events), &e); err != nil || e.Type != "container" || e.Action != "start" ||
		!regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(e.Actor.ID) || e.TimeNano == 0 {
		t.Errorf("event %+v, %v", e, err)
	}
}

package agent

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// container is one, "box", of a Docker daemon that has no other.
type container struct {
	path string

	server *http.Server
	mu     sync.Mutex
	change *sync.Cond
	frames [][]byte
	times  []time.Time
	cuts   int // grows with each
	gone   bool
}

const containerID = "00000000000000000000000000000000000000000000000000000000000000b0"

func newContainer(t *testing.T) *container {
	c := &container{path: filepath.Join(t.TempDir(), "docker.sock")}
	c.change = sync.NewCond(&c.mu)
	l, err := net.Listen("unix", c.path)
	if err != nil {
		t.Fatal(err)
	}
	text := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containers/json", text(`[{"Id":"`+containerID+`","Names":["/box"],"State":"running"}]`))
	mux.HandleFunc("GET /containers/"+containerID+"/json", text(`{"Id":"`+containerID+`","Name":"/box","State":{"Running":true},"Config":{"Tty":false}}`))
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		c.mu.Lock()
		defer c.mu.Unlock()
		for c.waiting(r) {
		}
	})
	mux.HandleFunc("GET /containers/"+containerID+"/logs", c.logs)
	c.server = &http.Server{Handler: mux}
	go c.server.Serve(l)
	t.Cleanup(c.close)
	return c
}

// waiting returns when something may have changed, and whether anybody still waits for that.
func (c *container) waiting(r *http.Request) bool {
	stop := context.AfterFunc(r.Context(), func() { c.mu.Lock(); defer c.mu.Unlock(); c.change.Broadcast() })
	defer stop()
	cuts := c.cuts
	c.change.Wait()
	return r.Context().Err() == nil && cuts == c.cuts && !c.gone
}

func (c *container) logs(w http.ResponseWriter, r *http.Request) {
	var sec, ns int64
	_, _ = fmt.Sscanf(r.URL.Query().Get("since"), "%d.%d", &sec, &ns)
	since := time.Unix(sec, ns)
	c.mu.Lock()
	defer c.mu.Unlock()
	w.WriteHeader(http.StatusOK)
	for n := 0; ; {
		for ; n < len(c.frames); n++ {
			if !c.times[n].Before(since) {
				_, _ = w.Write(c.frames[n])
			}
		}
		w.(http.Flusher).Flush()
		if !c.waiting(r) {
			panic(http.ErrAbortHandler)
		}
	}
}

func (c *container) write(lines []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, line := range lines {
		at := time.Now()
		text := at.UTC().Format("2006-01-02T15:04:05.000000000Z") + " " + line + "\n"
		frame := append(binary.BigEndian.AppendUint32([]byte{1, 0, 0, 0}, uint32(len(text))), text...)
		c.frames, c.times = append(c.frames, frame), append(c.times, at)
	}
	c.change.Broadcast()
	return nil
}

// cut breaks all connections off.
func (c *container) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cuts++
	c.change.Broadcast()
}

func (c *container) close() {
	c.mu.Lock()
	c.gone = true
	c.change.Broadcast()
	c.mu.Unlock()
	c.server.Close()
}

// journalFile is what a journalctl of our own follows, in the export format.
type journalFile struct {
	dir string
	n   int
}

// entryLines is how many lines an entry has.
const entryLines = 7

func newJournal(t *testing.T) *journalFile {
	j := &journalFile{dir: t.TempDir()}
	script := `#!/bin/sh
cd '` + j.dir + `'
echo $$ >pid
first=1
for arg; do
	case $arg in --after-cursor=c*) first=$((${arg#--after-cursor=c} * ` + strconv.Itoa(entryLines) + ` + 1)) ;; esac
done
exec tail -n +$first -s 0.01 -f entries
`
	for name, text := range map[string]string{"entries": "", "journalctl": script} {
		if err := os.WriteFile(filepath.Join(j.dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", j.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return j
}

// write logs lines in the form of a syslog daemon.
func (j *journalFile) write(lines []string) error {
	var text strings.Builder
	for _, line := range lines {
		at, err := time.ParseInLocation("2006 "+time.Stamp, "2026 "+line[:len(time.Stamp)], time.Local)
		if err != nil {
			return err
		}
		_, message, _ := strings.Cut(line, "]: ")
		j.n++
		fmt.Fprintf(&text, "__CURSOR=c%d\n__REALTIME_TIMESTAMP=%d\n_HOSTNAME=box\nSYSLOG_IDENTIFIER=sshd\n_PID=7\nMESSAGE=%s\n\n", j.n, at.UnixMicro(), message)
	}
	f, err := os.OpenFile(filepath.Join(j.dir, "entries"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text.String())
	return err
}

// kill kills journalctl.
func (j *journalFile) kill() {
	text, err := os.ReadFile(filepath.Join(j.dir, "pid"))
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL) // or it is between two lives
	}
}

// topic is one, "logs", of franz-go's fake of Kafka.
type topic struct {
	brokers []string
	cluster *kfake.Cluster
	client  *kgo.Client
}

func newTopic(t *testing.T) *topic {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "logs"))
	if err != nil {
		t.Fatal(err)
	}
	k := &topic{brokers: c.ListenAddrs(), cluster: c}
	if k.client, err = kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.DefaultProduceTopic("logs")); err != nil {
		c.Close()
		t.Fatal(err)
	}
	t.Cleanup(k.close)
	return k
}

func (k *topic) write(lines []string) error {
	var records []*kgo.Record
	for _, line := range lines {
		records = append(records, kgo.StringRecord(line))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return k.client.ProduceSync(ctx, records...).FirstErr()
}

func (k *topic) close() {
	k.client.Close()
	k.cluster.Close()
}

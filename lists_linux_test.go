//go:build !bouncer_only

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"cs/roles/api"
)

// measuring is set when this program shall run another and tell what memory it
// took. A process is said to have had as much as the one that started it had then, so that
// must be a small one.
const measuring = "CS_TEST_MEASURING"

func init() {
	if os.Getenv(measuring) == "" {
		return
	}
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if cmd.Run() != nil {
		os.Exit(1)
	}
	fmt.Fprint(os.Stderr, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss<<10)
	os.Exit(0)
}

// TestMemoryOfLists: 100,000 decisions, of one alert or of as many, take less than
// 60 MB to list, in all formats.
func TestMemoryOfLists(t *testing.T) {
	if testing.Short() {
		t.Skip("it lists 100,000 decisions six times")
	}
	const n, limit = 100_000, 60_000_000
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	decision := func(i int) string {
		return fmt.Sprintf(`{"duration":"3h59m%d.123456789s","id":%d,"origin":"cscli-import","scenario":"manual","scope":"Ip","simulated":false,"type":"ban","value":"10.%d.%d.%d"}`,
			i%60, i+1, i>>16, i>>8&255, i&255)
	}
	alert := func(i int, decisions func(w *bufio.Writer), w *bufio.Writer) {
		w.WriteString(`{"capacity":0,"created_at":"2026-11-22T11:36:28Z","decisions":[`)
		decisions(w)
		fmt.Fprintf(w, `],"events":null,"events_count":1,"id":%d,"kind":"cscli","labels":null,"leakspeed":"","machine_id":"agent1","message":"","scenario":"import stdin: %d IPs",`, i+1, n)
		w.WriteString(`"scenario_hash":"","scenario_version":"","simulated":false,"source":{"scope":"","value":""},"start_at":"2026-11-22T11:36:28Z","stop_at":"2026-11-22T11:36:28Z"}`)
	}
	comma := func(i int, w *bufio.Writer) {
		if i > 0 {
			w.WriteByte(',')
		}
	}
	shapes := map[string]func(w *bufio.Writer){
		"one alert": func(w *bufio.Writer) {
			alert(0, func(w *bufio.Writer) {
				for i := range n {
					comma(i, w)
					w.WriteString(decision(i))
				}
			}, w)
		},
		"many alerts": func(w *bufio.Writer) {
			for i := range n {
				comma(i, w)
				alert(i, func(w *bufio.Writer) { w.WriteString(decision(i)) }, w)
			}
		},
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == api.PathLogin {
					fmt.Fprintf(w, `{"code":200,"expire":%q,"token":"t"}`, time.Now().Add(time.Hour).Format(time.RFC3339))
					return
				}
				out := bufio.NewWriter(w)
				out.WriteByte('[')
				shape(out)
				out.WriteByte(']')
				out.Flush()
			}))
			defer s.Close()
			dir := t.TempDir()
			credentials := fmt.Sprintf("url: %s\nlogin: agent1\npassword: secret\n", s.URL)
			if err := os.WriteFile(filepath.Join(dir, "local_api_credentials.yaml"), []byte(credentials), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, format := range []string{"human", "json", "raw"} {
				var out, most bytes.Buffer
				cmd := exec.Command("/proc/self/exe", bin, "decisions", "list", "--all", "--data-dir", dir, "-o", format)
				cmd.Env = append(os.Environ(), measuring+"=1")
				cmd.Stdout, cmd.Stderr = &out, &most
				if err := cmd.Run(); err != nil {
					t.Fatal(err, most.String())
				}
				used, err := strconv.ParseInt(most.String(), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				if rows := bytes.Count(out.Bytes(), []byte("10.1.")); rows < n/4 {
					t.Errorf("%s: %d rows", format, rows)
				}
				t.Logf("%s: %.1f MB", format, float64(used)/1e6)
				if used > limit {
					t.Errorf("%s takes %d bytes of memory", format, used)
				}
			}
		})
	}
}

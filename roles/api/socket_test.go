package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOverSocket: what a server answers arrives, whatever becomes of the rest.
func TestOverSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan struct{}, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})
	mux.HandleFunc("POST /unwanted", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	})
	mux.HandleFunc("/silent", func(w http.ResponseWriter, r *http.Request) {
		waiting <- struct{}{}
		<-r.Context().Done()
	})
	mux.HandleFunc("/half", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/hangs-up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	server := http.Server{Handler: mux}
	go server.Serve(l)
	defer server.Close()

	client := http.Client{Transport: &overSocket{path: path, dial: net.Dialer{Timeout: time.Second}}}
	gone := errors.New("gone")
	ask := func(method, target, body string) (int, string, error) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		go func() {
			select {
			case <-waiting:
				cancel(gone)
			case <-ctx.Done():
			}
		}()
		r, err := http.NewRequestWithContext(ctx, method, "http://unix"+target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		text := make([]byte, 4)
		n, err := io.ReadFull(resp.Body, text)
		if err == nil && target == "/half" {
			waiting <- struct{}{}
		}
		rest, err := io.ReadAll(resp.Body)
		text = append(text[:n], rest...)
		return resp.StatusCode, string(text), err
	}

	long := strings.Repeat("0123456789", 1<<20)
	for _, body := range []string{"", "x", long} {
		if status, text, err := ask("POST", "/echo", body); status != 200 || text != body || err != nil {
			t.Fatalf("%d %d bytes of %d: %v", status, len(text), len(body), err)
		}
	}
	if status, text, err := ask("POST", "/unwanted", long); status != 413 || text != "too much\n" || err != nil {
		t.Fatalf("an answer before the end of the body: %d %q %v", status, text, err)
	}
	if _, _, err := ask("GET", "/silent", ""); !errors.Is(err, gone) {
		t.Fatalf("who no longer waits: %v", err)
	}
	if _, text, err := ask("GET", "/half", ""); !errors.Is(err, gone) || text != "half" {
		t.Fatalf("who no longer waits for the rest: %q, %v", text, err)
	}
	if _, _, err := ask("GET", "/hangs-up", ""); err == nil {
		t.Fatal("an answer from nobody")
	}
	server.Close()
	if _, _, err := ask("GET", "/echo", ""); err == nil {
		t.Fatal("an answer from a server that is gone")
	}
}

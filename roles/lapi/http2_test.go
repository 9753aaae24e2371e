package lapi

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestManyStreams: over few HTTP/2 connections come more requests than there may be at a time,
// none of which ends. The further ones are sent away, and all is as before when the
// others have gone.
func TestManyStreams(t *testing.T) {
	s, url, _ := running(t, nil)
	s.most = 50
	var plain http.Protocols
	plain.SetUnencryptedHTTP2(true)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var refused atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		client := &http.Client{Transport: &http.Transport{Protocols: &plain}}
		defer client.CloseIdleConnections()
		for range 40 {
			all.Go(func() {
				body, _ := io.Pipe() // of which nothing ever comes
				r, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/watchers/login", body)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := client.Do(r)
				if err != nil {
					return
				}
				defer resp.Body.Close()
				if resp.StatusCode == 503 {
					refused.Add(1)
				}
			})
		}
	}
	for deadline := time.Now().Add(30 * time.Second); refused.Load() < 160-50; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of 160 requests were sent away, %d are inside", refused.Load(), s.inside.Load())
		}
	}
	if status := healthStatus(url); !strings.HasPrefix(status, "503") {
		t.Errorf("there is room for another one: %s", status)
	}
	leave()
	all.Wait()
	for deadline := time.Now().Add(30 * time.Second); s.inside.Load() > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if status := healthStatus(url); !strings.HasPrefix(status, "200") {
		t.Errorf("afterwards: %s, %d are inside", status, s.inside.Load())
	}
}

func healthStatus(url string) string {
	resp, err := http.Get(url + "/health")
	if err != nil {
		return err.Error()
	}
	resp.Body.Close()
	return resp.Status
}

package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
)

// NewInProcess returns a client of the administration routes of a server in
// this process, which nobody listens for.
func NewInProcess(h http.Handler) *Admin {
	c, err := newClient(ClientConfig{}, "this process")
	if err != nil {
		panic(fmt.Sprintf("BUG: client of this process: %v", err))
	}
	c.http.Transport = inProcess{h}
	c.open = true
	return &Admin{c: c}
}

// inProcess calls a handler and collects its answer.
type inProcess struct{ h http.Handler }

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	r := req.Clone(req.Context())
	if r.Body == nil {
		r.Body = http.NoBody
	}
	r.RequestURI = r.URL.RequestURI()
	w := &collector{header: make(http.Header), status: http.StatusOK}
	t.h.ServeHTTP(w, r)
	return &http.Response{
		StatusCode: w.status, Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: req,
	}, req.Context().Err()
}

// collector is an http.ResponseWriter.
type collector struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (c *collector) Header() http.Header         { return c.header }
func (c *collector) WriteHeader(status int)      { c.status = status }
func (c *collector) Write(p []byte) (int, error) { return c.body.Write(p) }

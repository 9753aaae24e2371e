package lapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"cs/platform"
	"cs/roles/api"
)

const (
	// A body is read as it comes up to so many bytes; for the rest of it one of
	// a few slots is needed. Whoever hasn't shown who they are gets less: there
	// may be two thousand of them.
	smallUpload   = 1 << 20
	smallStranger = 16 << 10
	// uploadSlots and strangerSlots are how many larger ones are in memory at a time.
	uploadSlots   = 2
	strangerSlots = 8
)

// readBody decodes the first JSON value of the body of somebody we know, as
// leniently as upstream.
func (s *Server) readBody(r *http.Request, v any) error {
	body, release, err := s.upload(r)
	defer release()
	if err != nil {
		return err
	}
	return api.Decode(body, v)
}

// readStranger does it for one that anybody may send.
func (s *Server) readStranger(r *http.Request, v any) error {
	release := func() {}
	defer func() { release() }()
	body, err := slurp(r, smallStranger, s.strangers, func() { release = func() { <-s.strangers } })
	if err != nil {
		return err
	}
	return api.Decode(body, v)
}

// upload reads a body. release must be called when it has been used.
func (s *Server) upload(r *http.Request) (body []byte, release func(), err error) {
	release = func() {}
	body, err = slurp(r, smallUpload, s.uploads, func() {
		calm := platform.GrowHeap(busyGCPercent)
		release = func() { calm(); <-s.uploads; s.tidy.soon() }
	})
	return body, release, err
}

// slurp reads a body. If it is not small it takes a slot for the rest, and calls held.
func slurp(r *http.Request, small int64, slots chan struct{}, held func()) (body []byte, err error) {
	const usual = 32 << 10
	var b bytes.Buffer
	b.Grow(int(max(0, min(r.ContentLength, small, usual))) + bytes.MinRead) // more only when it comes
	if _, err = io.CopyN(&b, r.Body, small); err == nil {
		select {
		case slots <- struct{}{}:
			held()
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
		b.Grow(int(max(0, min(r.ContentLength, largeBody)-small)) + bytes.MinRead)
		_, err = b.ReadFrom(r.Body)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b.Bytes(), err
}

package lapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"cs/platform"
	"cs/roles/api"
)

const (
	// A body is read as it comes up to so many bytes; for the rest of it a turn is
	// needed. Whoever hasn't shown who they are gets less: there may be two
	// thousand of them.
	smallUpload   = 64 << 10
	smallStranger = 16 << 10
	// uploadTurns and strangerTurns are how many larger ones are in memory at a
	// time, and fairUpload and fairStranger for how long one may come while
	// others wait.
	uploadTurns   = 2
	fairUpload    = 10 * time.Second
	strangerTurns = 8
	fairStranger  = 3 * time.Second
)

// readBody decodes the first JSON value of the body of somebody we know, as
// leniently as upstream.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, who string, v any) error {
	body, release, err := s.upload(w, r, who)
	defer release()
	if err != nil {
		return err
	}
	return api.Decode(body, v)
}

// readStranger does it for one that anybody may send.
func (s *Server) readStranger(w http.ResponseWriter, r *http.Request, v any) error {
	u := upload{turns: s.strangers, who: peerText(r), small: smallStranger, patience: strangerTime}
	body, err := u.read(w, r)
	defer u.end()
	if err != nil {
		return err
	}
	return api.Decode(body, v)
}

// upload reads a body. release must be called when it has been used; more than
// once does no harm.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, who string) (body []byte, release func(), err error) {
	calm := func() {}
	u := upload{turns: s.uploads, who: who, small: smallUpload, patience: bodyTime, begun: func() {
		restore := platform.GrowHeap(busyGCPercent)
		calm = func() { restore(); s.tidy.soon() }
	}}
	body, err = u.read(w, r)
	return body, sync.OnceFunc(func() { u.end(); calm() }), err
}

// upload is a body that is being read. If it is not small it takes a turn for the rest.
type upload struct {
	turns    *turns
	who      string
	small    int64
	patience time.Duration // to wait for a turn; then the rest may take as long
	begun    func()        // called when there is one; may be nil
	turn     *turn         // nil: the body is small
}

func (u *upload) read(w http.ResponseWriter, r *http.Request) (body []byte, err error) {
	const usual = 32 << 10
	var b bytes.Buffer
	b.Grow(int(max(0, min(r.ContentLength, u.small, usual))) + bytes.MinRead) // more only when it comes
	if _, err = io.CopyN(&b, r.Body, u.small); err == nil {
		if err := u.take(w, r); err != nil {
			return nil, err
		}
		b.Grow(int(max(0, min(r.ContentLength, largeBody)-u.small)) + bytes.MinRead)
		_, err = b.ReadFrom(r.Body)
		if u.turn.arrived() && err != nil {
			return nil, errHurried
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b.Bytes(), err
}

// take waits for a turn.
func (u *upload) take(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), u.patience)
	defer cancel()
	conn := http.NewResponseController(w)
	giveTime(conn, 2*u.patience)
	t, err := u.turns.take(ctx, u.who, func() { conn.SetReadDeadline(time.Now()) })
	if err != nil && r.Context().Err() == nil {
		return errHurried
	}
	if err != nil {
		return err
	}
	u.turn = t
	if u.begun != nil {
		u.begun()
	}
	return nil
}

// end gives the turn back.
func (u *upload) end() {
	if u.turn != nil {
		u.turn.end()
	}
}

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
	// needed, and for that of a large one another. Whoever hasn't shown who they are
	// gets less: there may be two thousand of them.
	smallUpload   = 64 << 10
	largeUpload   = 1 << 20
	smallStranger = 16 << 10
	// A large body is about so long when it comes compressed, an import of 100,000, and
	// takes so many times its length until it is answered.
	usualLarge   = 16 << 20
	uploadMemory = 5
	// So many bodies that are not small are in memory at a time, and so many large
	// ones. While others wait one may come for fairUpload, or fairStranger.
	uploadTurns   = 16
	largeTurns    = 2
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
	u := upload{who: peerText(r), patience: strangerTime, steps: []step{{smallStranger, s.strangers}}}
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
	u := upload{who: who, patience: bodyTime, steps: []step{{smallUpload, s.uploads}, {largeUpload, s.large}}, begun: func() {
		length := min(r.ContentLength, largeBody)
		if length < 0 { // it is compressed
			length = usualLarge
		}
		smallPages := platform.HugeHeap(int(length) * uploadMemory)
		restore := platform.GrowHeap(busyGCPercent)
		calm = func() { restore(); smallPages(); s.tidy.soon() }
	}}
	body, err = u.read(w, r)
	return body, sync.OnceFunc(func() { u.end(); calm() }), err
}

// upload is a body that is being read.
type upload struct {
	who      string
	patience time.Duration // to wait for a turn; then the rest may take as long
	steps    []step
	begun    func()  // called before what follows the last step is read; may be nil
	turns    []*turn // that it has, one for each step that was gone beyond
}

// step is up to how many bytes a body may get without a turn.
type step struct {
	size  int64
	turns *turns
}

func (u *upload) read(w http.ResponseWriter, r *http.Request) (body []byte, err error) {
	const usual = 32 << 10
	var b bytes.Buffer
	b.Grow(int(max(0, min(r.ContentLength, u.steps[0].size, usual))) + bytes.MinRead) // more only when it comes
	for _, s := range u.steps {
		if _, err = io.CopyN(&b, r.Body, s.size-int64(b.Len())); err == nil {
			err = u.take(w, r, s.turns)
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		if u.begun != nil {
			u.begun()
		}
		b.Grow(int(max(0, min(r.ContentLength, largeBody)-int64(b.Len()))) + bytes.MinRead)
		_, err = b.ReadFrom(r.Body)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if n := len(u.turns); n > 0 && u.turns[n-1].arrived() && err != nil {
		err = errHurried
	}
	if err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// take waits for a turn. Who does so is not slow in what they have a turn for already.
func (u *upload) take(w http.ResponseWriter, r *http.Request, turns *turns) error {
	if n := len(u.turns); n > 0 && u.turns[n-1].arrived() {
		return errHurried
	}
	ctx, cancel := context.WithTimeout(r.Context(), u.patience)
	defer cancel()
	conn := http.NewResponseController(w)
	giveTime(conn, 2*u.patience)
	t, err := turns.take(ctx, u.who, func() { conn.SetReadDeadline(time.Now()) })
	if err != nil && r.Context().Err() == nil {
		return errHurried
	}
	if err == nil {
		u.turns = append(u.turns, t)
	}
	return err
}

// end gives the turns back.
func (u *upload) end() {
	for _, t := range u.turns {
		t.end()
	}
}

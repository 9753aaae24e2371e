package lapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"

	"cs/platform"
	"cs/roles/api"
)

const jsonType = "application/json; charset=utf-8"

// answer sends JSON.
func answer(w http.ResponseWriter, status int, v any) { send(w, status, marshal(v)) }

func marshal(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("BUG: %T as JSON: %v", v, err))
	}
	return body
}

// send sends an answer that is complete. How long that may take depends on its
// size; a line that can't do slowest bytes a second is none.
func send(w http.ResponseWriter, status int, body []byte) {
	giveTime(http.NewResponseController(w), writeTime+time.Duration(len(body))*time.Second/slowest)
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	w.Write(body) // who went away can't be told
}

// longAnswer sends JSON of a length that nobody knows beforehand. What is short
// goes out in one piece; of what is long so much is in memory at a time
// as a piece has, however slowly the client takes it.
type longAnswer struct {
	w     http.ResponseWriter
	buf   []byte // what is to be sent
	begun bool
}

// flushIfLong sends what there is if that is much.
func (o *longAnswer) flushIfLong(ctx context.Context) error {
	if len(o.buf) < flushOver {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !o.begun {
		o.begun = true
		o.w.Header().Set("Content-Type", jsonType)
	}
	giveTime(http.NewResponseController(o.w), writeTime)
	_, err := o.w.Write(o.buf)
	o.buf = o.buf[:0]
	return err
}

// end sends what is left.
func (o *longAnswer) end() {
	if !o.begun {
		send(o.w, http.StatusOK, o.buf)
		return
	}
	giveTime(http.NewResponseController(o.w), writeTime)
	o.w.Write(o.buf) // who went away can't be told
}

// giveTime sets the deadlines anew. That of reading too: should it pass while we
// write, net/http would take it for the client's leaving. Where there is no
// connection, in a test, nothing need be set.
func giveTime(conn *http.ResponseController, d time.Duration) {
	at := time.Now().Add(d)
	conn.SetReadDeadline(at)
	conn.SetWriteDeadline(at)
}

func refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, api.ErrorResponse{Message: message})
}

func refuseToken(w http.ResponseWriter, status int, message string) {
	if status != http.StatusTooManyRequests {
		w.Header().Set("WWW-Authenticate", "JWT realm=Crowdsec API local")
	}
	answer(w, status, api.ErrorResponse{Code: status, Message: message})
}

// refuseBody answers a body that could not be read. For one that is too large
// net/http closes the connection.
func refuseBody(w http.ResponseWriter, err error) {
	if errors.Is(err, errHurried) {
		busy(w, 5*time.Second)
		return
	}
	if isSlow(err) {
		refuse(w, http.StatusRequestTimeout, "the body took too long")
		return
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		refuse(w, http.StatusBadRequest, "http: request body too large")
		return
	}
	refuse(w, http.StatusBadRequest, err.Error())
}

// isSlow tells whether a body could not be read because it came too slowly.
func isSlow(err error) bool {
	var late net.Error
	return errors.Is(err, errHurried) || errors.As(err, &late) && late.Timeout()
}

// busy asks to come again.
func busy(w http.ResponseWriter, after time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	refuse(w, http.StatusServiceUnavailable, "the server is busy")
}

// fail answers what is our fault, or the disk's.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // the client has gone
	}
	s.log.Error("cannot serve a request", "method", r.Method, "path", r.URL.Path, "err", err)
	if platform.IsDiskFull(err) { // the client shall keep what it has and come again
		w.Header().Set("Retry-After", "30")
		refuse(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	refuse(w, http.StatusInternalServerError, err.Error())
}

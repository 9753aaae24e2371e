package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Conditions a caller decides on.
var (
	// ErrNotFound: there is no such thing, or the server does not know the route.
	ErrNotFound = errors.New("not found")
	// ErrExists: the name is taken.
	ErrExists = errors.New("already exists")
	// ErrDenied: the credentials are not good, or not good enough.
	ErrDenied = errors.New("access denied")
	// ErrRejected: the server read the request and refused what it says;
	// sending it again would not help.
	ErrRejected = errors.New("request rejected")
	// ErrUnreachable: nobody answered.
	ErrUnreachable = errors.New("cannot reach the local API")
)

// Error is a refusal by the server. errors.Is finds the condition it stands for.
type Error struct {
	Status  int
	Message string // the server's own words; the whole body where that is upstream's custom
}

func (e *Error) Error() string {
	msg := e.Message
	if msg == "" {
		return fmt.Sprintf("http code %d, no response body", e.Status)
	}
	return fmt.Sprintf("%d %s: API error: %s", e.Status, http.StatusText(e.Status), msg)
}

// Is reports whether the answer means one of the conditions above.
func (e *Error) Is(target error) bool {
	taken := strings.Contains(e.Message, "already exist")
	switch target {
	case ErrNotFound:
		return e.Status == http.StatusNotFound
	case ErrExists:
		return e.Status == http.StatusConflict || e.Status == http.StatusForbidden && taken
	case ErrDenied:
		return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden && !taken
	case ErrRejected:
		switch e.Status {
		case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
			return true
		case http.StatusInternalServerError: // upstream's answer to bad input
			return strings.Contains(e.Message, "validation failure") || strings.Contains(e.Message, "unable to parse")
		}
	}
	return false
}

// readError turns an answer that is no success into an error. Only a piece of
// the body is read: it may come from anything that listens on that port.
func readError(r *http.Response) *Error {
	e := &Error{Status: r.StatusCode}
	body, _ := io.ReadAll(io.LimitReader(r.Body, 4<<10))
	var said ErrorResponse
	if json.Unmarshal(body, &said) == nil && said.Message != "" {
		e.Message = said.Message
	} else {
		e.Message = strings.TrimSpace(strings.ToValidUTF8(string(body), "?"))
	}
	if at := r.Header.Get("Location"); at != "" && r.StatusCode < 400 {
		e.Message = "redirected to " + at
	}
	return e
}

// reachable marks an error of the transport with ErrUnreachable.
func reachable(err error) error { return fmt.Errorf("%w: %w", ErrUnreachable, err) }

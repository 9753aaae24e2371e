package enrich

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"cs/pipeline/expr"
)

// CTI says how CrowdSec's threat intelligence is asked about addresses. What
// is 0 has its default.
type CTI struct {
	Key  string        // of its API; "": it is not asked
	URL  string        // https://cti.api.crowdsec.net/v2
	TTL  time.Duration // of an answer: 5 minutes
	Size int           // answers that are remembered: 1000
}

const (
	ctiURL  = "https://cti.api.crowdsec.net/v2"
	keepCTI = 5 * time.Minute
	maxCTI  = 1000

	ctiBackoff = 5 * time.Minute  // after being told that there were too many questions
	ctiRetry   = 10 * time.Second // after an answer that is none
	maxRecord  = 1 << 20          // bytes of an answer
)

var (
	errCTIOff   = errors.New("CTI is not enabled: the configuration has no key of its API")
	errCTIKey   = errors.New("CTI refuses the key: it is not asked again")
	errCTIQuota = errors.New("CTI was asked too often: it is left alone for a while")
	errCTILate  = errors.New("CTI does not answer in time")
)

// cti asks the API, and stops when it refuses.
type cti struct {
	*asker[netip.Addr, ctiAnswer]
	settings CTI
	client   *http.Client
	refused  atomic.Bool
	until    atomic.Int64 // Unix nanoseconds of the end of a back-off
}

type ctiAnswer struct {
	record *expr.CTI
	err    error
}

func newCTI(s CTI) *cti {
	if s.URL == "" {
		s.URL = ctiURL
	}
	if s.TTL <= 0 {
		s.TTL = keepCTI
	}
	if s.Size <= 0 {
		s.Size = maxCTI
	}
	c := &cti{settings: s, client: &http.Client{}}
	c.asker = newAsker(s.Size, c.query)
	return c
}

// about returns the record of an address, an empty one when nobody saw it.
func (c *cti) about(ip netip.Addr) (*expr.CTI, error) {
	if c.settings.Key == "" {
		return nil, errCTIOff
	}
	a, ok := c.ask(ip)
	if !ok {
		return nil, errCTILate
	}
	return a.record, a.err
}

func (c *cti) query(ctx context.Context, ip netip.Addr) (a ctiAnswer, keep time.Duration) {
	if c.refused.Load() {
		return ctiAnswer{err: errCTIKey}, c.settings.TTL
	}
	if left := time.Unix(0, c.until.Load()).Sub(c.now()); left > 0 {
		return ctiAnswer{err: errCTIQuota}, left
	}
	record, err := c.fetch(ctx, ip)
	switch {
	case errors.Is(err, errCTIKey):
		c.refused.Store(true)
		keep = c.settings.TTL
	case errors.Is(err, errCTIQuota):
		c.until.Store(c.now().Add(ctiBackoff).UnixNano())
		keep = ctiBackoff
	case err != nil:
		keep = ctiRetry
	default:
		keep = c.settings.TTL
	}
	return ctiAnswer{record, err}, keep
}

func (c *cti) fetch(ctx context.Context, ip netip.Addr) (*expr.CTI, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.settings.URL+"/smoke/"+ip.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("cannot ask CTI: %w", err)
	}
	req.Header.Set("X-Api-Key", c.settings.Key)
	res, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("cannot ask CTI: %w", err)
	}
	defer res.Body.Close()
	record := &expr.CTI{}
	switch res.StatusCode {
	case http.StatusOK:
		if err := json.NewDecoder(io.LimitReader(res.Body, maxRecord)).Decode(record); err != nil {
			return nil, fmt.Errorf("cannot read the answer of CTI: %w", err)
		}
	case http.StatusNotFound: // nobody saw it
	case http.StatusForbidden, http.StatusUnauthorized:
		return nil, errCTIKey
	case http.StatusTooManyRequests:
		return nil, errCTIQuota
	default:
		return nil, fmt.Errorf("cannot ask CTI: it answers %s", res.Status)
	}
	return record, nil
}

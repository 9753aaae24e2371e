package enrich

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cs/pipeline/expr"
)

const (
	fetchTime   = 10 * time.Second // bounds a request with its answer
	maxBody     = 10 << 20         // bytes of an answer
	maxRequests = 16               // at once; a further one fails
)

// web makes the requests that content asks for. They are rare and their
// authors want the answer: nothing is remembered.
type web struct {
	client *http.Client
	slots  chan struct{}
}

func newWeb() *web {
	return &web{client: &http.Client{Timeout: fetchTime}, slots: make(chan struct{}, maxRequests)}
}

// fetch makes a request. Redirects are followed, ten at most.
func (w *web) fetch(method, to string, header map[string]string, body string) (*expr.Response, error) {
	u, err := url.Parse(to)
	if err == nil && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		err = fmt.Errorf("%q is no web address", to)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make a web request: %w", err)
	}
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	default:
		return nil, fmt.Errorf("cannot ask %s: %d requests are under way", u.Redacted(), maxRequests)
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, strings.ToUpper(method), to, strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("cannot make a web request: %w", err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := w.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("cannot ask %s: %w", u.Redacted(), err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err == nil && len(text) > maxBody {
		err = fmt.Errorf("the answer has more than %d bytes", maxBody)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the answer of %s: %w", u.Redacted(), err)
	}
	return &expr.Response{StatusCode: res.StatusCode, Body: string(text), Headers: res.Header}, nil
}

package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cs/pipeline/source"
)

// AuditKeys are those of an acquisition of source k8s-audit (spec engine §7), and
// tls, which upstream hasn't.
type AuditKeys struct {
	ListenAddr  string           `yaml:"listen_addr"`
	ListenPort  int              `yaml:"listen_port"`
	WebhookPath string           `yaml:"webhook_path"`
	TLS         source.ServerTLS `yaml:"tls"`
}

// Audit makes sources of acquisitions of source k8s-audit.
var Audit = source.Kind{Open: openAudit, Tail: true}

type auditor struct {
	server
	path string
}

func openAudit(spec *source.Spec) (source.Source, error) {
	var k AuditKeys
	if err := spec.Decode(&k, nil); err != nil {
		return nil, err
	}
	switch {
	case k.ListenAddr == "":
		return nil, spec.Errorf("listen_addr", "there is none")
	case k.ListenPort < 1 || k.ListenPort > 65535:
		return nil, spec.Errorf("listen_port", "want a port, not %d", k.ListenPort)
	case k.WebhookPath == "":
		return nil, spec.Errorf("webhook_path", "there is none")
	case (k.TLS.ServerCert == "") != (k.TLS.ServerKey == ""):
		return nil, spec.Errorf("tls", "server_cert and server_key belong together")
	}
	a := &auditor{path: "/" + strings.TrimPrefix(k.WebhookPath, "/")}
	addr := net.JoinHostPort(k.ListenAddr, strconv.Itoa(k.ListenPort))
	a.server = server{
		spec: spec, name: "k8s-audit " + addr + a.path, addr: addr, tls: k.TLS,
		body: 2 * defaultBody, timeout: defaultTimeout, trouble: source.NewThrottle(spec.Report), serve: a.request,
	}
	return a, nil
}

func (s *auditor) request(ctx context.Context, w http.ResponseWriter, r *http.Request, out source.Sink) {
	switch {
	case r.URL.Path != s.path:
		http.NotFound(w, r)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "POST")
		http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
		return
	}
	from := s.sender(r)
	s.spec.Meter.Requests.Add(from, 1)
	if err := s.read(ctx, r, from, out); err != nil {
		s.trouble.Report(fmt.Errorf("cannot read audit events from %s: %w", from, err))
		refuse(w, err)
	}
}

// read delivers each item of an EventList as a line.
func (s *auditor) read(ctx context.Context, r *http.Request, from string, out source.Sink) error {
	body, err := s.content(r)
	if err != nil {
		return err
	}
	b := source.NewBatch(s.spec.Line(from), 2*defaultBody, s.spec.Meter)
	deliver := func() error { return b.Deliver(ctx, out, time.Now(), source.Nowhere) }
	var line bytes.Buffer
	err = items(json.NewDecoder(body), func(item json.RawMessage) error {
		var meta struct{ StageTimestamp time.Time }
		if err := json.Unmarshal(item, &meta); err != nil {
			return err
		}
		line.Reset()
		if err := json.Compact(&line, item); err != nil {
			return err
		}
		b.Text = append(b.Text, line.Bytes()...)
		b.End("", meta.StageTimestamp)
		if b.Full() {
			return deliver()
		}
		return nil
	})
	return errors.Join(deliver(), err)
}

// items calls f for each element of the list "items" of a JSON object.
func items(in *json.Decoder, f func(json.RawMessage) error) error {
	want := func(d json.Delim) error {
		t, err := in.Token()
		if err == nil && t != d {
			err = fmt.Errorf("want %v, this is %v", d, t)
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if err := want('{'); err != nil {
		return err
	}
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return err
		}
		if key != "items" {
			var skipped json.RawMessage
			if err := in.Decode(&skipped); err != nil {
				return err
			}
			continue
		}
		if err := want('['); err != nil {
			return err
		}
		for in.More() {
			var item json.RawMessage
			if err := in.Decode(&item); err != nil {
				return err
			}
			if err := f(item); err != nil {
				return err
			}
		}
		if err := want(']'); err != nil {
			return err
		}
	}
	return want('}')
}

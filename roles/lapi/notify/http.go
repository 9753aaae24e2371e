package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// request is a message over HTTP. Anything but 2xx is a lasting error.
type request struct {
	client  *http.Client
	method  string
	url     string
	headers map[string]string
	// body makes the body and may set further headers; nil: the text itself.
	body func(text string, h http.Header) ([]byte, error)
}

func (r *request) send(ctx context.Context, text string) error {
	h := make(http.Header)
	body := []byte(text)
	if r.body != nil {
		var err error
		if body, err = r.body(text, h); err != nil {
			return lasting{err}
		}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, strings.NewReader(string(body)))
	if err != nil {
		return lasting{err}
	}
	req.Header = h
	for name, value := range r.headers {
		req.Header.Set(name, value)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return lasting{fmt.Errorf("the server answered %s", resp.Status)}
	}
	return nil
}

// newHTTP is a plain request: the text is its body.
func newHTTP(o *options) sender {
	method := o.text("method")
	if method == "" {
		method = "POST"
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: o.tls(), IdleConnTimeout: time.Minute}
	if socket := o.text("unix_socket"); socket != "" {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}
	}
	return &request{client: &http.Client{Transport: t}, method: method, url: o.required("url"), headers: o.table("headers")}
}

// tls reads the keys about TLS.
func (o *options) tls() *tls.Config {
	c := &tls.Config{InsecureSkipVerify: o.bool("skip_tls_verification")}
	if path := o.text("ca_cert_path"); path != "" {
		pem, err := os.ReadFile(path)
		c.RootCAs = x509.NewCertPool()
		if err == nil && !c.RootCAs.AppendCertsFromPEM(pem) {
			err = fmt.Errorf("%s holds no PEM certificate", path)
		}
		if err != nil {
			o.fail("ca_cert_path", "%w", err)
		}
	}
	cert, key := o.text("cert_path"), o.text("key_path")
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			o.fail("cert_path", "%w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// newSlack is an incoming webhook of Slack, which others imitate.
func newSlack(o *options) sender {
	channel, user, emoji, icon := o.text("channel"), o.text("username"), o.text("icon_emoji"), o.text("icon_url")
	return &request{client: &http.Client{}, method: "POST", url: o.required("webhook"), body: func(text string, h http.Header) ([]byte, error) {
		h.Set("Content-Type", "application/json")
		return json.Marshal(struct {
			Username string `json:"username,omitempty"`
			Emoji    string `json:"icon_emoji,omitempty"`
			Icon     string `json:"icon_url,omitempty"`
			Channel  string `json:"channel,omitempty"`
			Text     string `json:"text"`
		}{user, emoji, icon, channel, text})
	}}
}

// newSplunk is Splunk's HTTP event collector. Like upstream's it doesn't look
// at the certificate, which mostly is the collector's own.
func newSplunk(o *options) sender {
	return &request{
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
		method: "POST", url: o.required("url"), headers: map[string]string{"Authorization": "Splunk " + o.required("token")},
		body: func(text string, h http.Header) ([]byte, error) {
			return json.Marshal(struct {
				Event string `json:"event"`
			}{text})
		},
	}
}

// newSentinel is the HTTP data collector of Azure's Log Analytics, whose
// requests are signed with a shared key.
func newSentinel(o *options) sender {
	customer, logType := o.required("customer_id"), o.required("log_type")
	key, err := base64.StdEncoding.DecodeString(o.required("shared_key"))
	if err != nil {
		o.fail("shared_key", "it is not base64")
	}
	const path = "/api/logs"
	return &request{
		client: &http.Client{}, method: "POST", url: "https://" + customer + ".ods.opinsights.azure.com" + path + "?api-version=2016-04-01",
		body: func(text string, h http.Header) ([]byte, error) {
			date := time.Now().UTC().Format(http.TimeFormat)
			mac := hmac.New(sha256.New, key)
			fmt.Fprintf(mac, "POST\n%d\napplication/json\nx-ms-date:%s\n%s", len(text), date, path)
			h.Set("Content-Type", "application/json")
			h.Set("Log-Type", logType)
			h.Set("X-Ms-Date", date)
			h.Set("Authorization", "SharedKey "+customer+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
			return []byte(text), nil
		},
	}
}

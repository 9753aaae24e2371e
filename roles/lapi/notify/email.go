package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"strconv"
	"strings"
	"time"
)

// email sends HTML by SMTP.
type email struct {
	host       string
	port       int
	user, pass string
	from, name string
	to         []string
	subject    string
	encryption string // "ssltls", "starttls" or "none"
	auth       string // "login", "plain", "crammd5" or "none"
	helo       string
	connect    time.Duration
	tls        *tls.Config // beside its ServerName; nil but in tests
	now        func() time.Time
}

func newEmail(o *options) sender {
	m := &email{
		host: o.required("smtp_host"), port: o.number("smtp_port", 25), user: o.text("smtp_username"), pass: o.text("smtp_password"),
		from: o.text("sender_email"), name: o.text("sender_name"), to: o.texts("receiver_emails"), subject: o.text("email_subject"),
		encryption: strings.ToLower(o.text("encryption_type")), auth: strings.ToLower(o.text("auth_type")), helo: o.text("helo_host"),
		connect: o.duration("connect_timeout", 10*time.Second), now: time.Now,
	}
	if m.from == "" {
		m.from = m.user
	}
	if m.helo == "" {
		m.helo = "localhost"
	}
	if m.subject == "" {
		m.subject = "CrowdSec Notification"
	}
	if len(m.to) == 0 {
		o.fail("receiver_emails", "it is required")
	}
	for _, address := range append([]string{m.from}, m.to...) {
		if _, err := mail.ParseAddress(address); err != nil {
			o.fail("receiver_emails", "%q is no address: %w", address, err)
		}
	}
	switch m.encryption {
	case "ssltls", "starttls", "none":
	case "":
		m.encryption = "none"
	default:
		o.fail("encryption_type", "want ssltls, starttls or none")
	}
	switch m.auth {
	case "login", "plain", "crammd5", "none":
	case "":
		m.auth = "none"
	default:
		o.fail("auth_type", "want login, plain, crammd5 or none")
	}
	return m
}

func (m *email) send(ctx context.Context, text string) error {
	conf := &tls.Config{}
	if m.tls != nil {
		conf = m.tls.Clone()
	}
	conf.ServerName = m.host
	dialer := &net.Dialer{Timeout: m.connect}
	address := net.JoinHostPort(m.host, strconv.Itoa(m.port))
	var conn net.Conn
	var err error
	if m.encryption == "ssltls" {
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: conf}).DialContext(ctx, "tcp", address)
	} else {
		conn, err = dialer.DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c, err := smtp.NewClient(conn, m.host)
	if err != nil {
		return err
	}
	if err := c.Hello(m.helo); err != nil {
		return err
	}
	if m.encryption == "starttls" {
		if err := c.StartTLS(conf); err != nil {
			return err
		}
	}
	if auth := m.login(); auth != nil {
		if err := c.Auth(auth); err != nil {
			return fmt.Errorf("cannot log in: %w", err)
		}
	}
	if err := c.Mail(m.from); err != nil {
		return err
	}
	for _, to := range m.to {
		if err := c.Rcpt(to); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	_, err = w.Write(m.message(text))
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	return c.Quit()
}

// message is the mail as it is sent (RFC 5322, 2045).
func (m *email) message(text string) []byte {
	var b bytes.Buffer
	from := mail.Address{Name: m.name, Address: m.from}
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nMIME-Version: 1.0\r\n", from.String(), strings.Join(m.to, ", "),
		mime.QEncoding.Encode("utf-8", strings.Join(strings.Fields(m.subject), " ")), m.now().Format(time.RFC1123Z))
	b.WriteString("Content-Type: text/html; charset=UTF-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	w := quotedprintable.NewWriter(&b)
	w.Write([]byte(text)) // into memory: can't fail
	w.Close()
	return b.Bytes()
}

func (m *email) login() smtp.Auth {
	switch m.auth {
	case "plain":
		return smtp.PlainAuth("", m.user, m.pass, m.host)
	case "crammd5":
		return smtp.CRAMMD5Auth(m.user, m.pass)
	case "login":
		return &loginAuth{m.user, m.pass}
	}
	return nil
}

// loginAuth is the mechanism LOGIN, which has no RFC: the server asks for the
// name, then for the password. Like net/smtp's PLAIN it wants TLS.
type loginAuth struct{ user, pass string }

func (a *loginAuth) Start(s *smtp.ServerInfo) (string, []byte, error) {
	if !s.TLS && s.Name != "localhost" && s.Name != "127.0.0.1" && s.Name != "::1" {
		return "", nil, errors.New("the connection is not encrypted")
	}
	return "LOGIN", nil, nil
}

func (a *loginAuth) Next(prompt []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	switch strings.ToLower(strings.TrimSpace(string(prompt))) {
	case "username:", "user name":
		return []byte(a.user), nil
	case "password:":
		return []byte(a.pass), nil
	}
	return nil, errors.New("the server asks for something unknown")
}

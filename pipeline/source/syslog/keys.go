package syslog

import (
	"net/netip"
	"slices"
	"strings"

	"cs/decisions"
	"cs/pipeline/source"
	"cs/platform/strict"
)

// Keys are those of an acquisition. Upstream's (spec engine §7) are listen_addr,
// listen_port, protocol, which it ignores, max_message_len and disable_rfc_parser.
type Keys struct {
	ListenAddr       string `yaml:"listen_addr"`
	ListenPort       int    `yaml:"listen_port"`
	Protocol         string `yaml:"protocol"`      // of the port: udp, tcp, tls, or several with commas between them
	ListenSocket     string `yaml:"listen_socket"` // path of a unix socket for datagrams, as /dev/log
	MaxMessageLen    int    `yaml:"max_message_len"`
	DisableRFCParser bool   `yaml:"disable_rfc_parser"`
	// AllowFrom are the addresses and networks whose messages are taken; none:
	// all.
	AllowFrom      []strict.Text `yaml:"allow_from"`
	MaxConnections int           `yaml:"max_connections"`
	// ListenSocketStream is the path of a unix socket for connections, with either framing.
	ListenSocketStream string           `yaml:"listen_socket_stream"`
	TLS                source.ServerTLS `yaml:"tls"`
}

// Kind makes sources of acquisitions. A server has no end, so there is no DSN.
var Kind = source.Kind{Open: open, Tail: true}

const (
	// maxMessage bounds what max_message_len may ask for.
	maxMessage = 1 << 20
	maxConns   = 10_000
)

func open(spec *source.Spec) (source.Source, error) {
	k := Keys{ListenAddr: "127.0.0.1", ListenPort: 514, MaxMessageLen: 2048, MaxConnections: 256}
	if err := spec.Decode(&k, nil); err != nil {
		return nil, err
	}
	s := &Source{keys: k, spec: spec, trouble: source.NewThrottle(spec.Report)}
	addr, err := decisions.ParseAddr(k.ListenAddr)
	if err != nil {
		return nil, spec.Errorf("listen_addr", "%w", err)
	}
	if k.ListenPort < 0 || k.ListenPort > 65535 {
		return nil, spec.Errorf("listen_port", "want a port, not %d", k.ListenPort)
	}
	s.addr = netip.AddrPortFrom(addr, uint16(k.ListenPort))
	for name := range strings.SplitSeq(strings.ToLower(k.Protocol), ",") {
		switch name = strings.TrimSpace(name); name {
		case "":
			if k.ListenSocket == "" && k.ListenSocketStream == "" {
				s.protocols = append(s.protocols, "udp")
			}
		case "udp", "tcp", "tls":
			if slices.Contains(s.protocols, name) || name != "udp" && (slices.Contains(s.protocols, "tcp") || slices.Contains(s.protocols, "tls")) {
				return nil, spec.Errorf("protocol", "%q: one port speaks udp, and tcp or tls, each once", k.Protocol)
			}
			s.protocols = append(s.protocols, name)
		default:
			return nil, spec.Errorf("protocol", "want udp, tcp, tls or several with commas between them, not %q", name)
		}
	}
	if slices.Contains(s.protocols, "tls") && (k.TLS.ServerCert == "" || k.TLS.ServerKey == "") {
		return nil, spec.Errorf("tls", "protocol tls needs tls.server_cert and tls.server_key")
	}
	if k.MaxMessageLen < 1 || k.MaxMessageLen > maxMessage {
		return nil, spec.Errorf("max_message_len", "want a number of bytes from 1 to %d, not %d", maxMessage, k.MaxMessageLen)
	}
	if k.MaxConnections < 1 || k.MaxConnections > maxConns {
		return nil, spec.Errorf("max_connections", "want a number from 1 to %d, not %d", maxConns, k.MaxConnections)
	}
	if k.ListenSocket != "" && k.ListenSocket == k.ListenSocketStream {
		return nil, spec.Errorf("listen_socket_stream", "it can't be listen_socket as well")
	}
	for _, text := range k.AllowFrom {
		p, err := decisions.ParsePrefix(text.Value)
		if err != nil {
			return nil, text.Place.Errorf("%w", err)
		}
		s.allowed = append(s.allowed, p)
	}
	return s, nil
}

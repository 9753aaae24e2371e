package config

import (
	"net"
	"net/netip"
	"path/filepath"

	"cs/platform"
)

// Names in the data directory that more than one role knows.
const (
	CredentialsName = "local_api_credentials.yaml" // of this host's machine
	SocketName      = "cs.sock"                    // of the LAPI
	StoreName       = "cs.db"                      // of the LAPI
	// The numbers of an agent in a process of its own are read here
	// (platform/metric.ServeSocket); those of others on the LAPI's socket. A bouncer
	// answers questions on its own.
	AgentSocketName   = "agent.sock"
	BouncerSocketName = "bouncer.sock"
)

// DefaultURL is a LAPI on this host that nobody has configured.
const DefaultURL = "http://127.0.0.1:8080/"

// DataDir is where state is kept.
func (f *File) DataDir() string {
	if f.ConfigPaths.DataDir != "" {
		return f.ConfigPaths.DataDir
	}
	return platform.DataDir()
}

// SocketPath is where the LAPI of this host listens for those who may do
// everything.
func (f *File) SocketPath() string {
	return filepath.Join(f.DataDir(), SocketName)
}

// CredentialsPath is the file of this host's account at a LAPI.
func (f *File) CredentialsPath() string {
	if f.API.Client.CredentialsPath != "" {
		return f.API.Client.CredentialsPath
	}
	return filepath.Join(f.DataDir(), CredentialsName)
}

// ServesLAPI tells whether this host is to have a LAPI: not if the
// configuration turns it off, or has sections for other roles only.
func (f *File) ServesLAPI() bool {
	s := orZero(f.API.Server)
	return f.enabled(f.named.lapi, s.Enable)
}

// Listen is the TCP address of the LAPI of this host.
func (f *File) Listen() string {
	s := orZero(f.API.Server)
	return given("api.server.listen_uri", s.ListenURI).Value
}

// LAPIURL is where machines of this host find its LAPI: the socket that was
// asked for, or where it listens.
func (f *File) LAPIURL() string {
	s := orZero(f.API.Server)
	if s.ListenSocket != "" {
		return s.ListenSocket
	}
	return "http://" + reachable(given("api.server.listen_uri", s.ListenURI).Value)
}

// reachable replaces an address that means "all of this host's", which can be
// listened on but not connected to everywhere, by the loopback one.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return listen
}

// enabled tells whether a role is to run. A file that has the section of a
// role (crowdsec_service, api.server, bouncer) runs the roles whose sections it
// has, as CrowdSec does; one that has none runs them all. Sections that only
// flags made don't count.
func (f *File) enabled(named bool, enable *bool) bool {
	all := !f.named.lapi && !f.named.agent && !f.named.bouncer
	return (all || named) && (enable == nil || *enable)
}

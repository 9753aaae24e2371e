package platform

import (
	"net"
	"os"
	"strings"
)

// Notify tells the service manager about our state, "READY=1" for example, by
// systemd's protocol (man sd_notify): one datagram to $NOTIFY_SOCKET. Without
// a manager that listens it does nothing.
func Notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:] // abstract socket
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}

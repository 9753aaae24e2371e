package platform

import (
	"net"
	"os"
	"strconv"
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

// Ready tells the service manager that we serve, and gives back soon what starting
// took.
func Ready() {
	_ = Notify("READY=1") // nobody to tell is fine
	go FreeMemory()
}

// NotifyReloading tells the service manager that we begin to reload, when that
// is by the clock it wants (man sd_notify). READY=1 must follow.
func NotifyReloading() error {
	return Notify("RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(monotonic().Microseconds(), 10))
}

//go:build unix

package platform

import (
	"fmt"
	"io"
	"log/syslog"
)

// systemLog is the syslog of this host.
type systemLog struct{ *syslog.Writer }

// SystemLog returns a writer of lines to the syslog of this host, under a name.
func SystemLog(name string) (io.Writer, error) {
	w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, name)
	if err != nil {
		return nil, fmt.Errorf("cannot log to syslog: %w", err)
	}
	return &systemLog{w}, nil
}

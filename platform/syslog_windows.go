package platform

import (
	"errors"
	"fmt"
	"io"
)

// systemLog is never made: there is no syslog.
type systemLog struct{ io.WriteCloser }

// SystemLog always fails with errors.ErrUnsupported.
func SystemLog(string) (io.Writer, error) {
	return nil, fmt.Errorf("cannot log to syslog: %w", errors.ErrUnsupported)
}

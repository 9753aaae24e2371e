// Package platform is what the program stands on: the process's environment,
// files written whole or not at all, paths and services of each operating
// system. There are no words of the domain in here.
package platform

import (
	"io"
	"log/slog"
	"path/filepath"
	"strings"
)

// Env is what a command gets from the process it runs in. Commands use it
// instead of the os package's globals, so that a test can run them.
type Env struct {
	Program   string // the name we were called by, without directory and ".exe"
	Stdin     io.Reader
	Stdout    io.Writer // data
	Stderr    io.Writer // confirmations, errors
	LookupEnv func(string) (string, bool)
	Log       *slog.Logger
	LogLevel  *slog.LevelVar // of Log, for a configuration to set; nil if a flag has
	LogPlace  *LogHandler    // of Log, for a configuration to direct; nil: it stays on Stderr
	Version   string
}

// ProgramName returns the name in a command line's first word: without the
// directory and without ".exe".
func ProgramName(arg0 string) string {
	return strings.TrimSuffix(filepath.Base(arg0), ".exe")
}

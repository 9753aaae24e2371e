package config

import (
	"io"
	"time"

	"cs/platform"
)

// Log is where the log of a process goes: to its stderr, a file or syslog.
type Log struct {
	JSON   bool // objects instead of lines
	Syslog bool
	File   LogFile
}

// LogFile is a file that a log goes to, and how it is rotated.
type LogFile struct {
	Path     string // empty: there is none
	MaxSize  int64
	MaxFiles int
	MaxAge   time.Duration
	Compress bool
}

// Direct has the log of a role go there, or to stderr while there is no syslog. It stays
// where it is if env has none that can be directed.
func (l Log) Direct(env *platform.Env) {
	if env.LogPlace == nil {
		return
	}
	var to io.Writer = env.Stderr
	switch f := l.File; {
	case l.Syslog:
		system, err := platform.SystemLog(env.Program)
		if err != nil {
			env.Log.Warn("the log stays here", "err", err)
		} else {
			to = system
		}
	case f.Path != "":
		to = &platform.LogFile{Path: f.Path, MaxSize: f.MaxSize, MaxFiles: f.MaxFiles, MaxAge: f.MaxAge, Compress: f.Compress, Else: env.Stderr}
	}
	env.LogPlace.To(to, l.JSON)
}

package agent

import (
	"io/fs"
	"path"
	"runtime"

	"cs/pipeline/source/journal"
	"cs/roles/config"
	"cs/roles/engine"
)

// The logs that a host usually has. What isn't there yet, such as those of a
// web server that is installed later, is read as soon as it appears.
var (
	// authLogs get what sshd says; the first that is there is enough, the
	// others would say it again.
	authLogs    = []string{"var/log/auth.log", "var/log/secure"}
	authPattern = "var/log/auth*.log"
	// systemLogs have it where there are no such files.
	systemLogs = []string{"var/log/messages", "var/log/syslog"}
	// openWrtLog keeps it in memory.
	openWrtLog = "sbin/logd"

	webLogs = []struct {
		kind  string
		globs []string
	}{
		{"nginx", []string{"var/log/nginx/*access*.log"}},
		{"apache2", []string{"var/log/apache2/*access*.log", "var/log/httpd/*access*log", "var/log/httpd-access*.log"}},
	}

	// sshdInJournal selects what sshd and, since OpenSSH 9.8, its helpers say.
	sshdInJournal = []string{"_COMM=sshd", "_COMM=sshd-session", "_COMM=sshd-auth"}
)

// discover returns the logs to read on this host when nobody names any. root is the
// root of its file system, journalErr what journal.Available says.
func discover(root fs.FS, journalErr error) (found []config.Acquisition) {
	if runtime.GOOS == "windows" {
		return nil
	}
	there := func(name string) bool {
		fi, err := fs.Stat(root, name)
		return err == nil && !fi.IsDir()
	}
	first := func(names []string) []string {
		for _, name := range names {
			if there(name) {
				return []string{"/" + name}
			}
		}
		return nil
	}
	if logs := first(authLogs); logs != nil {
		found = append(found, fileInput("syslog", logs))
	} else if journalErr == nil && hasJournal(root) {
		found = append(found, config.Acquisition{
			Source: "journalctl", Keys: journal.Keys{Filter: sshdInJournal}, Labels: map[string]string{"type": "syslog"},
		})
	} else if there(openWrtLog) {
		found = append(found, config.Acquisition{Source: "logread", Keys: struct{}{}, Labels: map[string]string{"type": "syslog"}})
	} else if logs := first(systemLogs); logs != nil {
		found = append(found, fileInput("syslog", logs))
	} else {
		found = append(found, fileInput("syslog", []string{"/" + authPattern})) // it may come
	}
	for _, web := range webLogs {
		var globs []string
		for _, g := range web.globs {
			globs = append(globs, "/"+g)
		}
		found = append(found, fileInput(web.kind, globs))
	}
	return found
}

// discoverHost is discover for this host.
func discoverHost(root fs.FS) []config.Acquisition { return discover(root, journal.Available()) }

// hasJournal tells whether a journal is kept: in memory or on disk, in a
// directory named by the machine.
func hasJournal(root fs.FS) bool {
	for _, dir := range []string{"run/log/journal", "var/log/journal"} {
		entries, err := fs.ReadDir(root, dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if ok, err := fs.Glob(root, path.Join(dir, e.Name(), "*.journal")); err == nil && len(ok) > 0 {
				return true
			}
		}
	}
	return false
}

func fileInput(kind string, globs []string) config.Acquisition {
	a := engine.File(globs...)
	a.Labels["type"] = kind
	return a
}

package service

import (
	"strings"
)

// systemd returns a unit (man systemd.service).
func systemd(s *Spec) string {
	words := []string{systemdQuote(s.Program)}
	for _, a := range s.Args {
		words = append(words, systemdQuote(a))
	}
	return `# ` + marker + `
[Unit]
Description=` + strings.ReplaceAll(s.Description, "%", "%%") + `
Wants=network-online.target
After=network-online.target nss-lookup.target nftables.service

[Service]
Type=notify
ExecStart=` + strings.Join(words, " ") + `
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=10
KillMode=mixed
TimeoutStopSec=15

[Install]
WantedBy=multi-user.target
`
}

// systemdQuote makes one word of a command line.
func systemdQuote(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`).Replace(s)
	if s == "" || strings.ContainsAny(s, " \t'\"\\;") {
		return `"` + s + `"`
	}
	return s
}

// procd returns an init script of OpenWrt.
func procd(s *Spec) string {
	return `#!/bin/sh /etc/rc.common
# ` + marker + `
# ` + s.Description + `

START=21
STOP=10
USE_PROCD=1

start_service() {
	procd_open_instance
	procd_set_param command ` + shellWords(s) + `
	procd_set_param respawn 3600 5 0
	procd_set_param stdout 1
	procd_set_param stderr 1
	procd_set_param term_timeout 15
	procd_close_instance
}

reload_service() {
	procd_send_signal ` + s.Name + `
}
`
}

// openrc returns an init script of OpenRC.
func openrc(s *Spec) string {
	args := make([]string, len(s.Args))
	for i, a := range s.Args {
		args[i] = shellQuote(a)
	}
	return `#!/sbin/openrc-run
# ` + marker + `

description=` + shellQuote(s.Description) + `
supervisor=supervise-daemon
command=` + shellQuote(s.Program) + `
command_args=` + shellQuote(strings.Join(args, " ")) + `
respawn_delay=5
respawn_max=0
output_logger="logger -t ` + s.Name + `"
error_logger="logger -t ` + s.Name + `"
extra_started_commands="reload"

depend() {
	need localmount
	use dns logger
	after net firewall
}

reload() {
	ebegin "Reloading ` + s.Name + `"
	supervise-daemon "$RC_SVCNAME" --signal HUP
	eend $?
}
`
}

// freebsd returns a script for rc(8). daemon(8) starts the program again and
// gives its output to syslog.
func freebsd(s *Spec) string {
	v := variable(s.Name)
	return `#!/bin/sh
#
# PROVIDE: ` + v + `
# REQUIRE: NETWORKING syslogd pf
# KEYWORD: shutdown
#
# ` + marker + `

. /etc/rc.subr

name=` + v + `
desc=` + shellQuote(s.Description) + `
rcvar=` + v + `_enable

load_rc_config $name
: ${` + v + `_enable:="NO"}

pidfile="/var/run/${name}.pid"
command=/usr/sbin/daemon
command_args=` + shellQuote(`-f -S -T `+s.Name+` -R 5 -P /var/run/`+v+`.pid `+shellWords(s)) + `

run_rc_command "$1"
`
}

// openbsd returns a script for rc.d(8).
func openbsd(s *Spec) string {
	args := make([]string, len(s.Args))
	for i, a := range s.Args {
		args[i] = shellQuote(a)
	}
	return `#!/bin/ksh
# ` + marker + `
# ` + s.Description + `

daemon=` + shellQuote(s.Program) + `
daemon_flags=` + shellQuote(strings.Join(args, " ")) + `
daemon_logger="daemon.info"

. /etc/rc.d/rc.subr

rc_bg=YES

rc_cmd $1
`
}

// shellWords returns the command line for a shell.
func shellWords(s *Spec) string {
	words := []string{shellQuote(s.Program)}
	for _, a := range s.Args {
		words = append(words, shellQuote(a))
	}
	return strings.Join(words, " ")
}

// shellQuote makes one word of the shell.
func shellQuote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./:=@,+", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// launchd returns a property list (man launchd.plist).
func launchd(s *Spec) string {
	var args strings.Builder
	for _, a := range append([]string{s.Program}, s.Args...) {
		args.WriteString("\t\t<string>" + xmlText(a) + "</string>\n")
	}
	return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- ` + marker + ` -->
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>` + xmlText(s.Name) + `</string>
	<key>ProgramArguments</key>
	<array>
` + args.String() + `	</array>
	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<true/>
	<key>ThrottleInterval</key>
	<integer>10</integer>
	<key>StandardErrorPath</key>
	<string>/var/log/` + xmlText(s.Name) + `.log</string>
</dict>
</plist>
`
}

func xmlText(s string) string {
	return xmlEscaper.Replace(s)
}

var xmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

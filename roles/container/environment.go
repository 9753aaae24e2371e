package container

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"cs/platform/strict"
)

// environment is the variables of a process, by name. One that is empty is as if it
// were not there.
type environment map[string]string

// newEnvironment takes what os.Environ returns.
func newEnvironment(list []string) environment {
	e := environment{}
	for _, line := range list {
		if name, value, _ := strings.Cut(line, "="); value != "" {
			e[name] = value
		}
	}
	return e
}

func (e environment) on(name string) bool { return strings.EqualFold(e[name], "true") }

func (e environment) first(names ...string) string {
	for _, name := range names {
		if e[name] != "" {
			return e[name]
		}
	}
	return ""
}

// kinds are the variables that name items, with the command for each.
var kinds = []struct{ variable, command string }{
	{"COLLECTIONS", "collections"}, {"PARSERS", "parsers"}, {"SCENARIOS", "scenarios"}, {"POSTOVERFLOWS", "postoverflows"},
	{"CONTEXTS", "contexts"}, {"APPSEC_CONFIGS", "appsec-configs"}, {"APPSEC_RULES", "appsec-rules"},
}

// changes are those of config.yaml. What no variable asks for stays as it is.
func (e environment) changes() (list []strict.Change) {
	set := func(key string, value any) { list = append(list, strict.Change{Key: key, Value: value}) }
	text := func(key string, names ...string) {
		if v := e.first(names...); v != "" {
			set(key, v)
		}
	}
	flag := func(key, name string) {
		if e[name] != "" {
			set(key, e.on(name))
		}
	}
	if e["DISABLE_LOCAL_API"] != "" {
		set("api.server.enable", !e.on("DISABLE_LOCAL_API"))
	}
	if e.on("DISABLE_ONLINE_API") {
		set("api.server.online_client", nil)
	}
	text("config_paths.plugin_dir", "PLUGIN_DIR")
	if port, err := strconv.Atoi(e["METRICS_PORT"]); err == nil {
		set("prometheus.listen_port", port)
	} else {
		text("prometheus.listen_port", "METRICS_PORT") // who reads it complains
	}
	flag("db_config.use_wal", "USE_WAL")
	text("api.server.capi_whitelists_path", "CAPI_WHITELISTS_PATH")
	flag("api.client.unregister_on_exit", "UNREGISTER_ON_EXIT")
	if !e.on("USE_TLS") {
		return list
	}
	flag("api.client.insecure_skip_verify", "INSECURE_SKIP_VERIFY")
	if e.on("DISABLE_LOCAL_API") {
		return list
	}
	text("api.server.tls.cert_file", "LAPI_CERT_FILE", "CERT_FILE")
	text("api.server.tls.key_file", "LAPI_KEY_FILE", "KEY_FILE")
	if e["CACERT_FILE"] != "" {
		set("api.server.tls.ca_cert_path", e["CACERT_FILE"])
		set("api.server.tls.agents_allowed_ou", units(cmp.Or(e["AGENTS_ALLOWED_OU"], "agent-ou")))
		set("api.server.tls.bouncers_allowed_ou", units(cmp.Or(e["BOUNCERS_ALLOWED_OU"], "bouncer-ou")))
	}
	return list
}

// units splits a list of organisational units, "a,b".
func units(list string) (out []string) {
	for _, name := range strings.Split(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// daemon are the flags of upstream's daemon.
func (e environment) daemon(config string) []string {
	args := []string{"-c", config}
	for _, f := range []struct{ variable, flag string }{
		{"DISABLE_AGENT", "-no-cs"}, {"DISABLE_LOCAL_API", "-no-api"}, {"DISABLE_ONLINE_API", "-no-capi"}, {"TEST_MODE", "-t"},
		{"LEVEL_TRACE", "-trace"}, {"LEVEL_DEBUG", "-debug"}, {"LEVEL_INFO", "-info"}, {"LEVEL_WARN", "-warning"},
		{"LEVEL_ERROR", "-error"}, {"LEVEL_FATAL", "-fatal"},
	} {
		if e.on(f.variable) {
			args = append(args, f.flag)
		}
	}
	if e["DSN"] != "" {
		args = append(args, "-dsn", e["DSN"])
	}
	if e["TYPE"] != "" {
		args = append(args, "-type", e["TYPE"])
	}
	return args
}

// consoleOptions are those that variables turn on.
func (e environment) consoleOptions() (names []string) {
	for _, o := range []struct{ variable, name string }{
		{"CONTEXT", "context"}, {"TAINTED", "tainted"}, {"MANUAL", "manual"}, {"CUSTOM", "custom"}, {"MANAGEMENT", "console_management"},
	} {
		if e.on("ENABLE_CONSOLE_"+o.variable) || e.on("ENABLE_CONSOLE_ALL") {
			names = append(names, o.name)
		}
	}
	return names
}

// bouncers are the names that keys are given for, sorted, by variables with the key in
// them, BOUNCER_KEY_name, or secrets, bouncer_key_name, that have been read.
func (e environment) bouncers(secrets map[string]string) (names []string, keys map[string]string) {
	keys = map[string]string{}
	for name, key := range secrets {
		if name, ok := strings.CutPrefix(name, "bouncer_key_"); ok && name != "" {
			keys[name] = key
		}
	}
	for variable, key := range e {
		if name, ok := strings.CutPrefix(variable, "BOUNCER_KEY_"); ok && name != "" {
			keys[name] = key
		}
	}
	for name := range keys {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, keys
}

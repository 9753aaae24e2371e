package strict

import (
	"strings"
	"testing"
)

func TestEdit(t *testing.T) {
	f := func(text string, want string, changes ...Change) {
		t.Helper()
		got, err := Edit("config.yaml", []byte(text), changes)
		if err != nil || string(got) != want {
			t.Errorf("%v\n%s\nwant\n%s", err, got, want)
		}
		again, err := Edit("config.yaml", got, changes)
		if err != nil || string(again) != string(got) {
			t.Errorf("changed again: %v\n%s\ninstead of\n%s", err, again, got)
		}
	}
	const file = `# Ours.
api:
  server: # here
    listen_uri: 0.0.0.0:8080 # everywhere
    online_client:
      credentials_path: x # gone
prometheus:
  listen_port: "6060"
common: {log_media: stdout}
# the end
`
	f(file, file)
	f(file, file, Change{"api.server.listen_uri", "0.0.0.0:8080"}, Change{"db_config.use_wal", nil})
	f(file, `# Ours.
api:
  server: # here
    listen_uri: "[::]:80" # everywhere
    tls:
      agents_allowed_ou:
        - a
        - "1"
    enable: false
prometheus:
  listen_port: 6061
common: {log_media: stdout}
# the end

db_config:
  use_wal: true
`,
		Change{"api.server.listen_uri", "[::]:80"}, Change{"api.server.online_client", nil}, Change{"prometheus.listen_port", 6061},
		Change{"api.server.tls.agents_allowed_ou", []string{"a", "1"}}, Change{"api.server.enable", false}, Change{"db_config.use_wal", true})
	f("", "a:\n  b: c\n", Change{"a.b", "c"})
	f("# nothing\n", "a: c\n", Change{"a", "c"})
	f("a:\n", "a:\n  b: c\n", Change{"a.b", "c"})
	f("a:\n", "a:\n", Change{"a.b", nil})
	f("a:\n  b: ~\n", "a:\n  b: c\n", Change{"a.b", "c"})

	wrong := func(text, want string, c Change) {
		t.Helper()
		if got, err := Edit("config.yaml", []byte(text), []Change{c}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	wrong("a: [1]\n", "config.yaml:1: a.b: what it is to stand in is a list", Change{"a.b", 1})
	wrong("a: 1\n---\na: 2\n", "2 documents", Change{"a", 1})
	wrong("a: [\n", "cannot parse YAML", Change{"a", 1})
	wrong("- 1\n", "is a list", Change{"a", 1})
}

// FuzzEdit wants an edited document to say what it is to say, and the rest of it what
// it said before.
func FuzzEdit(f *testing.F) {
	for _, text := range []string{"a: 1\nb: {c: [1, x]} # y\n", "# x\n\na:\n  b: |\n    t\n", "", "a: &x 1\nc: *x\n", "? a\n: b\n"} {
		f.Add(text, "c")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		out, err := Edit("f", []byte(text), []Change{{"zz.new", value}})
		if err != nil {
			return
		}
		read := func(data []byte) map[string]any {
			docs, err := Parse("f", data)
			if err != nil {
				t.Fatalf("%q became %q: %v", text, data, err)
			}
			m := map[string]any{}
			if len(docs) == 1 {
				if err := docs[0].Decode(&m); err != nil {
					t.Skip() // it was no mapping of texts before
				}
			}
			return m
		}
		if _, there := read([]byte(text))["zz"]; there {
			return
		}
		got := read(out)
		if zz, _ := got["zz"].(map[string]any); value != "" && (zz == nil || zz["new"] != value && strings.ToValidUTF8(value, "") == value) {
			t.Fatalf("%q became %q: %v", text, out, got)
		}
	})
}

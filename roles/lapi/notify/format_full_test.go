//go:build !edge

package notify

import (
	"testing"
	"time"
)

// TestTemplate renders what upstream's example files hold, and the functions.
func TestTemplate(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		p, err := parseFormat(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.format([]Alert{newAlert(attack("192.0.2.1"), time.Now())})
		if err != nil || got != want {
			t.Fatalf("%s\ngot  %q, %v\nwant %q", text, got, err, want)
		}
	}
	f(`{{range . -}}{{$alert := . -}}{{range .Decisions -}}{{if $alert.Source.Cn -}}:flag-{{$alert.Source.Cn}}: {{.Value}} will get {{.Type}} for next {{.Duration}} for triggering {{.Scenario}} on machine '{{$alert.MachineID}}'.{{end}}{{end -}}{{end -}}`,
		":flag-FR: 192.0.2.1 will get ban for next 1h0m0s for triggering crowdsecurity/ssh-bf on machine 'm'.")
	f(`{{range .}}{{range GetMeta . "user"}}{{HTMLEscape .}} {{end}}{{end}}`, "root &lt;adm&gt; ")
	f(`{{range .}}{{.Scenario | upper | trunc 5}} {{.Source.AsName | default "?"}} {{.Source.Value | replace "." "-" | quote}}{{end}}`, `CROWD ? "192-0-2-1"`)
	f(`{{len .}} {{add 1 2}} {{ternary "y" "n" true}} {{list 1 2 | toJson}} {{"a b" | title}} {{trunc -2 "abc"}}`, `1 3 y [1,2] A B bc`)
	if _, err := parseFormat("{{ .x | nothing }}"); err == nil {
		t.Fatal("an unknown function")
	}
	p, err := parseFormat(`{{range .}}{{.Nothing}}{{end}}`)
	if err == nil {
		_, err = p.format([]Alert{{}})
	}
	if err == nil {
		t.Fatal("an unknown field")
	}
}

package winevent

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"cs/pipeline/source/sourcetest"
)

func TestQueries(t *testing.T) {
	f := func(text, name, query string) {
		t.Helper()
		src, err := Kind.Open(sourcetest.Spec(t, "wineventlog", text))
		if err != nil {
			t.Fatal(err)
		}
		if s := src.(*Source); s.query != query || s.Name() != name {
			t.Errorf("%q: %s, got %s, want %s", text, s.Name(), s.query, query)
		}
	}
	list := func(channel, selection string) string {
		return `<QueryList><Query Id="0" Path="` + channel + `"><Select Path="` + channel + `">` + selection + `</Select></Query></QueryList>`
	}
	f("event_channel: Security\nevent_ids: [4625, 4623]\nevent_level: information\npretty_name: logons", "logons",
		list("Security", "*[System[(EventID=4625 or EventID=4623) and (Level=0 or Level=4)]]"))
	f("event_channel: Security\nevent_level: ERROR\npretty_name: x", "x", list("Security", "*[System[(Level=2)]]"))
	f("event_channel: A&B\npretty_name: x", "x", list("A&amp;B", "*"))
	own := list("System", "*[System[Provider[@Name='x']]]")
	f("xpath_query: |\n  "+own, own, own)

	spec := sourcetest.Spec(t, "wineventlog", "")
	spec.DSN = `wineventlog://C:\logs\Security.evtx?event_id=1&event_id=2&event_level=warning`
	src, err := Kind.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	if s := src.(*Source); s.path != `C:\logs\Security.evtx` || s.query != "*[System[(EventID=1 or EventID=2) and (Level=3)]]" || s.Name() != s.path {
		t.Errorf("got %+v", s)
	}
	if runtime.GOOS != "windows" {
		if err := src.Run(context.Background(), nil); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("got %v", err)
		}
	}
	for dsn, want := range map[string]string{
		"wineventlog://": "it has no file", "wineventlog://x?event_id=y": `not "y"`, "wineventlog://x?event_level=loud": `not "loud"`, "wineventlog://x?id=1": "unknown parameter id",
	} {
		spec.DSN = dsn
		if _, err := Kind.Open(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", dsn, err)
		}
	}
}

func TestCreatedAt(t *testing.T) {
	f := func(event string, want time.Time) {
		t.Helper()
		if got := createdAt([]byte(event)); !got.Equal(want) {
			t.Errorf("%s: got %v", event, got)
		}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 123456700, time.UTC)
	f(`<Event><System><TimeCreated SystemTime='2026-01-02T03:04:05.1234567Z'/></System></Event>`, at)
	f(`<Event><System><TimeCreated SystemTime="2026-01-02T03:04:05.1234567Z"/></System></Event>`, at)
	f(`<Event><TimeCreated SystemTime=`, time.Time{})
	f(`<Event><TimeCreated SystemTime='now'`, time.Time{})
	f(`<Event><TimeCreated SystemTime='2026`, time.Time{})
	f(``, time.Time{})
}

func TestFaults(t *testing.T) {
	sourcetest.Faults(t, "wineventlog", Kind,
		"pretty_name: x", "event_channel: there is none",
		"event_channel: x\nxpath_query: <a/>", "acquis.yaml:3: xpath_query",
		"xpath_query: <a/>\nevent_ids: [1]", "acquis.yaml:2: xpath_query: it chooses",
		"xpath_query: <a", "it is no XML",
		"event_channel: x\nevent_level: loud", "acquis.yaml:3: event_level: want critical",
		"event_channel: x\nevent_ids: [a]", "event_ids[0]: want a whole number",
		"event_channels: x", "did you mean event_channel?",
	)
}

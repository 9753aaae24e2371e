package node_test

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"cs/pipeline/event"
)

// The whitelists of a stage, which are asked together, find what each of them
// finds in an engine of its own, also when the event changes between them, and
// when one of them fails.
func TestWhitelistsTogether(t *testing.T) {
	conditions := []string{
		"evt.Parsed.a == 'x'", "evt.Parsed.a startsWith 'y'", "evt.Parsed.b contains 'y' && evt.Parsed.a in ['x', 'z']", "evt.Parsed.c == 'set'",
		"evt.SetParsed('b', 'made') && evt.Parsed.b == 'other'", "evt.Parsed.b == 'made'", "int(evt.Parsed.a) > 3", "Lower(evt.Parsed.b) contains 'zz'",
		"evt.WhitelistReason == '1'",
	}
	rng := rand.New(rand.NewSource(1))
	stage := [2]string{"s01-parse", ""}
	const first = "name: fields\nfilter: \"true\"\nonsuccess: next_stage\ngrok: {pattern: '^%{NOTSPACE:a} %{NOTSPACE:b}$', apply_on: Line.Raw}\n"
	told := 0
	for round := range 60 {
		files := [][2]string{{"s00-raw", first}}
		for i := range 2 + rng.Intn(4) {
			var b strings.Builder
			fmt.Fprintf(&b, "name: w%d\nwhitelist:\n  reason: \"%d\"\n  expression:\n", i, i)
			for range 1 + rng.Intn(3) {
				fmt.Fprintf(&b, "   - \"%s\"\n", conditions[rng.Intn(len(conditions))])
			}
			if rng.Intn(2) == 0 {
				b.WriteString("statics: [{parsed: c, value: set}]\n")
			}
			stage[1] = b.String()
			files = append(files, stage)
		}
		together := compile(t, files...)
		// Each whitelist has a stage of its own: none of them is asked with another.
		apart := [][2]string{files[0]}
		for i, f := range files[1:] {
			apart = append(apart, [2]string{fmt.Sprintf("s%02d", i+1), f[1] + "onsuccess: next_stage\n"})
		}
		one := compile(t, apart...)
		for range 200 {
			words := []string{"x", "y", "z", "7", "xy", "ZZ", "made", "other"}
			l := event.Line{Raw: words[rng.Intn(len(words))] + " " + words[rng.Intn(len(words))]}
			got, _ := together.parse(l)
			want, _ := one.parse(l)
			if got != want || together.event.Whitelisted != one.event.Whitelisted || together.event.WhitelistReason != one.event.WhitelistReason ||
				strings.Join(together.failed, "|") != strings.Join(one.failed, "|") {
				t.Fatalf("round %d, %q: %s %v %q %q\nwant %s %v %q %q\n%v", round, l.Raw,
					got, together.event.Whitelisted, together.event.WhitelistReason, together.failed,
					want, one.event.Whitelisted, one.event.WhitelistReason, one.failed, files)
			}
			if together.event.Whitelisted {
				told++
			}
		}
	}
	if told < 1000 {
		t.Errorf("only %d events were listed", told)
	}
}

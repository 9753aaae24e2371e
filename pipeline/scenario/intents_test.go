package scenario_test

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cs/decisions"
	"cs/pipeline/event"
	"cs/pipeline/expr"
	"cs/pipeline/scenario"
)

// ofAllKinds has every way in which a document may look at an event.
const ofAllKinds = leaky + `
distinct: evt.Meta.b
scope: {type: user, expression: evt.Parsed.p}
---` + leaky + `
cancel_on: evt.Meta.a == 'stop'
---
type: trigger
name: trigger
description: d
filter: int(evt.Meta.a) == 3
groupby: string(int(evt.Parsed.p))
blackhole: 5s
---
type: counter
name: counter
description: d
filter: evt.Meta.a == '4' && evt.SetMeta('b', evt.Parsed.p)
capacity: -1
duration: 20s
---
type: conditional
name: conditional
description: d
filter: evt.Meta.what == 'fail'
groupby: evt.Meta.source_ip
capacity: -1
leakspeed: 1m
condition: evt.Parsed.p == '2' && len(evt.Line.Raw) > 3 && len(queue.Queue) > 2 && queue.Queue[-1].Meta.a == evt.Meta.a
`

// TestJudgedApart judges events by turns in two runners and pours them in a third;
// one runner that does all at once is the truth.
func TestJudgedApart(t *testing.T) {
	ctx := context(t, 0, "context: {raw: [evt.Line.Raw], p: [evt.Parsed.p]}\n")
	ignore := []cmp.Option{cmpopts.IgnoreFields(decisions.Alert{}, "UUID")}
	told := 0
	for seed := range int64(10) {
		rng := rand.New(rand.NewSource(seed))
		w, apart := compileWith(t, ofAllKinds, ctx), compileWith(t, ofAllKinds, ctx)
		var judges [2]*scenario.Runner
		var intents [2]scenario.Intents
		for i := range judges {
			x := &expr.Ctx{Event: event.New(apart.event.Schema())}
			judges[i] = apart.set.NewRunner(x, nil, func(name string, err error) { apart.failed = append(apart.failed, name) })
		}
		now := t0
		for range 40 {
			now = now.Add(time.Duration(rng.Intn(10)) * time.Second)
			for i := range judges {
				for range rng.Intn(8) {
					f := fields{
						"Meta.what": []string{"fail", "fail", "x"}[rng.Intn(3)], "Meta.source_ip": "192.0.2." + fmt.Sprint(1+rng.Intn(2)),
						"Meta.a": []string{"stop", "3", "4", "", "5", "6"}[rng.Intn(6)], "Meta.b": fmt.Sprint(rng.Intn(9)), "Parsed.p": fmt.Sprint(rng.Intn(4)),
					}
					line := event.Line{Raw: strings.Repeat("x", rng.Intn(9)), Mode: event.Mode(rng.Intn(2))}
					for _, r := range []*scenario.Runner{w.run, judges[i]} {
						e := r.Expr.Event
						e.Reset(line)
						e.Line.Raw = e.Keep([]byte(line.Raw))
						e.Time, e.MarshaledTime = now, now.Format(time.RFC3339)
						for _, name := range slices.Sorted(maps.Keys(f)) {
							e.Set(w.intern(e.Schema(), name), e.Keep([]byte(f[name]))) // gone with the next line
						}
					}
					w.run.Run(now)
					judges[i].Judge(&intents[i], now, false)
				}
			}
			for i := range intents {
				for k := range intents[i].Len() {
					apart.run.Pour(&intents[i], k)
				}
				intents[i].Reset()
			}
			w.run.Advance(now)
			apart.run.Advance(now)
			if diff := cmp.Diff(w.alerts, apart.alerts, ignore...); diff != "" {
				t.Fatal(diff)
			}
			slices.Sort(w.failed)
			slices.Sort(apart.failed)
			if diff := cmp.Diff(w.failed, apart.failed); diff != "" {
				t.Fatal(diff)
			}
			told += len(w.alerts)
			w.alerts, apart.alerts, w.failed, apart.failed = nil, nil, nil, nil
		}
		if got, want := judges[0].Poured+judges[1].Poured, w.run.Poured; got != want {
			t.Errorf("%d events poured, want %d", got, want)
		}
	}
	if told < 100 {
		t.Errorf("only %d alerts", told)
	}
}

func TestIntentsDoNotAllocate(t *testing.T) {
	w := compile(t, leaky+"distinct: evt.Meta.user\nscope: {type: user, expression: evt.Meta.user}\n")
	slot := func(name string) event.Slot { return w.intern(w.event.Schema(), name) }
	what, ip, user := slot("Meta.what"), slot("Meta.source_ip"), slot("Meta.user")
	at := t0
	var in scenario.Intents
	step := func() {
		at = at.Add(11 * time.Second)
		for range 3 {
			w.event.Reset(event.Line{})
			w.event.Set(what, "fail")
			w.event.Set(ip, "192.0.2.1")
			w.event.Set(user, "someone")
			w.run.Judge(&in, at, false)
		}
		for i := range in.Len() {
			w.run.Pour(&in, i)
		}
		in.Reset()
	}
	for range 10 {
		step()
	}
	if n := testing.AllocsPerRun(100, step); n != 0 || len(w.alerts) > 0 {
		t.Errorf("%v allocations, %d alerts", n, len(w.alerts))
	}
}

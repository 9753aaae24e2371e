package expr_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"cs/decisions"
	"cs/pipeline/expr"
)

// A profile decides over alerts: it brings its own variable and functions.
func ExampleEnv() {
	count := func(value string) (int, error) { return len(value), nil }
	env := expr.NewEnv().
		Var("Alert", expr.AlertMembers()...).
		Func("GetDecisionsCount", count)
	c := &expr.Compiler{Env: env}

	filter, err := c.CompileBool(`Alert.Remediation == true && Alert.GetScope() == "Ip"`)
	if err != nil {
		fmt.Println(err)
		return
	}
	duration, err := c.Compile(`Sprintf('%dh', (GetDecisionsCount(Alert.GetValue()) + 1) * 4)`)
	if err != nil {
		fmt.Println(err)
		return
	}

	alert := &decisions.Alert{Remediation: true, Source: decisions.Source{Scope: "Ip", Value: "192.0.2.1"}}
	x := &expr.Ctx{Vars: []any{alert}}
	fmt.Println(filter.Bool(x))
	text, _, err := duration.Text(x)
	fmt.Println(text, err)

	_, err = c.Compile(`Alert.Remediaton`)
	fmt.Println(err)
	// Output:
	// true <nil>
	// 40h <nil>
	// cannot compile expression: *decisions.Alert has no field Remediaton (did you mean Remediation?) (1:7)
	//  | Alert.Remediaton
	//  | ......^
}

func TestEnv(t *testing.T) {
	alert := &decisions.Alert{
		Remediation: true, Scenario: "cs/ssh-bf", EventsCount: 6, Capacity: 5,
		Source: decisions.Source{Scope: "Ip", Value: "1.2.3.4", IP: "1.2.3.4", Country: "FR", ASNumber: "64500"},
		Events: []decisions.Event{{Meta: []decisions.KeyValue{{Key: "service", Value: "ssh"}}}},
	}
	env := expr.NewEnv().
		Var("Alert", expr.AlertMembers()...).
		Var("anything").
		Func("add", func(a, b int) int { return a + b }).
		Func("half", func(a float64) float64 { return a / 2 }).
		Func("joined", func(sep string, l ...string) string { return strings.Join(l, sep) }).
		Func("broken", func() (string, error) { return "", errors.New("out of order") }).
		Func("names", func() []string { return []string{"a", "b"} })
	c := &expr.Compiler{Env: env}
	x := &expr.Ctx{Vars: []any{alert, map[string]any{"list": []any{1.0, "x"}}}}
	f := func(src string, want any) {
		t.Helper()
		p, err := c.Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Any(x)
		if err != nil {
			got = err.Error()
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s: got %v, want %v", src, got, want)
		}
	}
	f(`Alert.Scenario matches "ssh" && Alert.Source.Cn in ["FR", "DE"]`, true)
	f(`Alert.EventsCount > Alert.Capacity`, true)
	f(`any(Alert.Events, {.GetMeta("service") == "ssh"})`, true)
	f(`all(Alert.Events, {any(.Meta, {.Key == "service" && .Value == "ssh"})})`, true)
	f(`Alert.Events[0].GetMeta("none") + Alert.GetScenario()`, "cs/ssh-bf")
	f(`add(2, 3) * 2`, 10)
	f(`add(Alert.EventsCount, 1)`, 7)
	f(`half(3)`, 1.5)
	f(`joined("-", "a", "b") + joined("x")`, "a-b")
	f(`len(names()) == 2 && "b" in names()`, true)
	f(`anything.list[1]`, "x")
	f(`broken()`, `cannot evaluate broken(): broken: out of order`)
	f(`anything.list.x`, `cannot evaluate anything.list.x: an index must be an int, not string`)

	bad := func(src, want string) {
		t.Helper()
		if _, err := c.Compile(src); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%s: got %v", src, err)
		}
	}
	bad(`evt.Parsed.x`, "unknown name evt")
	bad(`Allert.Scenario`, "did you mean Alert?")
	bad(`add("a", 1)`, "an argument of add must be an int, this is string")
	bad(`add(1)`, "add takes 2 arguments, not 1")
	bad(`Alert.GetScope`, "GetScope is a method")
	bad(`Alert.GetScop()`, "did you mean GetScope?")
	bad(`Alert.Events.x`, "an index must be an int")

	p, err := c.Compile(`Alert.Scenario`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Any(&expr.Ctx{}); err == nil {
		t.Fatal("a variable that is missing must be an error")
	}
}

// A variable may be any Go type; what a map lacks is its zero value, as in Go.
func TestVarOf(t *testing.T) {
	type part struct{ OK bool }
	env := expr.NewEnv().Type(expr.Field("OK", func(p part) bool { return p.OK }))
	env.VarOf("results", reflect.TypeFor[map[string]map[string][]part]())
	c := &expr.Compiler{Env: env}
	x := &expr.Ctx{Vars: []any{map[string]map[string][]part{"a": {"b": {{true}}}}}}
	f := func(src string, want any) {
		t.Helper()
		p, err := c.Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Any(x); err != nil && want != nil || got != want {
			t.Errorf("%s is %v, %v; want %v", src, got, err, want)
		}
	}
	f(`results["a"]["b"][0].OK`, true)
	f(`len(results["a"]["b"])`, 1)
	f(`len(results)`, 1)
	f(`len(results["x"]["y"])`, 0)
	f(`results["a"]["b"][1].OK`, nil)
	if _, err := c.Compile(`results["a"]["b"][0].Ok`); err == nil {
		t.Error("an unknown field compiles")
	}
}

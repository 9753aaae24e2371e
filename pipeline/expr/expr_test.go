package expr

import (
	"strconv"
	"strings"
	"testing"

	"cs/pipeline/event"
)

type testFiles map[string][]string

func (f testFiles) Lines(name string) ([]string, bool)           { l, ok := f[name]; return l, ok }
func (f testFiles) Regexps(name string) ([]string, bool)         { l, ok := f[name]; return l, ok }
func (f testFiles) Rows(name string) ([]map[string]string, bool) { return nil, false }
func (f testFiles) Bots(name string) (bots []*Bot, ok bool) {
	for _, row := range f[name] {
		b, err := ParseBot(row)
		if err != nil {
			panic(err)
		}
		bots = append(bots, b)
	}
	return bots, bots != nil
}

// testEvent compiles some expressions and makes an event that has the fields
// of a web request.
func testCompiler() *Compiler {
	return &Compiler{Schema: event.NewSchema(), Files: testFiles{
		"paths.txt":  {"/.env", "/wp-login.php"},
		"agents.txt": {`^curl/\d`, `(?i)nikto`},
	}}
}

func testCtx(tb testing.TB, c *Compiler) *Ctx {
	e := event.New(c.Schema)
	e.Reset(event.Line{Raw: "raw line", Src: "/var/log/x.log", Module: "file", Labels: map[string]string{"type": "nginx"}})
	e.StrTime = "12/Mar/2024"
	for name, val := range map[string]string{
		"Meta.service": "http", "Meta.log_type": "http_access-log", "Meta.http_path": "/a/.env?x=1",
		"Meta.http_status": "404", "Parsed.program": "nginx", "Parsed.verb": "GET", "Parsed.n": "42", "Parsed.empty": "",
	} {
		space, field, _ := strings.Cut(name, ".")
		s, _ := spaceOf(space)
		if slot, ok := c.Schema.Lookup(s, field); ok {
			e.Set(slot, val)
		}
	}
	return &Ctx{Event: e}
}

func TestBool(t *testing.T) {
	f := func(src string, want bool) {
		t.Helper()
		c := testCompiler()
		p, err := c.CompileBool(src)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Bool(testCtx(t, c))
		if err != nil || got != want {
			t.Fatalf("%s: got %v, %v", src, got, err)
		}
	}
	f(`evt.Unmarshaled != nil && evt != nil && nil != evt.Meta`, true)
	f(`evt.Parsed == nil || nil == evt`, false)
	f(`evt.Meta.service == 'http'`, true)
	f(`evt.Meta.service != 'http'`, false)
	f(`evt.Meta.service == 'http' && evt.Meta.log_type in ['http_access-log', 'http_error-log']`, true)
	f(`evt.Meta.log_type not in ['a']`, true)
	f(`not (evt.Meta.http_path contains '.env')`, false)
	f(`evt.Meta.http_path startsWith '/a' and evt.Meta.http_path endsWith '=1'`, true)
	f(`evt.Meta.http_path matches '(?i)\\.ENV'`, true)
	f(`Upper(evt.Meta.http_path) matches Upper('\\.env')`, true)
	f(`Upper(evt.Parsed.verb) == 'GET' && Lower(evt.Parsed.verb) == 'get'`, true)
	f(`any(File('paths.txt'), { evt.Meta.http_path contains # })`, true)
	f(`any(File('paths.txt'), { evt.Meta.http_path == # })`, false)
	f(`any(File('missing.txt'), { evt.Meta.http_path == # })`, false)
	f(`RegexpInFile('curl/7', 'agents.txt')`, true)
	f(`RegexpInFile('wget/7', 'agents.txt')`, false)
	f(`evt.Line.Labels.type == "nginx"`, true)
	f(`evt.Line.Labels.nothing == ""`, true)
	f(`evt.Line.Module == "file" && evt.Line.Src startsWith "/var" && evt.Line.Raw == "raw line"`, true)
	f(`evt.StrTime != ''`, true)
	f(`len(evt.Parsed.verb) == 3`, true)
	f(`int(evt.Parsed.n) >= 42 && int(evt.Parsed.n) < 42.5`, true)
	f(`evt.Parsed.nothing == nil`, false)
	f(`evt.Unmarshaled.a?.b == nil`, true)
	f(`evt.Unmarshaled.a == ""`, false)
	f(`evt.Unmarshaled.a contains "x"`, false)
	f(`"verb" in evt.Parsed`, true)
	f(`"none" in evt.Parsed`, false)
	f(`"empty" in evt.Parsed && evt.Parsed.empty == ''`, true)
	f(`evt.SetMeta("a", "b") && evt.Meta.a == "b" && evt.GetMeta("a") == "b"`, true)
	f(`let x = evt.Parsed.verb; x == "GET"`, true)
	f(`"2023"[4:] == "" && "2023"[1:3] == "02" && evt.Parsed.verb[-2:] == "ET"`, true)
	f(`evt.GetType() == "log"`, true)
	f(`evt.Overflow.Alert == nil`, true)
	f(`3 in 1..5 && filter([1, 2, 3], # > 1) == [2, 3]`, true)
}

func TestText(t *testing.T) {
	f := func(src, want string) {
		t.Helper()
		c := testCompiler()
		p, err := c.Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := p.Text(testCtx(t, c))
		if !ok {
			got = "none"
		}
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Fatalf("%s: got %q, want %q (%v)", src, got, want, err)
		}
	}
	f(`evt.Parsed.verb`, "GET")
	f(`evt.Parsed.verb + " " + evt.Meta.http_path`, "GET /a/.env?x=1")
	f(`evt.Parsed.verb == 'GET' ? 'yes' : 'no'`, "yes")
	f(`evt.Parsed.verb != 'GET' ? 'yes' : nil`, "none")
	f(`evt.Parsed.verb == 'GET' ? evt.Parsed.verb : nil`, "GET")
	f(`int(evt.Parsed.n) + 1`, "43")
	f(`float(evt.Parsed.n)`, "42.000000")
	f(`443.0`, "443.000000")
	f(`string(443.0)`, "443")
	f(`nil`, "none")
	f(`[evt.Parsed.verb, 1]`, "none")
	f(`[evt.Parsed.verb]`, "none")
	f(`Split(evt.Parsed.verb, "")`, "error")
	f(`evt.Parsed.verb == 'GET'`, "error")
	f(`evt.Unmarshaled.a ?? 'default'`, "default")
	f(`int(evt.Parsed.verb)`, "error")
	f(`evt.Unmarshaled.a.b`, "error")
	f(`evt.Unmarshaled.a[2]`, "error")
}

func TestCompileErrors(t *testing.T) {
	f := func(src, want string) {
		t.Helper()
		_, err := testCompiler().Compile(src)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%s: got %v", src, err)
		}
	}
	f(`evt.Parsd.x == ''`, "unknown field evt.Parsd (did you mean Parsed?) (1:5)")
	f(`evnt.Parsed.x == ''`, "unknown name evnt (did you mean evt?)")
	f(`upperr(evt.Parsed.x) == ''`, "did you mean Upper?")
	f(`evt.Parsed.x == 3`, "invalid operation: string == int")
	f(`evt.Parsed.x && true`, "a condition gives a bool, this gives string")
	f(`Upper()`, "Upper takes 1 argument, not 0")
	f(`Upper(3)`, "an argument of Upper must be a string, this is int")
	f(`evt.Parsed.x matches '('`, "cannot compile regular expression")
	f(`evt.Line.Rawx`, "did you mean Raw?")
	f(``, "it is empty")
	f(`evt.Parsed.x ==`, "unexpected")
}

// TestLargest compiles and runs the highest trees that the parser lets through:
// their height is what the compiler and the closures recurse into.
func TestLargest(t *testing.T) {
	f := func(src, want string) {
		t.Helper()
		c := testCompiler()
		p, err := c.Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := p.Text(testCtx(t, c))
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%.60s…: got %.60q (%v)", src, got, err)
		}
	}
	f(strings.Repeat("evt.Parsed.verb + ", 1600)+"''", strings.Repeat("GET", 1600))
	f(strings.Repeat("int(evt.Parsed.n) - ", 1400)+"0", strconv.Itoa(42-1399*42))
	f("evt.Unmarshaled.a"+strings.Repeat("?.b", 2000)+" ?? 'none'", "none")
	f(strings.Repeat("(", 900)+"evt.Parsed.verb"+strings.Repeat(")", 900), "GET")
	f(strings.Repeat("evt.Parsed.verb == '' ? 'a' : ", 900)+"'b'", "b")
	f("let a = int(evt.Parsed.n); "+strings.Repeat("-", 900)+"a", "42")
}

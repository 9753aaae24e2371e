package xmlpath

import (
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

const event = `- <Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event"><System><Provider Name="x" Guid='{5}'/>` +
	`<EventID>4625</EventID><!-- c --><TimeCreated SystemTime="2022-01-23T10:21:01Z"/></System>` +
	"<EventData><Data Name='A'>one &amp; <!-- x -->two&#x21;<![CDATA[<3>&]]></Data><Data Name='B' a:Name=\"&lt;q&gt;\"/>" +
	"<Data Name='C'>\r\nx\ry<b>z</b>w</Data></EventData><EventData><Data Name='A'>other</Data><n:d>far</n:d></EventData></Event>\n"

// get is what XMLGetNodeValue and XMLGetAttributeValue do.
func get(t testing.TB, d *Doc, src, path, attr string) (string, bool) {
	p, err := Compile(path)
	if err != nil || d.Parse(src) != nil {
		return "", false
	}
	e, ok := d.Find(p)
	if !ok {
		return "", false
	}
	v := d.Text(e)
	if attr != "" {
		if v, ok = d.Attr(e, attr); !ok {
			return "", false
		}
	}
	text := string(v.AppendTo(nil))
	if plain, ok := v.Plain(); ok && plain != text {
		t.Fatalf("%q is no plain text, it is %q", plain, text)
	}
	return text, true
}

func TestPaths(t *testing.T) {
	var d Doc
	f := func(path, attr, want string) {
		t.Helper()
		if got, _ := get(t, &d, event, path, attr); got != want {
			t.Errorf("%s %s: %q, want %q", path, attr, got, want)
		}
		twin, _ := slowGet(event, path, attr)
		if twin != want {
			t.Errorf("%s %s: the twin has %q, want %q", path, attr, twin, want)
		}
	}
	f("/Event/System[1]/EventID", "", "4625")
	f("Event/System/EventID", "", "4625")
	f("/Event/System[1]/TimeCreated", "SystemTime", "2022-01-23T10:21:01Z")
	f("/Event/EventData[1]/Data[@Name='A']", "", "one & two!<3>&")
	f("/Event/EventData[1]/Data[@Name='C']", "", "\nx\ny")
	f(`/Event/EventData[2]/Data[@Name="A"]`, "", "other")
	f("/Event/EventData[-1]/Data", "", "other")
	f("/Event/EventData[3]/Data", "", "")
	f("/Event/*[2]/Data[@a:Name]", "Name", "B")
	f("/Event/*[2]/Data[@a:Name='<q>']", "a:Name", "<q>")
	f("//d", "", "far")
	f("//n:d", "", "far")
	f("//m:d", "", "")
	f("//EventID/../Provider", "Guid", "{5}")
	f("/Event/System[EventID='4625']/././Provider", "Name", "x")
	f("/Event/System[Nothing]/Provider", "Name", "")
	f("/Event/EventData/Data[text()='other']", "", "other")
	f("/Event/EventData/Data[text()]", "Name", "A")
	f("//*[name()='n:d']", "", "far")
	f("//*[local-name()='d']", "", "far")
	f("//*[namespace-prefix()='n']", "", "far")
	f("//", "xmlns", "http://schemas.microsoft.com/win/2004/08/events/event")
	f("/Event/EventData[1]/Data[@Name='A'][2]", "", "")
	f("/Event/EventData/Data[2]", "Name", "B")
	f("/..", "", "")
}

func TestBadPaths(t *testing.T) {
	for _, path := range []string{"a[", "a[]", "a[x", "a]", "a[1]b", "a[@x=1]", "a[@x='1]", "a[last()]", "a b", "a:b:c", "a['x']", "a[@]", "a[1=1]["} {
		if _, err := Compile(path); err == nil {
			t.Errorf("%s compiles", path)
		}
	}
}

func TestBadDocuments(t *testing.T) {
	var d Doc
	for _, src := range []string{
		"<a>", "</a>", "<a></b>", "<a><b></a></b>", "<a", "<a x>", "<a x=>", "<a x=1/>", "<a x='<'/>", "<a x='&x;'/>", "<1/>", "<a:b:c/>",
		"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "<a>&#0;</a>", "<a>&#x110000;</a>", "<a>&#99999999999999999999;</a>", "<a>&#;</a>", "<a>&#12</a>",
		"<a>]]></a>", "<a>\x01</a>", "<a>\xff</a>", "<a>\uFFFE</a>", "<!-- -- --><a/>", "<!--->", "<![CDATA[x", "<?x", "<a/ >", "< a/>", "<a><![CDATA[\x00]]></a>",
	} {
		if d.Parse(src) == nil {
			t.Errorf("%q can be read", src)
		}
		if len(d.elements) != 1 {
			t.Errorf("%q leaves %d elements", src, len(d.elements)-1)
		}
	}
}

func TestBounds(t *testing.T) {
	var d Doc
	f := func(src string, want error) {
		t.Helper()
		if err := d.Parse(src); !errors.Is(err, want) {
			t.Errorf("%.20s… of %d bytes: %v, want %v", src, len(src), err, want)
		}
	}
	f(strings.Repeat("<a>", MaxDepth)+strings.Repeat("</a>", MaxDepth), nil)
	f(strings.Repeat("<a>", MaxDepth+1)+strings.Repeat("</a>", MaxDepth+1), errTooDeep)
	f(strings.Repeat("<a/>", MaxElements), nil)
	f(strings.Repeat("<a/>", MaxElements+1), errTooMany)
	f("<a"+strings.Repeat(" b=''", MaxAttrs)+"/>", nil)
	f("<a"+strings.Repeat(" b=''", MaxAttrs+1)+"/>", errTooMany)
	f(strings.Repeat(" ", MaxSize), nil)
	f(strings.Repeat(" ", MaxSize+1), errTooLarge)

	// each // looks at all that is below each element that the one before found
	p, err := Compile("//////////nothing")
	if err != nil {
		t.Fatal(err)
	}
	f(strings.Repeat("<a>", 200)+strings.Repeat("<a/>", 5000)+strings.Repeat("</a>", 200), nil)
	if _, ok := d.Find(p); ok || d.cost < maxCost || d.cost > maxCost+MaxElements {
		t.Errorf("the search looked at %d elements, found %v", d.cost, ok)
	}
}

func TestNoAllocations(t *testing.T) {
	var d Doc
	p, err := Compile("/Event/EventData[1]/Data[@Name='A']")
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(100, func() {
		if d.Parse(event) != nil {
			t.Fatal("cannot parse")
		}
		e, _ := d.Find(p)
		b = d.Text(e).AppendTo(b[:0])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// node is the document as the twin has it.
type node struct {
	name   xml.Name
	attrs  []xml.Attr
	text   string
	closed bool // nothing more comes to text
	up     *node
	down   []*node
}

var errRefused = errors.New("refused")

// slowParse builds a document from the tokens of encoding/xml.
func slowParse(src string) (*node, error) {
	top := &node{closed: true}
	dec := xml.NewDecoder(strings.NewReader(src))
	for {
		tok, err := dec.RawToken()
		if err == io.EOF {
			if top.up != nil {
				return nil, errRefused
			}
			return top, nil
		}
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			top.closed = true
			n := &node{name: tok.Name, attrs: tok.Copy().Attr, up: top}
			top.down = append(top.down, n)
			top = n
		case xml.EndElement:
			if top.up == nil || top.name != tok.Name {
				return nil, errRefused
			}
			top = top.up
			top.closed = true
		case xml.CharData:
			if !top.closed {
				top.text += string(tok)
			}
		case xml.ProcInst:
			top.closed = true
		case xml.Directive:
			return nil, errRefused
		}
	}
}

func nameIs(n xml.Name, want string) bool {
	w, _ := qualified(want)
	return n.Local == w.local && (w.space == "" || n.Space == w.space)
}

// slowGet walks the whole document for every part of the path.
func slowGet(src, path, attr string) (string, error) {
	doc, err := slowParse(src)
	if err != nil {
		return "", err
	}
	at := []*node{doc}
	if strings.HasSuffix(path, "//") {
		path += "*"
	}
	path = strings.TrimPrefix(path, "/")
	for more := true; more; {
		var part string
		part, path, more = cutUnquoted(path)
		sel, rest, _ := strings.Cut(part, "[")
		var next []*node
		for _, n := range at {
			var found []*node
			switch sel {
			case "":
				found = []*node{n}
				for i := 0; i < len(found); i++ {
					found = append(found, found[i].down...)
				}
			case ".":
				found = []*node{n}
			case "..":
				if n.up != nil {
					found = []*node{n.up}
				}
			default:
				for _, c := range n.down {
					if sel == "*" || nameIs(c.name, sel) {
						found = append(found, c)
					}
				}
			}
			if rest != "" {
				for _, f := range strings.Split(strings.TrimSuffix(rest, "]"), "][") {
					found = slowFilter(found, f)
				}
			}
			next = append(next, found...)
		}
		at = next
	}
	if len(at) == 0 {
		return "", nil
	}
	if attr == "" {
		return at[0].text, nil
	}
	for _, a := range at[0].attrs {
		if nameIs(a.Name, attr) {
			return a.Value, nil
		}
	}
	return "", nil
}

func slowFilter(found []*node, f string) (kept []*node) {
	if i, err := strconv.Atoi(f); err == nil {
		if i > 0 {
			i--
		} else if i < 0 {
			i += len(found)
		}
		if i >= 0 && i < len(found) {
			kept = append(kept, found[i])
		}
		return kept
	}
	key, want, equal := strings.Cut(f, "=")
	want = strings.Trim(want, `'"`)
	for _, n := range found {
		var texts []string
		switch {
		case key[0] == '@':
			for _, a := range n.attrs {
				if nameIs(a.Name, key[1:]) {
					texts = append(texts, a.Value+"!")
				}
			}
		case key == "text()":
			texts = append(texts, n.text+"!"[:min(1, len(n.text))])
		case key == "name()":
			texts = append(texts, strings.TrimPrefix(n.name.Space+":"+n.name.Local, ":")+"!")
		case key == "local-name()":
			texts = append(texts, n.name.Local+"!")
		case key == "namespace-prefix()":
			texts = append(texts, n.name.Space+"!")
		default:
			for _, c := range n.down {
				if nameIs(c.name, key) {
					texts = append(texts, c.text+"!")
				}
			}
		}
		for _, text := range texts {
			if equal && strings.TrimSuffix(text, "!") == want || !equal && text != "" {
				kept = append(kept, n)
				break
			}
		}
	}
	return kept
}

// compare checks that a document is read as encoding/xml reads it.
func compare(t *testing.T, d *Doc, src, path, attr string) {
	t.Helper()
	if _, err := Compile(path); err != nil {
		return
	}
	want, err := slowGet(src, path, attr)
	if err != nil {
		// Beyond ASCII we don't know what a name is, and we read no XML declaration.
		odd := strings.Contains(src, "<?xml") || strings.ContainsFunc(src, func(r rune) bool { return r > 127 })
		if d.Parse(src) == nil && !odd {
			t.Fatalf("%q can be read, but: %v", src, err)
		}
		return
	}
	if err := d.Parse(src); err != nil {
		if errors.Is(err, errTooDeep) || errors.Is(err, errTooMany) || errors.Is(err, errTooLarge) {
			return
		}
		t.Fatalf("%q: %v", src, err)
	}
	got, _ := get(t, d, src, path, attr)
	if got != want && d.cost <= maxCost {
		t.Fatalf("%q at %s %s: %q, want %q", src, path, attr, got, want)
	}
}

func TestRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(l ...string) string { return l[r.IntN(len(l))] }
	var tree func(depth int) string
	tree = func(depth int) string {
		s := ""
		for range r.IntN(4) {
			switch {
			case depth > 0 && r.IntN(2) == 0:
				n := pick("a", "b", "n:a")
				s += "<" + n + pick("", " x='1'", " x=\"2\" y='&lt;'", " n:x = '1'\n") + ">" + tree(depth-1) + "</" + n + pick("", " ") + ">"
			default:
				s += pick("t", "1", "&amp;", "<!--c-->", "<![CDATA[1]]>", "<b/>", "<a x='1'/>", "\r\n", "<?p i?>", "&#49;")
			}
		}
		return s
	}
	var d Doc
	for range 20_000 {
		path := pick("", "/", "//")
		for n := r.IntN(3); n >= 0; n-- {
			path += pick("a", "b", "*", "..", ".", "n:a") +
				pick("", "", "[1]", "[2]", "[-1]", "[0]", "[@x]", "[@x='1']", "[@y='<']", "[b]", "[b='1']", "[text()]", "[text()='1']", "[name()='n:a']", "[a][1]")
			if n > 0 {
				path += pick("/", "//")
			}
		}
		compare(t, &d, tree(4), path, pick("", "x", "n:x"))
	}
}

func FuzzRead(f *testing.F) {
	paths := [...]string{"//*", "/a", "/*[1]/*", "//a[@b]", "//*[text()]", "//..", "/*/*[-1]", "//a:b"}
	f.Add(event, uint8(0))
	f.Add("<a b='1'>&#65;]]&gt;<!----><?x y?>\r\n</a><c/>", uint8(1))
	f.Add("<a><![CDATA[]]]]><![CDATA[>]]></a>", uint8(2))
	f.Add("<\u00e9:\u00fc/>&quot;", uint8(3))
	f.Fuzz(func(t *testing.T, src string, n uint8) {
		var d Doc
		compare(t, &d, src, paths[int(n)%len(paths)], "")
		compare(t, &d, src, paths[int(n)%len(paths)], "b")
	})
}

func FuzzCompile(f *testing.F) {
	for _, path := range []string{"/Event/EventData[1]/Data[@Name='A']", "//a[b=\"'\"][-1]/..", "a:b[text()='/]']//", "[[", "a[@"} {
		f.Add(path)
	}
	var d Doc
	if err := d.Parse(event); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if p, err := Compile(path); err == nil {
			d.Find(p)
		}
	})
}

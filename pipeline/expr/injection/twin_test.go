package injection

import (
	"bytes"
	"fmt"
	"go/ast"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/corazawaf/libinjection-go"

	"cs/platform/sharedtest"
)

// fingerprint returns that of an attack, "" of none.
func fingerprint(text string) string {
	var r reading
	if !r.attacks(text) {
		return ""
	}
	print := r.tokens[:r.length]
	var b strings.Builder
	for i := range print {
		if print[i].kind == evil {
			return "X"
		}
		b.WriteByte(print[i].kind.letter())
	}
	return b.String()
}

// sameAnswers compares with the library.
func sameAnswers(t testing.TB, text string) (sqli, xss bool) {
	t.Helper()
	sqli, want := libinjection.IsSQLi(text)
	if got := fingerprint(text); got != want {
		t.Errorf("SQL in %q: fingerprint %q, want %q", text, got, want)
	}
	if got := SQLi(text); got != sqli {
		t.Errorf("SQL in %q: %v", text, got)
	}
	xss = libinjection.IsXSS(text)
	if got := XSS(text); got != xss {
		t.Errorf("script in %q: %v", text, got)
	}
	return sqli, xss
}

// attacks are texts to mutate: the library's test cases, if they are there.
var attacks = []string{
	"1' OR '1'='1", "1 UNION SELECT password FROM users", "-1' and 1=1 union/* foo */select load_file('/etc/passwd')--",
	"1;drop table users--", `" or ""="`, "admin'--", "1 AND (SELECT 1 FROM(SELECT COUNT(*),CONCAT(0x7e,VERSION(),FLOOR(RAND(0)*2))x)a)",
	"'; IF (1=1) WAITFOR DELAY '0:0:5'--", "1 /*!50000union*/ select 1", "q'(a)' || nq'{b}'", "$$a$$ $tag$b$tag$ $1,000.00",
	"U&'\\0041' e'a\\'b' n'c' x'1F' b'01' 0x1f 0b1 1.e(1) 1e5 1.2f", "@@`version` @'a' @b ::int := 1 <=> 2", "{`a`.`b` 1} [c] \\N \\%1",
	"<script>alert(1)</script>", "<a href='javascript:alert(1)'>", "<img src=x onerror=alert(1)>", "' onmouseover=alert(1) x='",
	"<!doctype html>", "<!--[if IE]>x<![endif]-->", "<![CDATA[x]]><xss>", "<%x%><?import y?>", "<!ENTITY x \"y\">", "<svg/onload=1>",
	"1 union ſelect 1,2", "1 unıon select 1", "1 unißn select 1", "q'\x7f' or 1=1 --\x7f'", "q'\x80' or 1=1 --", "<% x % y %><script>alert(1)</script>", "<%abc%def>g%h%><xss>",
	"<a href=&#x10004a;ava:1>", "<a href=&#x10014a;ava:1>", "<a href='da\nta:1'>", "<a href='ja\x00va:1'>", "<a href='ja\tva:1'>",
	"<svg" + strings.Repeat("x", 61) + ">", "<svg" + strings.Repeat("x", 62) + ">", "</ x><script/>", "</x/><y></xss>", "</1><xss>",
	"a)=(in union select 1,2", "1),(\\% or 1=1 --", "a)=(in or 1=1 --", "a)=(in ; drop table a",
	"<a href=&#x6A;&#97vascript:1 style=x>", "<x attributename=onload xmlns=y xlink:href=view-source:z>", "</a ></><a/ /b= 'c'/d=`e`>",
}

func realAttacks(t testing.TB) []string {
	list := attacks[:len(attacks):len(attacks)]
	for _, c := range libraryCases(t) {
		list = append(list, c.input)
	}
	return list
}

type libraryCase struct{ name, input, want string }

// libraryCases reads the library's folder of tests.
func libraryCases(t testing.TB) (list []libraryCase) {
	files, err := filepath.Glob(filepath.Join(libraryDir(t), "tests", "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(b), "--INPUT--\n")
		input, want, ok2 := strings.Cut(rest, "--EXPECTED--")
		if !ok || !ok2 {
			t.Fatalf("%s is no test case", file)
		}
		input = strings.ReplaceAll(input, "\r\n", "\n") // as the library's tests read it
		list = append(list, libraryCase{filepath.Base(file), strings.TrimRight(input, " \t\r\n"), strings.TrimSpace(want)})
	}
	return list
}

// TestLibrarysCases reads tokens and folds as the library's test cases say.
func TestLibrarysCases(t *testing.T) {
	cases := libraryCases(t)
	for _, c := range cases {
		sameAnswers(t, c.input)
		r := reading{text: c.input}
		var got []string
		switch {
		case strings.Contains(c.name, "-tokens_mysql-") || strings.Contains(c.name, "-tokens-"):
			r.mysql = strings.Contains(c.name, "mysql-")
			for r.next(&r.tokens[0]) {
				got = append(got, show(&r.tokens[0]))
			}
		case strings.Contains(c.name, "-folding-"):
			n := r.fold()
			for i := range n {
				got = append(got, show(&r.tokens[i]))
			}
		case strings.Contains(c.name, "-sqli-"):
			got = append(got, fingerprint(c.input))
		case strings.Contains(c.name, "-xss-"):
			got = append(got, map[bool]string{false: "0", true: "1"}[XSS(c.input)])
		case strings.Contains(c.name, "-html5-"):
			for p := (page{text: c.input}); p.next(); {
				got = append(got, fmt.Sprintf("%s,%d,%s", partNames[p.part], len(p.token), p.token))
			}
		default:
			t.Errorf("%s is of an unknown kind", c.name)
		}
		// We keep neither the signs before variables nor the slash of <tag/>.
		want := strings.TrimSpace(strings.NewReplacer("v @@", "v ", "v @", "v ", "SELFCLOSE,2,/>", "CLOSE,1,>").Replace(c.want))
		if got := strings.TrimSpace(strings.Join(got, "\n")); !strings.EqualFold(got, want) {
			t.Errorf("%s: %q is\n%s, want\n%s", c.name, c.input, got, want)
		}
	}
	if len(cases) < 400 {
		t.Errorf("%d cases", len(cases))
	}
}

// partNames are those of the library's test cases.
var partNames = [...]string{
	data: "DATA_TEXT", tagName: "TAG_NAME_OPEN", tagEnd: "TAG_NAME_CLOSE", closingTag: "TAG_CLOSE",
	attrName: "ATTR_NAME", attrValue: "ATTR_VALUE", remark: "TAG_COMMENT", doctype: "DOCTYPE",
}

func show(t *token) string {
	quotes := [2]string{}
	for i, c := range [2]byte{t.open, t.close} {
		if c != 0 && t.kind&(str|variable) != 0 {
			quotes[i] = string(rune(c))
		}
	}
	return strings.TrimRight(fmt.Sprintf("%c %s%s%s", t.kind.letter(), quotes[0], t.text[:t.n], quotes[1]), "\r\n")
}

func TestAnswersAreTheLibrarys(t *testing.T) {
	for _, text := range realAttacks(t) {
		sameAnswers(t, text)
	}
}

// TestNamesAreTheLibrarys asks for the tags and attributes that are in the code.
func TestNamesAreTheLibrarys(t *testing.T) {
	dir := libraryDir(t)
	for _, e := range library(t, dir, "xss_decls.go", "blackTags") {
		tag := unquote(t, e)
		for _, tag := range []string{tag, tag + "x", tag[1:]} {
			sameAnswers(t, "<"+tag+">")
		}
	}
	for _, list := range []string{"blacks", "blackEvents"} {
		for _, name := range library(t, dir, "xss_decls.go", list) {
			name := unquote(t, name.(*ast.CompositeLit).Elts[0])
			for _, name := range []string{name, "on" + name, "on" + name[1:], name + "\x00", name + "s"} {
				for _, value := range []string{"", "=x", "=data:x", "=onload"} {
					sameAnswers(t, "<a "+name+value)
				}
			}
		}
	}
}

// TestOnlyTwoLettersFoldToASCII is why foreignKind knows two.
func TestOnlyTwoLettersFoldToASCII(t *testing.T) {
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		if u := unicode.ToUpper(r); u < 0x80 && r != 'ı' && r != 'ſ' {
			t.Errorf("%q is %q in upper case", r, u)
		}
	}
}

// scraps are what random texts are made of: SQL's and HTML's signs and words,
// and what the readers make exceptions for.
var scraps = []string{
	"'", "\"", "`", "\\", "--", "-- ", "#", "/*", "*/", "/*!", "\n", " ", "\t", "\x00", "\xa0", "\x7f", "\xe9", "ı", "ſ", "é", "(", ")", "{", "}", "[", "]",
	",", ";", ":", "::", ":=", ".", "..", "?", "@", "@@", "@a", "$", "$$", "$a$", "$1,0", "$.", "+", "-", "!", "~", "!!", "not ", "*", "/", "%", "^", "|", "||", "&&",
	"&", "=", "<=>", "<>", "<@", ">", "<", "a", "b", "foo", "x'", "b'", "e'", "n'", "q'", "nq'(", "u&'", "q'!", "!'", "1", "0", "12", "1.5", ".5", "1e", "1e5", "1.e", "0x",
	"0x1f", "0b01", "1f", "1d ", "1funion", "\\n", "\\N", "select", "union", "all", "from", "where", "and", "or", "xor", "in", "like", "is", "between", "into",
	"outfile", "group", "by", "order", "having", "limit", "insert", "update", "delete", "drop", "table", "exec", "if", "user", "user_name", "database",
	"distinct", "boolean", "mode", "share", "true", "null", "as", "sp_password", "sys.database_name", "select.1", "select`", "{a", "``", "{``.``.id}",
	"</", "<!", "<!--", "-->", "--!>", "-!>", "<?", "<%", "%>", "<![CDATA[", "]]>", "<!doctype", "/>", "script", "svg", "xsl", "iframe", "link", "xml", "[if", "import", "entity",
	"onload", "onerror", "onclick", "on", "style", "href", "src", "xlink:href", "xmlns", "attributename", "to", "by=", "filter", "java", "javascript:", "data:", "vbscript:",
	"view-source:", "&#", "&#x", "&#106;", "&#x6a", "&#0000097", "&#x1000ff", "&#9999999", "alert(1)", "<a ", "<img ", "<script>", "<svg ",
}

// changed returns a text with scraps in it, and without some bytes.
func changed(rnd *rand.Rand, text string) string {
	for range rnd.IntN(4) {
		start, scrap := rnd.IntN(len(text)+1), scraps[rnd.IntN(len(scraps))]
		end := min(start+rnd.IntN(6), len(text))
		switch rnd.IntN(3) {
		case 0:
			end = start
		case 1:
			scrap = ""
		}
		text = text[:start] + scrap + text[end:]
	}
	return text
}

// randomText returns some scraps in a row, or an attack with changes.
func randomText(rnd *rand.Rand, attacks, words []string) string {
	if rnd.IntN(3) == 0 {
		return changed(rnd, attacks[rnd.IntN(len(attacks))])
	}
	var b []byte
	for range 1 + rnd.IntN(12) {
		switch rnd.IntN(8) {
		case 0:
			b = append(b, words[rnd.IntN(len(words))]...)
		case 1:
			b = append(b, byte(rnd.IntN(256)))
		default:
			b = append(b, scraps[rnd.IntN(len(scraps))]...)
		}
		if rnd.IntN(3) == 0 {
			b = append(b, ' ')
		}
	}
	if rnd.IntN(4) == 0 {
		b = bytes.ToUpper(b)
	}
	return string(b)
}

func TestRandomTexts(t *testing.T) {
	keywords, _ := libraryTables(t)
	var words []string
	for word, mark := range keywords {
		if mark != 'F' {
			words = append(words, word)
		}
	}
	n, seed := 200_000, rand.Uint64()
	if testing.Short() {
		n = 20_000
	}
	rnd, list := rand.New(rand.NewPCG(seed, 1)), realAttacks(t)
	counts := [2]int{}
	for i := range n {
		text := randomText(rnd, list, words)
		sqli, xss := sameAnswers(t, text)
		if sqli {
			counts[0]++
		}
		if xss {
			counts[1]++
		}
		if t.Failed() {
			t.Fatalf("text %d of seed %d", i, seed)
		}
	}
	if counts[0] < n/50 || counts[1] < n/50 {
		t.Errorf("of %d texts only %d were SQL and %d HTML", n, counts[0], counts[1])
	}
	t.Logf("of %d texts %d SQL, %d HTML", n, counts[0], counts[1])
}

// TestRealTexts asks for lines of logs and of lists of attacks, for their fields,
// and for both with changes.
func TestRealTexts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(sharedtest.Dir(t), "hub/data/*"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, filepath.Join(sharedtest.Dir(t), "logs/web-access.log"))
	found, seed := 0, rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 2))
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(b), "\n") {
			if testing.Short() && i%8 != 0 {
				continue
			}
			for _, text := range append(strings.Split(line, " "), line) {
				if sqli, xss := sameAnswers(t, text); sqli || xss {
					found++
				}
				sameAnswers(t, changed(rnd, text))
			}
		}
		if t.Failed() {
			t.Fatalf("%s, seed %d", file, seed)
		}
	}
	if found == 0 {
		t.Error("no attack in any of them")
	}
	t.Log(found, "found")
}

func FuzzSQLi(f *testing.F) {
	for _, text := range attacks {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, want := libinjection.IsSQLi(text)
		if got := fingerprint(text); got != want || SQLi(text) != (want != "") {
			t.Errorf("fingerprint %q, want %q", got, want)
		}
	})
}

func FuzzXSS(f *testing.F) {
	for _, text := range attacks {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := XSS(text); got != libinjection.IsXSS(text) {
			t.Error(got)
		}
	})
}

func TestNothingIsAllocated(t *testing.T) {
	long := "ſelect " + strings.Repeat("union all ", 100) + "$tag$x$tag$ q'(a)' <a href=&#106;ava x='1' onload"
	for _, text := range append([]string{long, strings.Repeat("a", 1000)}, attacks...) {
		if n := testing.AllocsPerRun(10, func() { SQLi(text); XSS(text) }); n != 0 {
			t.Errorf("%q: %v allocations", text, n)
		}
	}
}

package injection

import (
	"strings"
	"testing"
	"time"
)

// TestHostileTextsTakeTheirTime reads a megabyte of each scrap, behind what
// opens something. One of these takes a hundredth of a second, where a reader
// that goes back to the beginning again and again takes minutes.
func TestHostileTextsTakeTheirTime(t *testing.T) {
	openers := []string{"", "'", "\"", "`", "/*", "$a$", "q'(", "x'", "@'", "[", "{", "1", "1,", "<", "<a ", "<a b=", "<a b='", "<!--", "<%", "<![CDATA[", "<a href=&#"}
	for i, scrap := range append([]string{`\'`, `''`, `\\'`, "1+", "a,", "(1),", "-\x00", "/ ", "</>", "a=b "}, scraps...) {
		if testing.Short() && i%16 != 0 {
			continue
		}
		text := openers[i%len(openers)] + strings.Repeat(scrap, 1<<20/len(scrap))
		start := time.Now()
		SQLi(text)
		XSS(text)
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%q many times: %v", text[:20], took)
		}
	}
}

package injection

import "strings"

// XSS reports whether a text looks like HTML that runs a script: pasted between
// tags, among the attributes of a tag, or into an attribute's value.
func XSS(text string) bool {
	return strings.IndexByte(text, '<') >= 0 && runsScript(text, inData) ||
		runsScript(text, beforeName) ||
		runsScript(text, inSingleQuotes) ||
		runsScript(text, inDoubleQuotes) ||
		runsScript(text, inBackquotes)
}

func runsScript(text string, start state) bool {
	p := page{text: text, state: start}
	attr := plain
	for p.next() {
		was := attr
		attr = plain
		switch p.part {
		case doctype:
			return true
		case tagName:
			if isDangerousTag(p.token) {
				return true
			}
		case attrName:
			attr = attributeOf(p.token)
		case attrValue:
			if was.runs(p.token) {
				return true
			}
		case remark:
			if isDangerousComment(p.token) {
				return true
			}
		}
	}
	return false
}

// isDangerousComment is true for comments that old Internet Explorers take for
// something else.
func isDangerousComment(text string) bool {
	if strings.IndexByte(text, '`') >= 0 { // ends the comment
		return true
	}
	if len(text) > 3 && (strings.EqualFold(text[:3], "[if") || strings.EqualFold(text[:3], "xml")) {
		return true
	}
	if len(text) > 5 {
		var b [6]byte
		n, _ := normalize(b[:], text)
		switch string(b[:n]) {
		case "IMPORT", "ENTITY":
			return true
		}
	}
	return false
}

// maxName is how long a name of a tag or attribute may be, in bytes: a longer
// one means nothing to a browser.
const maxName = 64

// normalize writes a text to b in upper case, without NULs, which browsers skip.
// It returns how much it wrote, and whether that is all.
func normalize(b []byte, text string) (n int, all bool) {
	for i := range len(text) {
		if text[i] == 0 {
			continue
		}
		if n == len(b) {
			return n, false
		}
		b[n] = upper(text[i])
		n++
	}
	return n, true
}

func isDangerousTag(name string) bool {
	if len(name) < 3 {
		return false
	}
	var b [maxName]byte
	n, all := normalize(b[:], name)
	if !all {
		return false
	}
	if n >= 3 && (string(b[:3]) == "SVG" || string(b[:3]) == "XSL") {
		return true // and all that begins so
	}
	switch string(b[:n]) {
	case "APPLET", "BASE", "COMMENT", "EMBED", "FRAME", "FRAMESET", "HANDLER", "IFRAME", "IMPORT", "ISINDEX",
		"LINK", "LISTENER", "META", "NOSCRIPT", "OBJECT", "SCRIPT", "STYLE", "VMLFRAME", "XML", "XSS":
		return true
	}
	return false
}

package injection

import "strings"

// part of a page.
type part uint8

const (
	data part = iota
	tagName
	tagEnd // of a tag's beginning: > or />
	closingTag
	attrName
	attrValue
	remark // a comment
	doctype
)

// state is where in a page the reader is.
type state uint8

const (
	inData state = iota
	inTag        // after a '<'
	atTagEnd
	afterSlash
	beforeName // of an attribute
	afterName
	beforeValue
	inSingleQuotes
	inDoubleQuotes
	inBackquotes
	afterQuotes
	atEnd
)

// page is HTML, read as browsers do, new and old ones: the tokenizer of HTML 5
// with exceptions.
type page struct {
	text    string
	pos     int
	state   state
	closing bool // the tag is one that closes

	part  part
	token string
}

// next reads the next part and its token. It returns false at the end.
func (p *page) next() bool {
	switch p.state {
	case inData:
		return p.data()
	case inTag:
		return p.tag()
	case atTagEnd:
		return p.tagEnd()
	case afterSlash:
		return p.afterSlash()
	case beforeName:
		return p.beforeName()
	case afterName:
		return p.afterName()
	case beforeValue:
		return p.value()
	case inSingleQuotes:
		return p.quoted('\'')
	case inDoubleQuotes:
		return p.quoted('"')
	case inBackquotes:
		return p.quoted('`')
	case afterQuotes:
		return p.afterQuotes()
	}
	return false
}

// take makes the text up to end a token, goes on after skip more bytes, and in
// the given state.
func (p *page) take(k part, end, skip int, then state) bool {
	p.part, p.token = k, p.text[p.pos:end]
	p.pos, p.state = end+skip, then
	return true
}

// rest makes all that is left a token.
func (p *page) rest(k part) bool { return p.take(k, len(p.text), 0, atEnd) }

func (p *page) data() bool {
	n := strings.IndexByte(p.text[p.pos:], '<')
	switch {
	case n > 0:
		return p.take(data, p.pos+n, 1, inTag)
	case n == 0:
		p.pos++
		return p.tag()
	case p.pos < len(p.text):
		return p.rest(data)
	}
	return false
}

// tag reads what follows a '<'.
func (p *page) tag() bool {
	if p.pos >= len(p.text) {
		return false
	}
	switch c := p.text[p.pos]; {
	case c == '!':
		p.pos++
		return p.declaration()
	case c == '/':
		p.pos++
		p.closing = true
		return p.endTag()
	case c == '?':
		p.pos++
		return p.bogusComment()
	case c == '%': // of old Internet Explorers and Safaris
		p.pos++
		return p.percentComment()
	case isLetter(c) || c == 0: // Internet Explorer skips NULs
		return p.tagName()
	}
	p.part, p.token, p.state = data, "<", inData
	return true
}

func (p *page) endTag() bool {
	if p.pos >= len(p.text) {
		return false
	}
	switch c := p.text[p.pos]; {
	case c == '>':
		return p.data()
	case isLetter(c):
		return p.tagName()
	}
	p.closing = false
	return p.bogusComment()
}

// tagName reads a tag's name.
func (p *page) tagName() bool {
	for i := p.pos; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case isSpace(c):
			return p.take(tagName, i, 1, beforeName)
		case c == '/':
			return p.take(tagName, i, 1, afterSlash)
		case c == '>' && p.closing:
			p.closing = false
			return p.take(closingTag, i, 1, inData)
		case c == '>':
			return p.take(tagName, i, 0, atTagEnd)
		}
	}
	return p.rest(tagName)
}

func (p *page) tagEnd() bool {
	p.closing = false
	return p.take(tagEnd, p.pos+1, 0, inData)
}

func (p *page) afterSlash() bool {
	if p.pos >= len(p.text) {
		return false
	}
	if p.text[p.pos] == '>' {
		return p.take(tagEnd, p.pos+1, 0, inData)
	}
	return p.beforeName()
}

// skip goes to the next byte that is neither blank nor NUL. It returns it, and
// false at the end.
func (p *page) skip() (byte, bool) {
	for ; p.pos < len(p.text); p.pos++ {
		if c := p.text[p.pos]; c != 0 && !isSpace(c) {
			return c, true
		}
	}
	return 0, false
}

// beforeName reads an attribute's name, or the tag's end.
func (p *page) beforeName() bool {
	for {
		c, ok := p.skip()
		switch {
		case !ok:
			return false
		case c == '>':
			return p.take(tagEnd, p.pos+1, 0, inData)
		case c != '/':
			return p.attrName()
		}
		p.pos++
	}
}

func (p *page) afterName() bool {
	c, ok := p.skip()
	if !ok {
		return false
	}
	switch c {
	case '/':
		p.pos++
		return p.afterSlash()
	case '=':
		p.pos++
		return p.value()
	case '>':
		return p.tagEnd()
	}
	return p.attrName()
}

// attrName reads an attribute's name, whatever byte it begins with.
func (p *page) attrName() bool {
	for i := p.pos + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case isSpace(c):
			return p.take(attrName, i, 1, afterName)
		case c == '/':
			return p.take(attrName, i, 1, afterSlash)
		case c == '=':
			return p.take(attrName, i, 1, beforeValue)
		case c == '>':
			return p.take(attrName, i, 0, atTagEnd)
		}
	}
	return p.rest(attrName)
}

// value reads an attribute's value.
func (p *page) value() bool {
	c, ok := p.skip()
	if !ok {
		p.state = atEnd
		return false
	}
	switch c {
	case '\'', '"', '`': // the last in old Internet Explorers
		return p.quoted(c)
	}
	for i := p.pos; i < len(p.text); i++ {
		if c := p.text[i]; isSpace(c) {
			return p.take(attrValue, i, 1, beforeName)
		} else if c == '>' {
			return p.take(attrValue, i, 0, atTagEnd)
		}
	}
	return p.rest(attrValue)
}

// quoted reads a value up to a quote. At the beginning of the text, the opening
// one is thought before it.
func (p *page) quoted(quote byte) bool {
	if p.pos > 0 {
		p.pos++
	}
	n := strings.IndexByte(p.text[p.pos:], quote)
	if n < 0 {
		return p.rest(attrValue)
	}
	return p.take(attrValue, p.pos+n, 1, afterQuotes)
}

func (p *page) afterQuotes() bool {
	if p.pos >= len(p.text) {
		return false
	}
	switch c := p.text[p.pos]; {
	case c == '>':
		return p.take(tagEnd, p.pos+1, 0, inData)
	case c == '/':
		p.pos++
		return p.afterSlash()
	case isSpace(c):
		p.pos++
	}
	return p.beforeName()
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isLetter(c byte) bool { return upper(c)-'A' < 26 }

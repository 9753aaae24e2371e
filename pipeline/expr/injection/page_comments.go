package injection

import "strings"

// declaration reads what follows "<!".
func (p *page) declaration() bool {
	rest := p.text[p.pos:]
	switch {
	case len(rest) >= 7 && strings.EqualFold(rest[:7], "doctype"):
		return p.upTo('>', doctype)
	case strings.HasPrefix(rest, "[CDATA["):
		p.pos += 7
		return p.cdata()
	case strings.HasPrefix(rest, "--"):
		p.pos += 2
		return p.comment()
	}
	return p.bogusComment()
}

func (p *page) bogusComment() bool { return p.upTo('>', remark) }

func (p *page) upTo(end byte, k part) bool {
	if n := strings.IndexByte(p.text[p.pos:], end); n >= 0 {
		return p.take(k, p.pos+n, 1, inData)
	}
	return p.rest(k)
}

// percentComment reads <% … %>. After a '%' that ends nothing it looks for the
// '>' too early, as libinjection-go does: its answers are ours.
func (p *page) percentComment() bool {
	for from := p.pos; ; {
		n := strings.IndexByte(p.text[from:], '%')
		if n < 0 || from+n+1 >= len(p.text) {
			return p.rest(remark)
		}
		if p.text[p.pos+n+1] == '>' {
			p.take(remark, p.pos+n, 0, inData)
			p.pos = from + n + 2
			return true
		}
		from += n + 1
	}
}

// comment reads up to "-->" or "-!>"; there may be NULs behind the first dash.
func (p *page) comment() bool {
	for from := p.pos; ; {
		n := strings.IndexByte(p.text[from:], '-')
		if n < 0 {
			return p.rest(remark)
		}
		end := from + n
		i := end + 1
		for i < len(p.text) && p.text[i] == 0 {
			i++
		}
		if i+2 > len(p.text) {
			return p.rest(remark)
		}
		if (p.text[i] == '-' || p.text[i] == '!') && p.text[i+1] == '>' {
			return p.take(remark, end, i+2-end, inData)
		}
		from = end + 1
	}
}

// cdata reads up to "]]>".
func (p *page) cdata() bool {
	if n := strings.Index(p.text[p.pos:], "]]>"); n >= 0 {
		return p.take(data, p.pos+n, 3, inData)
	}
	return p.rest(data)
}

package expr

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// RequestMembers are the members of a web request (req in contexts), for
// Env.Var: those of Go's *http.Request that do not read its body.
func RequestMembers() []Member {
	type req = *http.Request
	type uri = *url.URL
	return []Member{
		Field("Method", func(r req) string { return r.Method }),
		Field("URL", func(r req) uri { return r.URL }),
		Field("Proto", func(r req) string { return r.Proto }),
		Field("ProtoMajor", func(r req) int { return r.ProtoMajor }),
		Field("ProtoMinor", func(r req) int { return r.ProtoMinor }),
		Field("Header", func(r req) http.Header { return r.Header }),
		Field("ContentLength", func(r req) int64 { return r.ContentLength }),
		Field("TransferEncoding", func(r req) []string { return r.TransferEncoding }),
		Field("Host", func(r req) string { return r.Host }),
		Field("RemoteAddr", func(r req) string { return r.RemoteAddr }),
		Field("RequestURI", func(r req) string { return r.RequestURI }),
		Method("UserAgent", req.UserAgent),
		Method("Referer", req.Referer),
		Method("Cookies", req.Cookies),
		Method1("CookiesNamed", req.CookiesNamed),
		Method2("ProtoAtLeast", req.ProtoAtLeast),

		Field("Scheme", func(u uri) string { return u.Scheme }),
		Field("Opaque", func(u uri) string { return u.Opaque }),
		Field("Host", func(u uri) string { return u.Host }),
		Field("Path", func(u uri) string { return u.Path }),
		Field("RawPath", func(u uri) string { return u.RawPath }),
		Field("RawQuery", func(u uri) string { return u.RawQuery }),
		Field("Fragment", func(u uri) string { return u.Fragment }),
		Method("String", uri.String),
		Method("Query", uri.Query),
		Method("Hostname", uri.Hostname),
		Method("Port", uri.Port),
		Method("EscapedPath", uri.EscapedPath),
		Method("IsAbs", uri.IsAbs),
		Method("RequestURI", uri.RequestURI),

		Method1("Get", http.Header.Get),
		Method1("Values", http.Header.Values),
		Method1("Get", url.Values.Get),
		Method1("Has", url.Values.Has),
		Method("Encode", url.Values.Encode),

		Field("Name", func(c *http.Cookie) string { return c.Name }),
		Field("Value", func(c *http.Cookie) string { return c.Value }),
		Method("String", (*http.Cookie).String),
	}
}

func requestFuncs() map[string]*function {
	return map[string]*function{
		"JA4H": {params: []param{anything}, varying: true, build: func(u *unit, a []value) value {
			if want := u.Env.typeOf(reflect.TypeFor[*http.Request]()); !a[0].typ.same(want) && !a[0].typ.isAny() {
				return refuse("JA4H takes a request, not %s", a[0].typ)
			}
			f := a[0].boxed()
			return text(func(x *Ctx) string {
				r, _ := f(x).(*http.Request)
				return ja4h(r)
			})
		}},
	}
}

// ja4h returns the JA4H fingerprint of a request, as FoxIO's public description
// of JA4+ defines it: method, version, cookie and referer flags, the number of
// headers and the language; then hashes of the names of the headers, of the
// names of the cookies, and of the cookies. Go's requests don't tell the order of
// headers and have no Host among them: the names are sorted.
func ja4h(r *http.Request) string {
	if r == nil {
		return ""
	}
	version := fmt.Sprint(r.ProtoMajor, r.ProtoMinor)
	version = strings.ReplaceAll(version, " ", "")
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(r.Header)), func(name string) bool {
		return name == "Cookie" || name == "Referer"
	})
	flag := func(header, yes string) string {
		if r.Header.Get(header) != "" {
			return yes
		}
		return "n"
	}
	method := strings.ToLower(r.Method) + "00"
	var cookies, cookieNames []string
	for _, c := range r.Cookies() {
		cookies, cookieNames = append(cookies, c.Name+"="+c.Value), append(cookieNames, c.Name)
	}
	slices.Sort(cookies)
	slices.Sort(cookieNames)
	return method[:2] + version + flag("Cookie", "c") + flag("Referer", "r") + fmt.Sprintf("%02d", min(len(names), 99)) +
		ja4hLanguage(r.Header.Get("Accept-Language")) +
		"_" + hash12(names) + "_" + cookieHash(cookieNames) + "_" + cookieHash(cookies)
}

// ja4hLanguage gives the first language in four characters.
func ja4hLanguage(accept string) string {
	accept, _, _ = strings.Cut(strings.ToLower(accept), ",")
	accept, _, _ = strings.Cut(accept, ";")
	return (strings.ReplaceAll(accept, "-", "") + "0000")[:4]
}

func cookieHash(of []string) string {
	if len(of) == 0 {
		return "000000000000"
	}
	return hash12(of)
}

// hash12 is how all of JA4 hashes a list.
func hash12(of []string) string {
	sum := sha256.Sum256([]byte(strings.Join(of, ",")))
	return hex.EncodeToString(sum[:6])
}

package hub

import (
	"bytes"
	"cmp"
	"path"
	"runtime"
	"strings"
	"sync"

	"cs/platform/strict"
)

// Documents returns the documents of the file. They weigh much more than what is
// compiled of them, and are not kept.
func (it *Item) Documents() ([]strict.Doc, error) {
	if it.parsed != nil {
		if docs, err := it.parsed(); docs != nil || err != nil {
			return docs, err
		}
	}
	return strict.Parse(it.Path, it.Data) // it is empty, too, when they were given away
}

// window is how many files are parsed that nobody has asked for yet.
const window = 16

// ParseAhead parses items while others before them are compiled, which takes about
// as long. It returns copies of the items, for one goroutine to ask for their
// Documents in this order, or for some of them, and what ends it.
func ParseAhead(items []Item) (copies []Item, stop func()) {
	var mu sync.Mutex
	changed := sync.NewCond(&mu)
	next, taken, ended := 0, 0, false // indices of items
	parse := make([]func(), len(items))
	copies = make([]Item, len(items))
	for i, it := range items {
		var docs []strict.Doc
		var err error
		parse[i] = sync.OnceFunc(func() { docs, err = strict.Parse(it.Path, it.Data) })
		copies[i] = it
		copies[i].parsed = func() ([]strict.Doc, error) {
			parse[i]()
			mu.Lock()
			defer mu.Unlock()
			taken = max(taken, i+1)
			changed.Broadcast()
			parsed := docs
			docs = nil
			return parsed, err
		}
	}
	var work sync.WaitGroup
	for range max(1, runtime.GOMAXPROCS(0)-1) {
		work.Go(func() {
			mu.Lock()
			defer mu.Unlock()
			for {
				next = max(next, taken)
				switch {
				case ended || next >= len(items):
					return
				case next >= taken+window:
					changed.Wait()
					continue
				}
				i := next
				next++
				mu.Unlock()
				parse[i]()
				mu.Lock()
			}
		})
	}
	return copies, func() {
		mu.Lock()
		ended = true
		mu.Unlock()
		changed.Broadcast()
		work.Wait()
	}
}

// findName finds the name of the first document, else that of the file. A file that
// can't be parsed is called by its own name; whoever compiles it reports why.
func (it *Item) findName() {
	it.Name = path.Base(it.Path)
	if name, ok := plainName(it.Data); ok {
		it.Name = name
		return
	}
	docs, err := strict.Parse(it.Path, it.Data)
	if err != nil || len(docs) == 0 {
		return
	}
	var head struct {
		Name string `yaml:"name"`
	}
	_ = docs[0].Decode(&head) // it complains of all other keys
	it.Name = cmp.Or(head.Name, it.Name)
}

// plainName finds the name at the top of a file that looks as nearly all do: simple
// keys with values on their lines before that of the name. It saves parsing them.
func plainName(text []byte) (name string, ok bool) {
	if bytes.Count(text, []byte("\r")) != bytes.Count(text, []byte("\r\n")) {
		return "", false // YAML ends lines with one alone, too
	}
	keys, at := 0, 0
	for line := range bytes.Lines(text) {
		at += len(line)
		line := strings.TrimRight(string(line), " \r\n")
		if line == "" || line[0] == '#' || line == "---" && keys == 0 {
			continue
		}
		keys++
		key, value, found := strings.Cut(line, ": ")
		if !found || !isPlain(key, "") {
			return "", false
		}
		if key == "name" {
			rest := bytes.TrimLeft(text[at:], "\r\n") // it may be that the name goes on
			return value, isPlain(value, "/.") && strings.ContainsAny(value[:1], letters) && !strings.EqualFold(value, "null") &&
				!bytes.HasPrefix(rest, []byte(" ")) && !bytes.HasPrefix(rest, []byte("\t"))
		}
		quoted := len(value) > 1 && (value[0] == '"' || value[0] == '\'') && strings.IndexByte(value[1:], value[0]) == len(value)-2
		if !quoted && !isPlain(value, " /.,") {
			return "", false
		}
	}
	return "", false
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// isPlain tells whether a text is made of letters, digits, "_", "-" and others.
func isPlain(text, others string) bool {
	return text != "" && strings.Trim(text, letters+"0123456789_-"+others) == ""
}

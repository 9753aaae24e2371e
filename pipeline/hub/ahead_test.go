package hub

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"cs/platform/sharedtest"
	"cs/platform/strict"
)

// The name that is found at a glance is that of the document.
func FuzzPlainName(f *testing.F) {
	for _, text := range []string{
		"name: a/b\n", "# c\n---\nname: a\r\n", "type: leaky\ndescription: \"it's: x\"\nname: a_b-c.d\nfilter: x\n", "name: a # c", "name: 'a'", "name: null", "name: NULL\n",
		"type: x\n---\nname: a", "description: |\n name: b\nname: a", "description: >\nname: a", "\nfilter: \"a\nname: b\"\nname: a", "a: b: c\nname: d", "name:\n a", "name: a\n b",
		"\ufeffname: a", "%YAML 1.2\n---\nname: a", "name: 1\n", "name: yes", "a: ''\nname: b", "a: &x b\nname: *x", "a: 'b'c'\nname: d", "name: a\nname: b\n", "a: b\n c: d\nname: e", "---\n---\nname: x",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, ok := plainName([]byte(text))
		if !ok {
			return
		}
		docs, err := strict.Parse("x", []byte(text))
		if err != nil {
			return // an item that can't be loaded may have a name
		}
		var head struct {
			Name string `yaml:"name"`
		}
		if len(docs) > 0 {
			_ = docs[0].Decode(&head)
		}
		if head.Name != name {
			t.Errorf("%q: found %q, parsed %q", text, name, head.Name)
		}
	})
}

func TestPlainNamesOfTheHub(t *testing.T) {
	c, errs := Load(filepath.Join(sharedtest.Dir(t), "hub"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	found := 0
	for _, it := range c.Items {
		if name, ok := plainName(it.Data); ok {
			if found++; name != it.Name {
				t.Errorf("%s: %q", it.Path, name)
			}
		}
	}
	if found < len(c.Items)*8/10 {
		t.Errorf("only %d names of %d are found at a glance", found, len(c.Items))
	}
}

// Whoever asks for documents in whatever way gets those of the item.
func TestParseAhead(t *testing.T) {
	var items []Item
	for i := range 5 * window {
		items = append(items, Item{Path: fmt.Sprint(i), Data: fmt.Appendf(nil, "name: x%d\n", i)})
	}
	items[7].Data = []byte("name: [")
	want := func(it *Item, i int) {
		t.Helper()
		docs, err := it.Documents()
		if i == 7 {
			if err == nil {
				t.Error("no error")
			}
			return
		}
		var head struct {
			Name string `yaml:"name"`
		}
		if err != nil || len(docs) != 1 || docs[0].Decode(&head) != nil || head.Name != fmt.Sprintf("x%d", i) {
			t.Errorf("%d: %v, %q, %v", i, docs, head.Name, err)
		}
	}
	f := func(order []int) {
		t.Helper()
		copies, stop := ParseAhead(items)
		defer stop()
		for _, i := range order {
			it := copies[i]
			want(&it, i)
			want(&it, i) // it was given away, and is parsed again
			want(&copies[i], i)
		}
	}
	var all, some []int
	for i := range items {
		all = append(all, i)
		if i%3 == 0 && i > 2*window {
			some = append(some, i)
		}
	}
	f(all)
	f(some)
	f([]int{40})
	f(nil)
	slices.Reverse(all)
	f(all)
}

package strict

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Change gives a key of a document, "api.server.enable", another value; nil takes
// it out.
type Change struct {
	Key   string
	Value any // as for Append
}

// Edit returns the text of a document after changes, with its comments and the order
// of its keys. It is the text itself if all is as wanted already; otherwise indents
// and empty lines may differ. data may be empty.
func Edit(file string, data []byte, changes []Change) ([]byte, error) {
	docs, err := Parse(file, data)
	switch {
	case err != nil:
		return nil, err
	case len(docs) > 1:
		return nil, docs[1].Place().Errorf("it has %d documents, not one", len(docs))
	}
	top := yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
	if len(docs) == 1 { // once more, for the comments above and below all
		if err := yaml.Unmarshal(data, &top); err != nil {
			return nil, fmt.Errorf("BUG: strict: cannot read %s twice: %w", file, err)
		}
	}
	root := top.Content[0]
	changed := false
	for _, c := range changes {
		var wanted *yaml.Node
		if c.Value != nil {
			made, err := parse(bytes.NewReader(Append(nil, c.Value)))
			if err != nil {
				return nil, fmt.Errorf("BUG: strict: cannot read back %s: %w", c.Key, err)
			}
			wanted = made[0]
		}
		done, err := edit(root, strings.Split(c.Key, "."), wanted)
		if err != nil {
			return nil, Place{File: file, Line: 1, Key: c.Key}.Errorf("%w", err)
		}
		changed = changed || done
	}
	if !changed {
		return data, nil
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&top); err != nil {
		return nil, fmt.Errorf("cannot write %s: %w", file, err)
	}
	return out.Bytes(), nil
}

// edit changes what is below a mapping, and tells whether that made a difference.
func edit(n *yaml.Node, path []string, wanted *yaml.Node) (bool, error) {
	if n.Kind != yaml.MappingNode {
		return false, fmt.Errorf("what it is to stand in is %s", kind(n))
	}
	at := -1
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == path[0] {
			at = i
		}
	}
	switch {
	case at < 0 && wanted == nil:
		return false, nil
	case at < 0:
		for _, key := range slices.Backward(path[1:]) {
			wanted = &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: key}, wanted}}
		}
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: path[0]}, wanted)
		return true, nil
	case len(path) > 1 && isNull(n.Content[at+1]):
		n.Content = slices.Delete(n.Content, at, at+2)
		_, err := edit(n, path, wanted)
		return wanted != nil, err
	case len(path) > 1:
		return edit(n.Content[at+1], path[1:], wanted)
	case wanted == nil:
		n.Content = slices.Delete(n.Content, at, at+2)
		return true, nil
	case alike(n.Content[at+1], wanted):
		return false, nil
	}
	old := n.Content[at+1]
	wanted.LineComment, wanted.FootComment = old.LineComment, old.FootComment
	n.Content[at+1] = wanted
	return true, nil
}

// alike tells whether two nodes are the same value.
func alike(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Tag == b.Tag && a.Value == b.Value && slices.EqualFunc(a.Content, b.Content, alike)
}

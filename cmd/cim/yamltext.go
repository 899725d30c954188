package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// yamlBytesMax bounds a file of settings. A large one has some 100 lines.
	yamlBytesMax = 1 << 20
	// yamlDepthMax bounds how deep values are nested, also through aliases, which may form a cycle.
	// The contexts need three levels.
	yamlDepthMax = 8
	// yamlValuesMax bounds the values, which aliases multiply.
	yamlValuesMax = 1 << 16
)

// nullText is a plain ~ or null. It is no value where a number or the like is
// wanted, and a text where a text is.
type nullText string

// yamlText is a YAML document whose plain values stay text: 007, 1.10, yes and 2026-01-01, since
// only the setting knows its type. A value is a string, a nullText, nil (no value), []any or
// map[string]any.
type yamlText struct {
	values map[string]any
	lines  map[string]int // of the keys; nested ones are joined by keyDelimiter
	count  int            // values so far
}

// readYAMLFile reads a file of at most yamlBytesMax.
func readYAMLFile(path string) (*yamlText, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, yamlBytesMax+1))
	if err != nil {
		return nil, err
	}
	if len(text) > yamlBytesMax {
		return nil, fmt.Errorf("the file has more than %d bytes", yamlBytesMax)
	}
	return parseYAML(text)
}

// parseYAML reads a document whose top is a mapping; an empty one has no values.
// An error names the line.
func parseYAML(text []byte) (*yamlText, error) {
	t := &yamlText{values: map[string]any{}, lines: map[string]int{}}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	if err := decoder.Decode(&first); errors.Is(err, io.EOF) {
		return t, nil
	} else if err != nil {
		return nil, err
	}
	if err := decoder.Decode(&second); err == nil && !isEmpty(&second) {
		return nil, fmt.Errorf("line %d: a second document begins, want one", second.Line)
	} else if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if isEmpty(&first) {
		return t, nil
	}
	top := first.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: want settings of the form name: value", top.Line)
	}
	return t, t.mapping(t.values, top, "", 0)
}

// isEmpty reports whether nothing was written in a document.
func isEmpty(document *yaml.Node) bool {
	if len(document.Content) == 0 {
		return true
	}
	top := document.Content[0]
	return top.Kind == yaml.ScalarNode && top.Value == "" && top.Style == 0
}

// mapping adds the values of a mapping node. Keys of the mapping win over those of a merge key
// (<<).
func (t *yamlText) mapping(values map[string]any, node *yaml.Node, path string, depth int) error {
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: want the name of a setting before the colon", key.Line)
		}
		if key.ShortTag() == "!!merge" {
			if err := t.merge(values, value, path, depth); err != nil {
				return err
			}
			continue
		}
		if before := seen[key.Value]; before != 0 {
			return fmt.Errorf("line %d: mapping key %q already defined at line %d", key.Line, key.Value, before)
		}
		seen[key.Value] = key.Line
		whole := path + key.Value
		t.lines[whole] = key.Line
		read, err := t.value(value, whole+keyDelimiter, depth+1)
		if err != nil {
			return err
		}
		values[key.Value] = read
	}
	return nil
}

// merge adds the values of one mapping or several. Existing keys stay, so the first of several
// wins. Keys after the merge replace merged ones.
func (t *yamlText) merge(values map[string]any, node *yaml.Node, path string, depth int) error {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	parts := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		parts = node.Content
	}
	for _, part := range parts {
		merged, err := t.value(part, path, depth+1)
		if err != nil {
			return err
		}
		fields, ok := merged.(map[string]any)
		if !ok {
			return fmt.Errorf("line %d: want a mapping to merge", part.Line)
		}
		for key, value := range fields {
			if _, there := values[key]; !there {
				values[key] = value
			}
		}
	}
	return nil
}

func (t *yamlText) value(node *yaml.Node, path string, depth int) (any, error) {
	if t.count++; t.count > yamlValuesMax || depth > yamlDepthMax {
		return nil, fmt.Errorf("line %d: too many values, or too deeply nested", node.Line)
	}
	switch node.Kind {
	case yaml.AliasNode:
		return t.value(node.Alias, path, depth+1)
	case yaml.MappingNode:
		fields := map[string]any{}
		return fields, t.mapping(fields, node, path, depth)
	case yaml.SequenceNode:
		list := make([]any, 0, len(node.Content))
		for _, item := range node.Content {
			read, err := t.value(item, path, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, read)
		}
		return list, nil
	}
	return scalar(node)
}

// plainTags are the tags whose values are written as text; !!binary and tags of other programs mean
// something else than their text.
const plainTags = "!!str !!int !!float !!bool !!null !!timestamp !"

func scalar(node *yaml.Node) (any, error) {
	tagged := node.Style&yaml.TaggedStyle != 0
	if tagged && !strings.Contains(plainTags, node.ShortTag()) {
		return nil, fmt.Errorf("line %d: the tag %s is not understood, want plain text", node.Line, node.Tag)
	}
	quoted := node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	switch {
	case quoted || tagged || node.ShortTag() != "!!null":
		return node.Value, nil
	case node.Value == "":
		return nil, nil
	}
	return nullText(node.Value), nil
}

// scalarText is one value of YAML as the text that was written, even if that is
// not one.
func scalarText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case nullText:
		return string(v), nil
	}
	return fmt.Sprint(value), errors.New("want one plain value")
}

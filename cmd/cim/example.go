package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// exampleWidth is the width of the comments, in letters.
const exampleWidth = 96

// writeExample writes the settings of cim of as a file for --config: each with its present value,
// below its description. Secrets, also those in URLs, are left out. show is the command that shows
// the settings in effect.
func (s *settings) writeExample(w io.Writer, of, show string) error {
	var text strings.Builder
	fmt.Fprintf(&text, `# Settings for cim %s --config FILE. What you leave out has its default. A flag, or a variable as
# CIM_LOG_LEVEL, comes before what stands here; %s --config FILE shows what holds. The
# file may have settings of other commands too.
`, of, show)
	var faults []error
	s.typed.VisitAll(func(f *pflag.Flag) {
		value := exampleValue(f.Value)
		if s.hides(f) || s.wantsWord(f) {
			value = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
		}
		line, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: f.Name}, value}})
		faults = append(faults, err)
		text.WriteString("\n" + s.exampleComment(f) + "\n" + string(line))
	})
	if err := errors.Join(faults...); err != nil {
		return err
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// hides reports whether the value of a setting must never be shown.
func (s *settings) hides(f *pflag.Flag) bool {
	if l, ok := f.Value.(urls); ok && l.haveSecret() {
		return true
	}
	return s.secret[f.Name]
}

// wantsWord reports whether f is a setting that an operator has to decide and has not: an example
// with its default would look like a decision.
func (s *settings) wantsWord(f *pflag.Flag) bool {
	return f.Name == settingAuth && s.source[f.Name] == fromDefault
}

func (s *settings) exampleComment(f *pflag.Flag) string {
	text := f.Usage
	if _, isChoice := f.Value.(interface{ choices() []string }); isChoice {
		text += " (" + strings.ReplaceAll(f.Value.Type(), "|", ", ") + ")"
	}
	if s.hides(f) {
		text += "; a value that you have is not shown here"
	}
	var lines []string
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > exampleWidth {
			lines, line = append(lines, line), "#"
		}
		line += " " + word
	}
	return strings.Join(append(lines, line), "\n")
}

func exampleValue(v pflag.Value) *yaml.Node {
	if v.Type() == kindTexts {
		list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		words := listWords(v.String())
		if l, ok := v.(interface{ words() []string }); ok {
			words = l.words() // a word may have a comma
		}
		for _, word := range words {
			list.Content = append(list.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: word})
		}
		return list
	}
	tag := map[string]string{"bool": "!!bool", "int": "!!int", "number": "!!float"}[v.Type()]
	if tag == "" {
		tag = "!!str"
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: v.String()}
}

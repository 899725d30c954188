package terminal

import (
	"slices"
	"strings"
)

// candidatesMax bounds what Tab offers at once.
const candidatesMax = 200

// completer completes commands, names and emoji's aliases. It never waits.
type completer struct {
	// names are the known names, in order; asking may add more.
	names func() []string
}

// Do implements the library's AutoCompleter: what may stand behind the first
// pos characters of line, and how many of these it completes.
func (c completer) Do(line []rune, pos int) ([][]rune, int) {
	before := string(line[:pos])
	word, candidates := c.candidates(before)
	var ends [][]rune
	for _, candidate := range candidates {
		if end, fits := strings.CutPrefix(candidate, word); fits && len(ends) < candidatesMax {
			ends = append(ends, []rune(end))
		}
	}
	return ends, len([]rune(word))
}

// candidates are the completions of the last word of before. A name may have spaces, so a line
// without a command may be a name from its start on.
func (c completer) candidates(before string) (word string, candidates []string) {
	if name, isPrefix := strings.CutPrefix(before, ":pu "); isPrefix {
		return name, c.names()
	}
	space := strings.LastIndexByte(before, ' ')
	word = before[space+1:]
	colon := strings.LastIndexByte(word, ':')
	switch {
	case strings.HasPrefix(before, ":") && space < 0:
		return word, commandWords
	case colon >= 0 && colon < len(word)-1:
		return word[colon:], emojiAliases()
	case strings.Contains(before, ";;"), strings.HasPrefix(before, ":"), before == "":
		return word, nil
	}
	names := slices.Clone(c.names())
	for i := range names {
		names[i] += ";;"
	}
	return before, names
}

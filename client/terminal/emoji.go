package terminal

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/kyokomi/emoji/v2"
)

// emojiPage is how many emoji :emoji shows at once.
const emojiPage = 5

// emojified is text with the aliases in it, such as :beer:, as emoji, where they
// stand between words: in an address, a time or a range a colon is a colon. The
// library's own way would put a space behind each.
func emojified(text string) string { return emojifiedPart(text, emojiIn(text), 0, len(text)) }

// emojiPlace is an alias in a text, from begin to end, and its emoji.
type emojiPlace struct {
	begin, end int
	code       string
}

// emojifiedPart is text from begin to end, with the emoji of the places that lie in it.
func emojifiedPart(text string, places []emojiPlace, begin, end int) string {
	var out strings.Builder
	for _, p := range places {
		if p.begin < begin || p.end > end {
			continue
		}
		out.WriteString(text[begin:p.begin])
		out.WriteString(p.code)
		begin = p.end
	}
	out.WriteString(text[begin:end])
	return out.String()
}

// emojiIn finds the aliases of text that stand between words: one, or several
// behind each other.
func emojiIn(text string) (places []emojiPlace) {
	for at := 0; ; {
		i := strings.IndexByte(text[at:], ':')
		if i < 0 {
			return places
		}
		begin := at + i
		row, end := emojiRow(text, begin)
		before, _ := utf8.DecodeLastRuneInString(text[:begin])
		after, _ := utf8.DecodeRuneInString(text[end:])
		at = begin + 1
		if len(row) > 0 && apart(text[:begin], before, "]*@%") && apart(text[end:], after, "[") {
			places = append(places, row...)
			at = end
		}
	}
}

// emojiRow returns the aliases that follow each other from begin on, and where they end.
func emojiRow(text string, begin int) (row []emojiPlace, end int) {
	codes := emoji.CodeMap()
	for end = begin; end < len(text) && text[end] == ':'; {
		name, _, closed := strings.Cut(text[end+1:], ":")
		code, known := codes[":"+name+":"]
		if !closed || !known {
			return row, end
		}
		next := end + len(name) + len("::")
		row = append(row, emojiPlace{end, next, code})
		end = next
	}
	return row, end
}

// apart reports whether an alias may stand beside r, its nearest neighbour. Scripts without spaces
// have no words that it could break.
func apart(beside string, r rune, more string) bool {
	switch {
	case beside == "" || unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar):
		return true
	case strings.ContainsRune(`:/\_`+more, r):
		return false
	}
	return !unicode.In(r, unicode.L, unicode.N, unicode.M)
}

// emojiAliases are all aliases in their order, such as :beer:.
var emojiAliases = sync.OnceValue(func() []string {
	return slices.Sorted(maps.Keys(emoji.CodeMap()))
})

// emojiRows are the lines of :emoji: each emoji with its aliases, in the order
// of the first ones.
var emojiRows = sync.OnceValue(func() []string {
	codes := emoji.CodeMap()
	row := map[string]int{} // of each emoji
	var rows []string
	for _, alias := range emojiAliases() {
		code := codes[alias]
		at, seen := row[code]
		if !seen {
			at = len(rows)
			row[code] = at
			rows = append(rows, code)
		}
		rows[at] += "  " + alias
	}
	return rows
})

func emojiPages() int { return (len(emojiRows()) + emojiPage - 1) / emojiPage }

// emojiShown is what :emoji shows. page is one of emojiPages.
func emojiShown(page int) string {
	rows := emojiRows()
	first := (page - 1) * emojiPage
	rows = rows[first:min(first+emojiPage, len(rows))]
	return strings.Join(rows, "\n") + fmt.Sprintf("\npage %d of %d", page, emojiPages())
}

// echoed is what the playful echo answers.
func echoed(text string) string {
	return strings.NewReplacer("吗", "", "嘛", "", "?", "!", "？", "！", "你", "我").Replace(text)
}

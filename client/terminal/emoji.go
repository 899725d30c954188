package terminal

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/kyokomi/emoji/v2"
)

// emojiPage is how many emoji :emoji shows at once.
const emojiPage = 5

// emojified is text with the aliases in it, such as :beer:, as emoji. What is
// no alias stays. The library's own way would put a space behind each.
func emojified(text string) string {
	var out strings.Builder
	codes := emoji.CodeMap()
	for {
		before, rest, found := strings.Cut(text, ":")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		name, after, closed := strings.Cut(rest, ":")
		code, known := codes[":"+name+":"]
		if closed && known {
			out.WriteString(code)
			text = after
			continue
		}
		out.WriteByte(':') // the next colon may begin an alias
		text = rest
	}
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

package ledger

import (
	"fmt"
	"strconv"
	"strings"
)

// Tag is the content of a message's text.
type Tag struct {
	Run      string // without a space
	From, To User
	Seq      int
}

const (
	tagMark     = "ledger"
	tagEveryone = "all"
	tagParts    = 5
)

// Text is a text with t, padded with dots to at least size bytes.
func (t Tag) Text(size int) string {
	to := tagEveryone
	if t.To != Everyone {
		to = strconv.FormatUint(uint64(t.To), 10)
	}
	text := fmt.Sprintf("%s %s %d %s %d ", tagMark, t.Run, t.From, to, t.Seq)
	return text + strings.Repeat(".", max(0, size-len(text)))
}

// ParseTag parses the tag of a text.
func ParseTag(text string) (Tag, error) {
	parts := strings.SplitN(text, " ", tagParts+1)
	if len(parts) != tagParts+1 || parts[0] != tagMark {
		return Tag{}, fmt.Errorf("ledger: %.80q has no tag", text)
	}
	from, err := strconv.ParseUint(parts[2], 10, 24)
	to := uint64(Everyone)
	if err == nil && parts[3] != tagEveryone {
		to, err = strconv.ParseUint(parts[3], 10, 24)
	}
	var seq uint64
	if err == nil {
		seq, err = strconv.ParseUint(parts[4], 10, 31)
	}
	if err != nil {
		return Tag{}, fmt.Errorf("ledger: the tag of %.80q: %w", text, err)
	}
	return Tag{Run: parts[1], From: User(from), To: User(to), Seq: int(seq)}, nil
}

package store

import (
	"time"

	"cim/proto"
)

// Bounds of one user's box of offline messages.
const (
	BoxMaxMessages = 1000      // texts, those of a batch counted one by one
	BoxMaxBytes    = 4 << 20   // bytes of texts
	PageMax        = 2 * 100   // texts that one Page returns at most
	PageMaxBytes   = 256 << 10 // bytes of texts of one Page; its first text is always in it
)

// BoxTakes reports whether texts fit behind count texts of bytes bytes.
func BoxTakes(count, bytes int, texts []string) bool {
	return count+len(texts) <= BoxMaxMessages && bytes+TextBytes(texts) <= BoxMaxBytes
}

// PageTakes reports whether a text of next bytes still belongs to a page of
// count texts and bytes bytes.
func PageTakes(count, bytes, next int) bool {
	return count == 0 || count < PageMax && bytes+next <= PageMaxBytes
}

// TextBytes is the length of texts, all told.
func TextBytes(texts []string) int {
	n := 0
	for _, text := range texts {
		n += len(text)
	}
	return n
}

// NextUserID is the id of an account made now, when last is the largest id
// given so far: the time in milliseconds, or last+1 if that is larger.
func NextUserID(now time.Time, last proto.UserID) proto.UserID {
	return max(proto.UserID(now.UnixMilli()), last+1)
}

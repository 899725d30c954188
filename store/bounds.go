package store

import (
	"time"

	"cim/proto"
)

// Bounds of one user's box of offline messages. One sender may fill a quarter of
// it: so a stranger closes it to nobody else.
const (
	ShareMaxMessages = 1000                                  // texts of one sender, those of a batch counted one by one
	ShareMaxBytes    = 4<<20 + ShareMaxMessages*TextOverhead // what these take: 1,000 texts of together 4 MiB always fit
	BoxMaxMessages   = 4 * ShareMaxMessages                  // texts
	BoxMaxBytes      = 4 * ShareMaxBytes                     // what they take
	// TextOverhead is what a text takes besides its bytes. In Redis an empty one
	// with its index takes about as much.
	TextOverhead = 256

	PageMax      = 2 * 100   // texts that one Page returns at most
	PageMaxBytes = 256 << 10 // bytes of texts of one Page; its first text is always in it

	RemoveMax = proto.TextKeysMax // keys of one Remove
)

// Usage is a number of texts and their bytes.
type Usage struct{ Texts, Bytes int }

// UsageOf is the usage of texts.
func UsageOf(texts ...string) Usage { return Usage{len(texts), TextBytes(texts)} }

// Plus is the usage of both.
func (u Usage) Plus(more Usage) Usage { return Usage{u.Texts + more.Texts, u.Bytes + more.Bytes} }

// Minus is the usage of u without less.
func (u Usage) Minus(less Usage) Usage { return Usage{u.Texts - less.Texts, u.Bytes - less.Bytes} }

// within reports whether u is within bounds of texts and of what they take.
func (u Usage) within(texts, bytes int) bool {
	return u.Texts <= texts && u.Bytes+u.Texts*TextOverhead <= bytes
}

// CheckAppend returns nil if more texts of one sender, who has some in a box
// already, fit into it; else ErrShareFull or ErrBoxFull.
func CheckAppend(box, sender, more Usage) error {
	switch {
	case more.Texts == 0:
	case !sender.Plus(more).within(ShareMaxMessages, ShareMaxBytes):
		return ErrShareFull
	case !box.Plus(more).within(BoxMaxMessages, BoxMaxBytes):
		return ErrBoxFull
	}
	return nil
}

// CheckReturn returns nil if texts that come back fit into a box, or into the
// reserve of the box's own size that such texts have; else ErrBoxFull.
func CheckReturn(box, more Usage) error {
	if more.Texts > 0 && !box.Plus(more).within(2*BoxMaxMessages, 2*BoxMaxBytes) {
		return ErrBoxFull
	}
	return nil
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

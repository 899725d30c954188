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
	RemoveMax      = 2000      // keys of one Remove
)

// Usage is what texts take of a box's bounds.
type Usage struct{ Texts, Bytes int }

// UsageOf is what texts take.
func UsageOf(texts ...string) Usage { return Usage{len(texts), TextBytes(texts)} }

// Plus is what both take.
func (u Usage) Plus(more Usage) Usage { return Usage{u.Texts + more.Texts, u.Bytes + more.Bytes} }

// Minus is what u takes without less.
func (u Usage) Minus(less Usage) Usage { return Usage{u.Texts - less.Texts, u.Bytes - less.Bytes} }

// CheckAppend returns ErrBoxFull if more does not fit into a box.
func CheckAppend(box, more Usage) error {
	return checkBound(box.Plus(more), 1)
}

// CheckReturn returns ErrBoxFull if texts that come back do not fit into a box,
// and into the reserve of the box's own size that such texts have.
func CheckReturn(box, more Usage) error {
	return checkBound(box.Plus(more), 2)
}

func checkBound(all Usage, times int) error {
	if all.Texts > times*BoxMaxMessages || all.Bytes > times*BoxMaxBytes {
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

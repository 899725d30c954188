package received

import "errors"

// A session acknowledges at once after this many texts, or bytes of texts.
// Otherwise the owner's timer does.
const (
	AckTexts = 32
	AckBytes = 32 << 10
)

// CountedMax bounds the counted texts of one session that are not done: far more
// than a server keeps for one (256, and 4,096 stored ones).
const CountedMax = 8192

// ErrCounted ends a session whose server sends on without acknowledgements.
var ErrCounted = errors.New("the server sent more texts than it may without an acknowledgement")

// Count counts the texts of one session that its server keeps until they are
// acknowledged: the counted texts. A text is done when the application's function
// for it has returned. Functions for different senders run side by side, so texts
// may be done in any order; those before the first that is not done are
// acknowledged. The zero value has counted none.
type Count struct {
	texts []countedText // after the done ones, in wire order; <= CountedMax
	done  uint64        // texts 1 to done are done
	acked uint64        // and 1 to acked are acknowledged; <= done
	bytes int           // of the texts acked+1 to done
}

// countedText is a text that waits to be acknowledged.
type countedText struct {
	bytes int
	done  bool
}

// Due is when the next ACK is due.
type Due uint8

// The values of Due.
const (
	NotDue   Due = iota // no text is newly done
	DueLater            // after a pause
	DueNow
)

// Add counts one more text, with its size in bytes, and returns its number, from 1
// on. The error is ErrCounted if CountedMax wait.
func (c *Count) Add(bytes int) (n uint64, err error) {
	if len(c.texts) >= CountedMax {
		return 0, ErrCounted
	}
	c.texts = append(c.texts, countedText{bytes: bytes})
	return c.done + uint64(len(c.texts)), nil
}

// Finish marks the nth text as done. Only the first call counts.
func (c *Count) Finish(n uint64) Due {
	if n <= c.done {
		return NotDue
	}
	c.texts[n-c.done-1].done = true
	for len(c.texts) > 0 && c.texts[0].done {
		c.bytes += c.texts[0].bytes
		c.texts = c.texts[1:]
		c.done++
	}
	switch {
	case c.done == c.acked:
		return NotDue
	case c.done-c.acked >= AckTexts || c.bytes >= AckBytes:
		return DueNow
	}
	return DueLater
}

// Take returns the number of texts to acknowledge, if it has grown. They count as
// acknowledged then.
func (c *Count) Take() (n uint64, due bool) {
	if c.done == c.acked {
		return 0, false
	}
	c.acked, c.bytes = c.done, 0
	return c.acked, true
}

// Done is the number of texts up to the first that is not done.
func (c *Count) Done() uint64 { return c.done }

// Acked is the number of acknowledged texts.
func (c *Count) Acked() uint64 { return c.acked }

package loadgen

import "fmt"

// kind is a kind of wrong delivery.
type kind uint8

const (
	kindLost kind = iota
	kindDoubled
	kindReordered
	kindMisdelivered
	kindWrongSender
	kindCorrupt
	kindFailedDelivered
	kinds
)

var kindNames = [kinds]string{"lost", "doubled", "reordered", "misdelivered", "wrong sender", "corrupt", "failed yet delivered"}

// examplesMax bounds the examples of each kind, of an event loop and of a trial.
const examplesMax = 3

// examples are some of what went wrong, of each kind the first.
type examples [kinds][]string

func (e *examples) add(k kind, format string, args ...any) {
	if len(e[k]) < examplesMax {
		e[k] = append(e[k], kindNames[k]+": "+fmt.Sprintf(format, args...))
	}
}

// merge takes the examples of another event loop.
func (e *examples) merge(other *examples) {
	for k := range e {
		e[k] = append(e[k], other[k]...)
		e[k] = e[k][:min(len(e[k]), examplesMax)]
	}
}

func (e *examples) all() (lines []string) {
	for _, some := range e {
		lines = append(lines, some...)
	}
	return lines
}

// corruptQuoted bounds what an example quotes of a text that was changed.
const corruptQuoted = 80

// spoil counts something that is wrong with an arrival at c, and keeps it as an
// example. text is only given if its heading cannot be trusted.
func (l *eventLoop) spoil(count *int, k kind, c *client, h heading, text []byte) {
	*count++
	if len(l.tally.examples[k]) == examplesMax {
		return
	}
	if text != nil {
		l.tally.examples.add(k, "at client %d: %.*q", c.index, corruptQuoted, text)
		return
	}
	l.tally.examples.add(k, "at client %d: %s", c.index, l.trial.describe(h))
}

// describe names a message.
func (t *trial) describe(h heading) string {
	to := "everybody"
	if h.receiver != allReceivers {
		to = fmt.Sprintf("client %d", h.receiver)
	}
	from := fmt.Sprintf("slot %d", h.slot)
	if int(h.slot) < len(t.slots) && t.slots[h.slot].trial == h.trial {
		from = t.slots[h.slot].from()
	}
	due := ""
	if h.due != 0 {
		due = fmt.Sprintf(", due %.6f s after the beginning", float64(h.due-t.begin)/1e9)
	}
	return fmt.Sprintf("message %d of %s to %s, run %x%s", h.sequence, from, to, h.trial, due)
}

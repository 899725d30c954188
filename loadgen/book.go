package loadgen

import "math/bits"

// book is what became of each message of one slot: two bits a message. Its
// intent is the slot's count of sent messages; what arrived is the receivers'
// next sequences and gaps.
type book struct {
	promised plane // answered Delivered, Received or Stored: owed
	failed   plane // Refused: nothing was kept, so it must not arrive
}

// plane is one bit for each sequence; those past its end are 0.
type plane []uint64

const wordBits = 64

func (p *plane) set(sequence uint32) {
	word := int(sequence / wordBits)
	for word >= len(*p) {
		*p = append(*p, 0)
	}
	(*p)[word] |= 1 << (sequence % wordBits)
}

func (p plane) has(sequence uint32) bool {
	word := int(sequence / wordBits)
	return word < len(p) && p[word]>>(sequence%wordBits)&1 == 1
}

// count counts the sequences from first up to before end.
func (p plane) count(first, end uint32) (n int) {
	p.each(first, end, func(word uint64, _ uint32) { n += bits.OnesCount64(word) })
	return n
}

// first is the lowest sequence from first up to before end.
func (p plane) first(first, end uint32) (sequence uint32, ok bool) {
	p.each(first, end, func(word uint64, at uint32) {
		if !ok && word != 0 {
			sequence, ok = at+uint32(bits.TrailingZeros64(word)), true
		}
	})
	return sequence, ok
}

// each calls do with each word of a range, its bits outside of the range cleared, and with the
// sequence of its lowest bit.
func (p plane) each(first, end uint32, do func(word uint64, at uint32)) {
	for at := first - first%wordBits; at < end && int(at/wordBits) < len(p); at += wordBits {
		word := p[at/wordBits]
		if at < first {
			word &= ^uint64(0) << (first - at)
		}
		if end-at < wordBits {
			word &= 1<<(end-at) - 1
		}
		do(word, at)
	}
}

// note records the outcome of a message. Unknown is not recorded: the message may arrive or not.
func (b *book) note(sequence uint32, o Outcome) {
	switch o {
	case Delivered, Received, Stored:
		b.promised.set(sequence)
	case Refused:
		b.failed.set(sequence)
	}
}

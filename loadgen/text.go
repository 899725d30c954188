package loadgen

import "encoding/binary"

// A text is ASCII of a fixed width, the same for every message of a trial:
//
//	trial 8 · slot 8 · sequence 8 · due 16, all hexadecimal · padding
//
// so that a lane finds the numbers at fixed places and nothing of it needs an
// escape in JSON.
const (
	trialAt    = 0
	slotAt     = 8
	sequenceAt = 16
	dueAt      = 24
	paddingAt  = 40
)

// TextMin is the length of a text without padding.
const TextMin = paddingAt

// heading is what a text says.
type heading struct {
	trial    uint32
	slot     uint32
	sequence uint32
	due      int64 // ns of the process's clock, >= 0
}

func appendText(dst []byte, h heading, padding string) []byte {
	dst = appendHex(dst, h.trial)
	dst = appendHex(dst, h.slot)
	dst = appendHex(dst, h.sequence)
	dst = appendHex(dst, uint32(uint64(h.due)>>32))
	dst = appendHex(dst, uint32(h.due))
	return append(dst, padding...)
}

// parseText reads the heading of a text; false: it is none of ours.
func parseText(text []byte, padding string) (heading, bool) {
	if len(text) != paddingAt+len(padding) || string(text[paddingAt:]) != padding {
		return heading{}, false
	}
	trial, ok1 := parseHex(text[trialAt:])
	slot, ok2 := parseHex(text[slotAt:])
	sequence, ok3 := parseHex(text[sequenceAt:])
	dueHigh, ok4 := parseHex(text[dueAt:])
	dueLow, ok5 := parseHex(text[dueAt+8:])
	due := int64(uint64(dueHigh)<<32 | uint64(dueLow))
	return heading{trial, slot, sequence, due}, ok1 && ok2 && ok3 && ok4 && ok5
}

const hexDigits = "0123456789abcdef"

func appendHex(dst []byte, v uint32) []byte {
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[v>>shift&15])
	}
	return dst
}

// parseHex reads eight lower-case digits, all at once: each byte of a word is
// a digit, and halving the word three times puts them side by side.
func parseHex(digits []byte) (uint32, bool) {
	const ones = 0x0101010101010101
	word := binary.BigEndian.Uint64(digits)
	letter := word >> 6 & ones // 1 in each byte that is 'a' to 'f'
	v := word&(15*ones) + 9*letter
	if v&(0xf0*ones) != 0 || word != asciiOf(v) {
		return 0, false
	}
	v = (v | v>>4) & 0x00ff00ff00ff00ff
	v = (v | v>>8) & 0x0000ffff0000ffff
	return uint32(v | v>>16), true
}

// asciiOf is the digits whose values are the bytes of v.
func asciiOf(v uint64) uint64 {
	const ones = 0x0101010101010101
	above9 := (v + 6*ones) >> 4 & ones
	return v + '0'*ones + ('a'-'0'-10)*above9
}

package loadgen

import (
	"encoding/binary"
	"hash/crc32"
)

// A text is ASCII with its numbers at fixed places, all hexadecimal:
//
//	trial 8 · slot 8 · receiver 8 · sequence 8 · due 16 · late 8 · CRC 8 · padding
//
// so that an event loop finds them without a search and nothing needs an escape in JSON. The
// CRC-32C covers all the rest.
const (
	trialAt    = 0
	slotAt     = 8
	receiverAt = 16
	sequenceAt = 24
	dueAt      = 32
	lateAt     = 48
	crcAt      = 56
	paddingAt  = 64
)

// TextMin is the length of a text without padding.
const TextMin = paddingAt

// allReceivers is the receiver in a group message.
const allReceivers = 1<<32 - 1

// lateUnit is the unit of heading.late in ns, so that a minute fits.
const lateUnit = 16

// heading is what a text says. Its run is in the trial, its sender is the
// slot's.
type heading struct {
	trial    uint32
	receiver uint32 // index of a client, or allReceivers
	stamp
}

// stamp is what differs between the texts that one client receives from one
// slot, and the slot: small enough to stay in registers.
type stamp struct {
	slot     uint32
	sequence uint32
	due      int64  // ns of the kernel's monotonic clock, >= 0
	late     uint32 // how long after due it was sent, in lateUnit; it stays at its maximum
}

// sent is when the message was really sent.
func (s stamp) sent() int64 { return s.due + lateUnit*int64(s.late) }

func lateness(due, now int64) uint32 {
	return uint32(min(max(0, now-due)/lateUnit, 1<<32-1))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crcOf(text []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, text[:crcAt]), castagnoli, text[paddingAt:])
}

func appendText(dst []byte, h heading, padding string) []byte {
	begin := len(dst)
	dst = appendHex(dst, h.trial)
	dst = appendHex(dst, h.slot)
	dst = appendHex(dst, h.receiver)
	dst = appendHex(dst, h.sequence)
	dst = appendHex(dst, uint32(uint64(h.due)>>32))
	dst = appendHex(dst, uint32(h.due))
	dst = appendHex(dst, h.late)
	dst = append(dst, "00000000"...) // the CRC's place
	dst = append(dst, padding...)
	text := dst[begin:]
	appendHex(text[:crcAt], crcOf(text))
	return dst
}

// intact reports whether the CRC of a text of at least TextMin bytes is right.
func intact(text []byte) bool {
	crc, ok := parseHex(text[crcAt:])
	return ok && crc == crcOf(text)
}

// stampReader reads texts. It remembers the digits that texts mostly share, since reading a number
// costs more than comparing its digits.
type stampReader struct {
	dueDigits uint64 // of the high half of a due time
	dueHigh   int64
}

// parseText reads the heading of a text; false: it is none of ours, or its CRC
// says that it was changed.
func (r *stampReader) parseText(text []byte) (heading, bool) {
	if len(text) < TextMin || !intact(text) {
		return heading{}, false
	}
	st, ok := r.read(text)
	trial, ok1 := parseHex(text[trialAt:])
	receiver, ok2 := parseHex(text[receiverAt:])
	return heading{trial, receiver, st}, ok && ok1 && ok2
}

func (r *stampReader) read(text []byte) (s stamp, ok bool) {
	slot, ok1 := parseHex(text[slotAt:])
	sequence, ok2 := parseHex(text[sequenceAt:])
	dueLow, ok3 := parseHex(text[dueAt+8:])
	ok = ok1 && ok2 && ok3
	if digits := digitsAt(text, dueAt); digits != r.dueDigits {
		dueHigh, ok4 := parseHex(text[dueAt:])
		ok = ok && ok4
		r.dueDigits, r.dueHigh = digits, int64(dueHigh)<<32
		if !ok4 {
			r.dueDigits = 0 // which no digits are
		}
	}
	late := uint32(0)
	if digitsAt(text, lateAt) != zeros {
		var ok5 bool
		late, ok5 = parseHex(text[lateAt:])
		ok = ok && ok5
	}
	return stamp{slot, sequence, r.dueHigh | int64(dueLow), late}, ok
}

// digitsAt is eight digits as one word.
func digitsAt(text []byte, at int) uint64 { return binary.BigEndian.Uint64(text[at:]) }

// zeros are the digits of 0.
const zeros = 0x3030303030303030

const hexDigits = "0123456789abcdef"

func appendHex(dst []byte, v uint32) []byte {
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[v>>shift&15])
	}
	return dst
}

// parseHex reads eight lower-case digits at once: each byte of a word is a digit, and halving the
// word three times puts them side by side.
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

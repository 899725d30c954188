package shard

import (
	"cmp"
	"slices"

	"cim/proto"
)

// blockBytes is the memory of a session with unsent bytes besides those bytes: the
// block that the loop fills. The loop's buffers for bytes on their way to a socket
// that takes them are not counted: they last for one visit.
const blockBytes = 8 << 10

// memory is how many bytes of memory the session takes above an idle one: unsent
// bytes, and the received part of an incomplete frame.
func (c *session) memory() int {
	n := cap(c.partialFrame())
	if c.unsent > 0 {
		n += int(c.unsent) + blockBytes
	}
	return n
}

func (s *Shard) setPartial(c *session, partial []byte) {
	s.memory += cap(partial) - cap(c.partialFrame())
	switch {
	case partial == nil:
		c.partial = nil
	case c.partial == nil:
		first := partial // so that nil is not allocated
		c.partial = &first
	default:
		*c.partial = partial
	}
}

func (s *Shard) setUnsent(c *session, unsent int) {
	s.memory -= c.memory()
	c.unsent = int32(unsent)
	s.memory += c.memory()
}

// Memory is how many bytes all sessions together take above idle ones.
func (s *Shard) Memory() int { return s.memory }

// Largest is the memory of the largest session. It looks at all.
func (s *Shard) Largest() int {
	largest := 0
	s.eachLive(func(_ uint32, c *session) { largest = max(largest, c.memory()) })
	return largest
}

func (s *Shard) eachLive(visit func(slot uint32, c *session)) {
	for slot := range uint32(len(s.chunks)) * chunkSize {
		if c := s.at(slot); c.state == stateLive {
			visit(slot, c)
		}
	}
}

// Shed ends the largest sessions, at least one, until the ended ones held bytes
// together, but none after the first that holds less than floor. Their unsent bytes
// are lost as with ReasonSlow.
func (s *Shard) Shed(bytes, floor int) {
	holders, _ := s.holders()
	for i, h := range holders {
		if bytes <= 0 || i > 0 && h.memory < floor {
			return
		}
		s.endHolder(h)
		bytes -= h.memory
	}
}

// ShedTo ends the largest sessions until the others together hold at most limit.
func (s *Shard) ShedTo(limit int) {
	if s.memory <= limit {
		return
	}
	holders, sum := s.holders()
	for _, h := range holders {
		if sum <= limit {
			return
		}
		s.endHolder(h)
		sum -= h.memory
	}
}

type holder struct {
	slot   uint32
	memory int
}

// holders are the live sessions that hold memory, largest first, and the sum of
// their memory.
func (s *Shard) holders() (all []holder, sum int) {
	s.eachLive(func(slot uint32, c *session) {
		if memory := c.memory(); memory > 0 {
			all = append(all, holder{slot, memory})
			sum += memory
		}
	})
	slices.SortFunc(all, func(a, b holder) int { return cmp.Compare(b.memory, a.memory) })
	return all, sum
}

func (s *Shard) endHolder(h holder) { s.end(h.slot, s.at(h.slot), proto.ReasonMemory) }

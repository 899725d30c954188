package shard

import "cim/proto"

// Request is what a frame needs from outside the shard.
type Request uint8

// The requests.
const (
	RequestNone  Request = iota // all bytes are used up
	RequestLogin                // View is a login frame: answer by Accept or Refuse
	RequestSend                 // View is a SEND of the live session Ref
)

// Read handles bytes that came in on slot's connection, up to the first frame that
// needs the outside, and returns the remaining bytes. Call it again with them after
// the request has been handled, until RequestNone. view aliases data. Read itself
// answers a PING; a fault ends the connection, and the remaining bytes are dropped.
func (s *Shard) Read(slot uint32, data []byte, view *proto.View) (Request, []byte) {
	c := s.at(slot)
	for len(data) > 0 && c.state != stateEnding {
		frame, rest, reason := s.nextFrame(c, data)
		if reason != proto.ReasonNone {
			s.fault(slot, c, reason)
			break
		}
		if frame == nil {
			break
		}
		data = rest
		if request := s.frame(slot, c, frame, view); request != RequestNone {
			return request, data
		}
	}
	return RequestNone, nil
}

// nextFrame splits a frame off data, or off the partial frame and data. A nil
// frame: data is used up. It copies bytes only if the end of a read has split a
// frame.
func (s *Shard) nextFrame(c *session, data []byte) (frame, rest []byte, reason proto.Reason) {
	if len(c.partialFrame()) > 0 {
		return s.completeFrame(c, data)
	}
	frame, size, reason := proto.NextFrame(data, frameMax(c))
	if reason != proto.ReasonNone {
		return nil, nil, reason
	}
	if frame == nil {
		s.setPartial(c, append(c.partialFrame(), data...))
		return nil, nil, proto.ReasonNone
	}
	return frame, data[size:], proto.ReasonNone
}

// completeFrame moves the missing bytes of the partial frame from data: first its
// length prefix, byte by byte, then the rest.
func (s *Shard) completeFrame(c *session, data []byte) (frame, rest []byte, reason proto.Reason) {
	for {
		frame, size, reason := proto.NextFrame(c.partialFrame(), frameMax(c))
		switch {
		case reason != proto.ReasonNone:
			return nil, nil, reason
		case frame != nil:
			// The view is used before the next bytes come in, so the buffer may be
			// freed here; split frames are rare, and idle sessions keep no buffer.
			s.setPartial(c, nil)
			return frame, data, proto.ReasonNone
		case len(data) == 0:
			return nil, nil, proto.ReasonNone
		}
		lack := max(size-len(c.partialFrame()), 1)
		n := min(lack, len(data))
		s.setPartial(c, append(c.partialFrame(), data[:n]...))
		data = data[n:]
	}
}

func frameMax(c *session) int {
	if c.state == stateLive {
		return proto.FrameMax
	}
	return proto.FrameMaxBeforeLogin
}

// frame handles one whole frame.
func (s *Shard) frame(slot uint32, c *session, frame []byte, view *proto.View) Request {
	s.stats.FramesIn++
	if reason := view.Parse(frame); reason != proto.ReasonNone {
		if c.state == stateOpen && view.Dialect == uint64(proto.DialectCIM) {
			s.Refuse(slot, proto.DialectCIM, reason) // a login of ours, as far as it was parsed
			return RequestNone
		}
		s.fault(slot, c, reason)
		return RequestNone
	}
	if c.state == stateLive {
		return s.liveFrame(slot, c, view)
	}
	return s.firstFrame(slot, c, view)
}

func (s *Shard) firstFrame(slot uint32, c *session, view *proto.View) Request {
	switch {
	case c.state == stateLoginRead || view.Command != proto.CommandLogin && !view.IsV1Login():
		s.fault(slot, c, proto.ReasonUnexpected)
		return RequestNone
	case view.Dialect > uint64(proto.DialectCIM):
		c.state = stateLoginRead
		s.Refuse(slot, proto.DialectCIM, proto.ReasonVersion)
		return RequestNone
	}
	c.state = stateLoginRead
	return RequestLogin
}

func (s *Shard) liveFrame(slot uint32, c *session, view *proto.View) Request {
	c.lastRead = s.now
	if c.kept != nil && !c.ack {
		s.onSignOfLife(slot, c)
	}
	switch {
	case c.dialect == proto.DialectV1:
		s.liveFrameV1(slot, c, view)
	case view.Command == proto.CommandPing:
		if c.ack && !s.ack(slot, c, view.MessageID) {
			return RequestNone
		}
		s.out.append(slot, c, appendPong)
		s.checkUnsent(slot, c)
	case view.Command == proto.CommandAck && c.ack:
		s.ack(slot, c, view.MessageID)
	case view.Command == proto.CommandSend && c.dialect == proto.DialectCIM:
		return RequestSend
	default:
		s.fault(slot, c, proto.ReasonUnexpected)
	}
	return RequestNone
}

// liveFrameV1 handles heartbeats: a client of v1 sends all else over HTTP.
func (s *Shard) liveFrameV1(slot uint32, c *session, view *proto.View) {
	if view.Command != proto.CommandV1Ping {
		s.fault(slot, c, proto.ReasonUnexpected)
		return
	}
	s.out.append(slot, c, appendPongV1)
	s.checkUnsent(slot, c)
}

func appendPongV1(dst []byte) []byte { return append(dst, proto.PongV1...) }

func appendPong(dst []byte) []byte { return append(dst, proto.Pong...) }

// fault ends a connection whose peer violated the protocol.
func (s *Shard) fault(slot uint32, c *session, reason proto.Reason) {
	s.appendClose(slot, c, reason)
	s.end(slot, c, reason)
}

// Sender returns the user of a live session, for the messages that it sends.
func (s *Shard) Sender(slot uint32) proto.User {
	c := s.at(slot)
	return proto.User{ID: c.user, Name: c.name}
}

// Advance moves the shard's time on to now. It ends sessions that have been silent
// for too long, and hands out a hard end for connections that have lingered for too
// long.
func (s *Shard) Advance(now Tick) {
	if now <= s.now {
		return
	}
	if now-s.now >= pauseTicks {
		s.resumed = now
	}
	s.now = now
	s.timers.Advance(now, s.onTimer)
	s.flushes.Advance(now, s.onFlushTimer)
	s.relieve()
	s.advancePaces()
	s.advanceLagging()
}

// heartbeat is the longest silence of a live session.
func (s *Shard) heartbeat(c *session) Tick {
	if c.dialect == proto.DialectV1 {
		return s.config.HeartbeatTicksV1
	}
	return s.config.HeartbeatTicks
}

// setDeadline has a live session checked at the tick at, or earlier if it must end
// earlier.
func (s *Shard) setDeadline(slot uint32, c *session, at Tick) {
	if c.expires != 0 {
		at = min(at, c.expires)
	}
	s.timers.Set(slot, at)
}

func (s *Shard) onTimer(slot uint32) {
	c := s.at(slot)
	switch c.state {
	case stateOpen, stateLoginRead:
		s.end(slot, c, proto.ReasonLoginTimeout)
	case stateLive:
		if c.expires != 0 && c.expires <= s.now {
			s.fault(slot, c, proto.ReasonExpired)
			return
		}
		silentSince := max(c.lastRead, s.resumed)
		if at := silentSince + s.heartbeat(c); at > s.now {
			s.setDeadline(slot, c, at)
			return
		}
		s.fault(slot, c, proto.ReasonIdle)
	case stateEnding:
		ref := Ref{s.config.Number, slot, c.reuse}
		s.ends.push(End{Ref: ref, Reason: proto.ReasonNone})
	}
}

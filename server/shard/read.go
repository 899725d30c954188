package shard

import "cim/proto"

// Request is what a frame asks of the world outside the shard.
type Request uint8

// The requests.
const (
	RequestNone  Request = iota // all bytes are used up
	RequestLogin                // View is a login frame: answer by Accept or Refuse
	RequestSend                 // View is a SEND of the live session Ref
)

// Read takes bytes that came in on slot's connection, up to the first frame
// that needs the outside, and returns what is left of them. Call it again
// with the rest after the request has been dealt with, until RequestNone.
// view aliases data. What the frames ask of the shard alone is done: a PING is
// answered; a fault ends the connection, and the rest is thrown away.
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
// frame: data is used up. Bytes are copied only where a frame was torn by the
// end of a read.
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

// completeFrame moves just as many bytes of data to the partial frame as it lacks:
// first its prefix, byte by byte, then the rest of it.
func (s *Shard) completeFrame(c *session, data []byte) (frame, rest []byte, reason proto.Reason) {
	for {
		frame, size, reason := proto.NextFrame(c.partialFrame(), frameMax(c))
		switch {
		case reason != proto.ReasonNone:
			return nil, nil, reason
		case frame != nil:
			// The view is read before the next bytes come in, so its room may be
			// given up here; torn frames are rare, and idle sessions keep nothing.
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

// frame deals with one whole frame.
func (s *Shard) frame(slot uint32, c *session, frame []byte, view *proto.View) Request {
	s.stats.FramesIn++
	if reason := view.Parse(frame); reason != proto.ReasonNone {
		if c.state == stateOpen && view.Dialect == uint64(proto.DialectCIM) {
			s.Refuse(slot, proto.DialectCIM, reason) // as far as it was read, a login of ours
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
		s.showedLife(slot, c)
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

// liveFrameV1 takes heartbeats: a client of v1 sends all else over HTTP.
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

// fault ends a connection whose peer broke the protocol.
func (s *Shard) fault(slot uint32, c *session, reason proto.Reason) {
	s.appendClose(slot, c, reason)
	s.end(slot, c, reason)
}

// Sender returns who a live session belongs to, for the messages it sends.
func (s *Shard) Sender(slot uint32) proto.User {
	c := s.at(slot)
	return proto.User{ID: c.user, Name: c.name}
}

// Advance moves the shard's time on to now: whoever has been silent for too
// long is ended, and whoever lingered for too long is handed out as an end
// that is not soft.
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

// heartbeat is the silence that a live session may keep.
func (s *Shard) heartbeat(c *session) Tick {
	if c.dialect == proto.DialectV1 {
		return s.config.HeartbeatTicksV1
	}
	return s.config.HeartbeatTicks
}

// setDeadline has a live session looked at again at the tick at, or before that when it
// must end.
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

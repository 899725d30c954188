package loadgen

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"cim/proto"
)

// cimSession is our protocol at one client.
type cimSession struct {
	clients []*client // of the fleet
	user    proto.User
	userID  string // in decimal
	dialect proto.Dialect
	want    proto.Want
	acks    acks
	partial []byte // the beginning of a frame, without its end
	message message
	view    proto.View // of all other frames
}

// newCIMSession is one of want 0.
func newCIMSession(clients []*client, user proto.User, dialect proto.Dialect) *cimSession {
	return &cimSession{clients: clients, user: user, userID: strconv.FormatInt(int64(user.ID), 10), dialect: dialect}
}

// Receive implements Session.
func (s *cimSession) Receive(data []byte, in *Inbox) error {
	if reason := s.split(in, data); reason != proto.ReasonNone {
		return fmt.Errorf("frame from the server: %s", reason)
	}
	if s.acks.due() {
		return s.acks.write(in.client)
	}
	return nil
}

// AppendSend implements Session.
func (s *cimSession) AppendSend(dst []byte, m Message) []byte {
	var receiver proto.UserID // 0: a group message
	if m.Receiver != AllClients {
		receiver = s.clients[m.Receiver].user.ID
	}
	if s.want != proto.WantTaken && receiver != 0 {
		return proto.AppendSendOf(dst, proto.Send{ID: m.ID, Receiver: receiver, Text: newTextID(), Want: s.want}, m.Text)
	}
	return proto.AppendSend(dst, m.ID, receiver, m.Text)
}

// appendLogin appends the first frame of a connection.
func (s *cimSession) appendLogin(dst []byte, ticket proto.Ticket) []byte {
	switch {
	case s.dialect == proto.DialectV1:
		return proto.AppendV1Login(dst, s.user)
	case s.acks.asked:
		return proto.AppendAckLogin(dst, s.user, ticket)
	}
	return proto.AppendLogin(dst, s.user, s.dialect, ticket)
}

// AppendPing implements Session.
func (s *cimSession) AppendPing(dst []byte) []byte {
	if s.dialect == proto.DialectV1 {
		return proto.AppendV1Ping(dst, s.user.ID)
	}
	return append(dst, proto.Ping...)
}

// newTextID draws the id of a text.
func newTextID() (id proto.TextID) {
	for id == 0 {
		id = proto.TextID(rand.Uint64())
	}
	return id
}

// split takes whole frames off data and keeps the rest for the next read.
func (s *cimSession) split(in *Inbox, data []byte) proto.Reason {
	for len(s.partial) > 0 && len(data) > 0 {
		var reason proto.Reason
		if data, reason = s.complete(in, data); reason != proto.ReasonNone {
			return reason
		}
	}
	for len(data) > 0 {
		frame, size, reason := proto.NextFrame(data, proto.FrameMax)
		if reason != proto.ReasonNone {
			return reason
		}
		if frame == nil {
			s.partial = append(s.partial[:0], data...)
			return proto.ReasonNone
		}
		if reason := s.take(in, frame); reason != proto.ReasonNone {
			return reason
		}
		data = data[size:]
	}
	return proto.ReasonNone
}

// complete moves bytes of data to the partial frame, no more than it lacks,
// and returns the rest.
func (s *cimSession) complete(in *Inbox, data []byte) ([]byte, proto.Reason) {
	_, size, reason := proto.NextFrame(s.partial, proto.FrameMax)
	if reason != proto.ReasonNone {
		return nil, reason
	}
	lacks := 1 // of a length whose own end is not here yet
	if size > 0 {
		lacks = size - len(s.partial)
	}
	lacks = min(lacks, len(data))
	s.partial = append(s.partial, data[:lacks]...)
	frame, _, reason := proto.NextFrame(s.partial, proto.FrameMax)
	if frame != nil && reason == proto.ReasonNone {
		reason = s.take(in, frame)
		s.partial = s.partial[:0]
	}
	return data[lacks:], reason
}

package server

import (
	"strconv"
	"sync/atomic"
	"time"

	"cim/proto"
)

// pendingForward is a message of /sendMsg that a route delivers or stores: one SEND
// for each text. The last outcome sets done.
type pendingForward struct {
	left   atomic.Int32
	failed atomic.Bool
	done   chan bool // of 1: whether all texts were delivered or stored
}

// forwardTexts gives the texts of a request to a route; id is the id of the first.
// It returns nil if no route can take them: then nothing was stored.
func (s *Server) forwardTexts(request *proto.SendMsgRequest, id proto.TextID) *pendingForward {
	sender, known := senderOf(request)
	texts, err := proto.Texts(request.Msg, request.BatchMsg)
	link := s.links.choose(sender.ID)
	if !known || err != nil || link == nil || s.draining.Load() {
		return nil
	}
	h := &pendingForward{done: make(chan bool, 1)}
	h.left.Store(int32(len(texts)))
	at := proto.UnixMilli(time.Now().UnixMilli())
	for i, text := range texts {
		m := send{sender: sender, to: proto.UserID(request.UserID), textID: id.Next(i), at: at, text: []byte(text)}
		if !link.forwardSend(&m, s.now(), h) {
			h.settle(proto.OutcomeBusy)
		}
	}
	return h
}

// settle is called once for each text.
func (h *pendingForward) settle(outcome proto.Outcome) {
	if outcome != proto.OutcomeDelivered && outcome != proto.OutcomeStored {
		h.failed.Store(true)
	}
	if h.left.Add(-1) == 0 {
		h.done <- !h.failed.Load()
	}
}

// senderOf reads the sender from the properties, where the original's routes put
// it.
func senderOf(request *proto.SendMsgRequest) (sender proto.User, known bool) {
	id, err := strconv.ParseInt(request.Properties[proto.PropertySenderID], 10, 64)
	name := request.Properties[proto.PropertySenderName]
	if err != nil || id <= 0 || proto.CheckUserName(name) != nil {
		return proto.User{}, false
	}
	return proto.User{ID: proto.UserID(id), Name: name}, true
}

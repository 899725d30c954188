package loadgen

import (
	"encoding/json"
	"fmt"

	"cim/proto"
)

// AppendRequest implements HTTPSystem.
func (sys *cimSystem) AppendRequest(dst []byte, sender int, m Message) (path string, body []byte) {
	text := string(m.Text)
	from := proto.Number(sys.fleet.clients[sender].user.ID)
	if m.Receiver == AllClients {
		return proto.PathGroup, append(dst, proto.Body(proto.GroupRequest{UserID: from, Msg: &text})...)
	}
	receiver := proto.Number(sys.fleet.clients[m.Receiver].user.ID)
	request := proto.PrivateRequest{UserID: from, ReceiveUserID: receiver, Msg: &text}
	if want := sys.fleet.cfg.Want; want != proto.WantTaken {
		request.Client, request.Want = 1, proto.Number(want)
	}
	return proto.PathPrivate, append(dst, proto.Body(request)...)
}

// Answered implements HTTPSystem.
func (sys *cimSystem) Answered(status int, body []byte) (Outcome, error) {
	answer, err := answerOf(status, body)
	if err != nil {
		return Unknown, err
	}
	switch code := proto.Code(answer.Code); code {
	case proto.CodeSuccess:
		return deliveredAs(answer), nil
	case proto.CodeOffline:
		return Stored, nil
	case proto.CodeLimit:
		return Refused, nil
	default:
		return Unknown, codeError{code, answer.Message}
	}
}

// answerOf reads a route's answer.
func answerOf(status int, body []byte) (proto.Answer, error) {
	answer, err := proto.ParseAnswer(body)
	switch {
	case status != statusOK && err == nil && answer.Message != "":
		return proto.Answer{}, fmt.Errorf("HTTP status %d: %s", status, answer.Message)
	case status != statusOK:
		return proto.Answer{}, fmt.Errorf("HTTP status %d", status)
	}
	return answer, err
}

// deliveredAs is what a success says beyond that.
func deliveredAs(a proto.Answer) Outcome {
	var body proto.SentBody
	if json.Unmarshal(a.DataBody, &body) == nil && body.Outcome == proto.OutcomeReceived.String() {
		return Received
	}
	return Delivered
}

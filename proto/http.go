package proto

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Paths of the route's API and, last, of a server's.
const (
	PathRegister     = "/registerAccount"
	PathLogin        = "/login"
	PathOffLine      = "/offLine"
	PathGroup        = "/groupRoute"
	PathPrivate      = "/p2pRoute"
	PathOnlineUser   = "/onlineUser"
	PathFetchOffline = "/fetchOfflineMsgs"
	PathSendMsg      = "/sendMsg"
)

// RegisterRequest is the body of PathRegister. Find is our extension: 1 looks up
// the account of a name without making one; a route of the original ignores it and
// registers.
type RegisterRequest struct {
	UserName string `json:"userName"`
	Find     Number `json:"find,omitzero"`
}

// LoginRequest is the body of PathLogin. Our extensions: Client 1 allows members in
// the answer that the contract does not name; Ticket is the ticket of the last
// login, which proves that the session is the client's own; Move 1 leaves that
// session until the new one has begun; Ack 1 says that the client can acknowledge
// texts and asks whether all routes allow it.
type LoginRequest struct {
	UserID   Number `json:"userId"`
	UserName string `json:"userName"`
	Client   Number `json:"client,omitempty"`
	Ticket   string `json:"ticket,omitempty"`
	Move     Number `json:"move,omitzero"`
	Ack      Number `json:"ack,omitzero"`
}

// OffLineRequest is the body of PathOffLine. Ticket is our extension.
type OffLineRequest struct {
	UserID Number `json:"userId"`
	Msg    string `json:"msg,omitempty"`
	Ticket string `json:"ticket,omitempty"`
}

// GoodbyeMsg is the msg of an OffLineRequest from a client itself; the original's
// server sends the user's name.
const GoodbyeMsg = "offLine"

// GroupRequest is the body of PathGroup. Our extensions: Client 1 asks for a
// SentBody; TextID and Want are as in a PrivateRequest.
type GroupRequest struct {
	UserID   Number   `json:"userId"`
	Msg      *string  `json:"msg,omitzero"`
	BatchMsg []string `json:"batchMsg,omitempty"`
	Client   Number   `json:"client,omitzero"`
	TextID   string   `json:"textId,omitempty"`
	Want     Number   `json:"want,omitzero"`
}

// PrivateRequest is the body of PathPrivate. Our extensions: Client 1 asks for a
// SentBody. Sent is when a message was first sent that its receiver puts back; 0:
// now. TextID is the sender's id for the first text, in decimal (see ParseTextID).
// Want is a Want.
type PrivateRequest struct {
	UserID        Number   `json:"userId"`
	ReceiveUserID Number   `json:"receiveUserId"`
	Msg           *string  `json:"msg,omitzero"`
	BatchMsg      []string `json:"batchMsg,omitempty"`
	Client        Number   `json:"client,omitzero"`
	Sent          Number   `json:"sent,omitzero"`
	TextID        string   `json:"textId,omitempty"`
	Want          Number   `json:"want,omitzero"`
}

// FetchOfflineRequest is the body of PathFetchOffline.
type FetchOfflineRequest struct {
	ReceiveUserID Number `json:"receiveUserId"`
}

// OnlinePageMax bounds the users in one answer of PathOnlineUser.
const OnlinePageMax = 1024

// OnlineUserRequest is the body or the query of PathOnlineUser. Both members are
// our extensions: they select the first Limit users with ids above After, in the
// order of their ids; without a Limit the answer has all users, as the original's.
type OnlineUserRequest struct {
	After Number `json:"after,omitzero"`
	Limit Number `json:"limit,omitzero"`
}

// SendMsgRequest is the body of a server's PathSendMsg. UserID is the
// receiver.
type SendMsgRequest struct {
	UserID     Number            `json:"userId"`
	Msg        *string           `json:"msg,omitzero"`
	BatchMsg   []string          `json:"batchMsg,omitempty"`
	Cmd        string            `json:"cmd,omitempty"` // "MESSAGE", "OFFLINE"; absent is MESSAGE
	Properties map[string]string `json:"properties,omitempty"`
}

// Frame checks a request and returns the body of its frame, with id as the id of
// the first text. A live message counts as sent at now; for stored texts the time
// is unknown. The receiver's own property is omitted, since every delivery adds it.
func (r *SendMsgRequest) Frame(id TextID, now UnixMilli) ([]byte, error) {
	command := CommandMessage
	switch r.Cmd {
	case "", "MESSAGE":
	case "OFFLINE":
		command, now = CommandOffline, 0
	default:
		return nil, fmt.Errorf("cmd %q is not MESSAGE or OFFLINE", r.Cmd)
	}
	if r.UserID <= 0 {
		return nil, fmt.Errorf("userId %d is not positive", r.UserID)
	}
	texts, err := Texts(r.Msg, r.BatchMsg)
	if err != nil {
		return nil, err
	}
	return r.appendBody(Message{Command: command, IDs: TextIDsFrom(id, len(texts)), Sent: SameTime(now, len(texts))}, texts)
}

func (r *SendMsgRequest) appendBody(m Message, texts []string) ([]byte, error) {
	for _, key := range slices.Sorted(maps.Keys(r.Properties)) {
		if key != PropertyReceiverID {
			m.Properties = append(m.Properties, Property{key, r.Properties[key]})
		}
	}
	if n := len(m.Properties) + 1; n > PropertiesMax {
		return nil, fmt.Errorf("properties come to %d with %s, want at most %d", n, PropertyReceiverID, PropertiesMax)
	}
	if len(texts) == 1 {
		m.Text = texts[0]
	} else {
		m.Batch = texts
	}
	body := AppendBody(nil, m)
	if len(body) > FrameMax-receiverMax {
		return nil, fmt.Errorf("the frame would have %d bytes, want at most %d", len(body)+receiverMax, FrameMax)
	}
	return body, nil
}

// Pages splits a page of stored texts that is too long for one frame. Routes of the
// original send such pages, which they bound by a hundred texts only. It returns
// nil for any other request.
func (r *SendMsgRequest) Pages() []SendMsgRequest {
	total := 0
	for _, text := range r.BatchMsg {
		total += len(text)
	}
	if r.Cmd != "OFFLINE" || total <= MessageBytesMax {
		return nil
	}
	var pages []SendMsgRequest
	page := *r
	size := 0
	page.BatchMsg = nil
	for _, text := range r.BatchMsg {
		if len(page.BatchMsg) > 0 && (size+len(text) > MessageBytesMax || len(page.BatchMsg) == OfflineBatchMax) {
			pages = append(pages, page)
			page.BatchMsg, size = nil, 0
		}
		page.BatchMsg, size = append(page.BatchMsg, text), size+len(text)
	}
	return append(pages, page)
}

// Texts returns the texts of msg and batchMsg of a request: if there is a batch,
// msg is ignored. An error names the member.
func Texts(msg *string, batch []string) ([]string, error) {
	if len(batch) == 0 {
		if msg == nil {
			return nil, fmt.Errorf("msg is missing")
		}
		if err := checkLength("msg", *msg); err != nil {
			return nil, err
		}
		return []string{*msg}, nil
	}
	if len(batch) > BatchMax {
		return nil, fmt.Errorf("batchMsg has %d texts, want at most %d", len(batch), BatchMax)
	}
	total := 0
	for _, text := range batch {
		if err := checkLength("batchMsg", text); err != nil {
			return nil, err
		}
		total += len(text)
	}
	if total > MessageBytesMax {
		return nil, fmt.Errorf("batchMsg has %d bytes, want at most %d", total, MessageBytesMax)
	}
	return batch, nil
}

func checkLength(member, text string) error {
	if len(text) > TextMax {
		return fmt.Errorf("%s has a text of %d bytes, want at most %d", member, len(text), TextMax)
	}
	if !utf8.ValidString(text) {
		return fmt.Errorf("%s is not valid UTF-8", member)
	}
	return nil
}

// AppendAnswer appends the answer to a request. An empty message stands for the
// code's own. body is the JSON of dataBody, "" for null.
func AppendAnswer(dst []byte, code Code, message, body string) []byte {
	if message == "" {
		message = code.Message()
	}
	if body == "" {
		body = "null"
	}
	dst = append(dst, `{"code":"`...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	dst = append(dst, `","message":`...)
	dst = AppendText(dst, message)
	dst = append(dst, `,"reqNo":null,"dataBody":`...)
	dst = append(dst, body...)
	return append(dst, '}')
}

// AppendText appends s as a JSON string. Invalid UTF-8, which a message may quote
// from a request, is replaced; the error only reports that.
func AppendText(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// Answer is a parsed answer. Members that the contract does not name are ignored.
type Answer struct {
	Code     Number         `json:"code"`
	Message  string         `json:"message"`
	DataBody jsontext.Value `json:"dataBody"`
}

// ParseAnswer parses an answer.
func ParseAnswer(body []byte) (Answer, error) {
	var a Answer
	if err := json.Unmarshal(body, &a); err != nil {
		return Answer{}, fmt.Errorf("answer: %w", err)
	}
	return a, nil
}

// UserBody is the dataBody of PathRegister and an element of PathOnlineUser's.
type UserBody struct {
	UserID   UserID `json:"userId"`
	UserName string `json:"userName"`
}

// SentBody is the dataBody of PathGroup and PathPrivate for a client of ours whose
// message was delivered or stored; no other client may get it. TextID is the id of
// the first text, in decimal, since many JSON readers have no integer of 64 bits.
// Receivers is only in the answer to a PathGroup if all servers have counted the
// sessions that have it. Outcome is the name of an Outcome, only in the answer to a
// request with a Want.
type SentBody struct {
	TextID    string `json:"textId"`
	Receivers *int   `json:"receivers,omitempty"`
	Outcome   string `json:"outcome,omitempty"`
}

// LoginBody is the dataBody of PathLogin. Ticket is only in the answer to a client
// of ours. Ack is 1 if the request's was, and all registered routes and servers
// support acknowledgements.
type LoginBody struct {
	IP            string `json:"ip"`
	CIMServerPort int    `json:"cimServerPort"`
	HTTPPort      int    `json:"httpPort"`
	Ticket        string `json:"ticket,omitempty"`
	Ack           int    `json:"ack,omitzero"`
}

// Body is Body(b) without the general encoder, since each login encodes one.
func (b LoginBody) Body() string {
	const most = 128 // enough for most host names
	dst := AppendText(append(make([]byte, 0, most), `{"ip":`...), b.IP)
	dst = strconv.AppendInt(append(dst, `,"cimServerPort":`...), int64(b.CIMServerPort), 10)
	dst = strconv.AppendInt(append(dst, `,"httpPort":`...), int64(b.HTTPPort), 10)
	if b.Ticket != "" {
		dst = AppendText(append(dst, `,"ticket":`...), b.Ticket)
	}
	if b.Ack != 0 {
		dst = strconv.AppendInt(append(dst, `,"ack":`...), int64(b.Ack), 10)
	}
	return string(append(dst, '}'))
}

// SendMsgBody is the dataBody of PathSendMsg.
type SendMsgBody struct {
	Msg string `json:"msg"`
}

// Body encodes a dataBody.
func Body(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("proto: dataBody: " + err.Error()) // our own types always encode
	}
	return string(b)
}

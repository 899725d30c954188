package proto

import (
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// Property is one entry of a frame's properties.
type Property struct{ Key, Value string }

// Message is the content of a MESSAGE or OFFLINE frame, without its receiver.
type Message struct {
	Command    Command // CommandMessage or CommandOffline
	Text       string
	Batch      []string // if not empty, the frame has these texts and not Text
	Properties []Property
	IDs        []TextID // one for each text; empty: the texts have none
	// Only for clients of our dialect:
	ToAll bool        // a group message, not for one receiver
	Sent  []UnixMilli // when each text was sent; empty: unknown
}

// MessageFrom is a message in the form of the original, with its sender in the
// properties. Several texts become a batch. id is the id of the first text, and the
// ids of the others follow it; 0: they have none.
func MessageFrom(command Command, sender User, id TextID, texts []string) Message {
	m := Message{Command: command, IDs: TextIDsFrom(id, len(texts)), Properties: []Property{
		{PropertySenderID, strconv.FormatInt(int64(sender.ID), 10)},
		{PropertySenderName, sender.Name},
	}}
	if len(texts) == 1 {
		m.Text = texts[0]
	} else {
		m.Batch = texts
	}
	return m
}

// AppendBody appends the part of m's frame that all receivers share: the frame
// without the length, the receiver's id and the receiver's property. The part for
// clients of our dialect is at its end; other clients get OriginalPart of it.
func AppendBody(dst []byte, m Message) []byte {
	begin := len(dst)
	if m.Text != "" {
		dst = appendString(dst, fieldText, m.Text)
	}
	dst = appendNumber(dst, fieldCommand, uint64(m.Command))
	for _, p := range m.Properties {
		dst = appendProperty(dst, p.Key, p.Value)
	}
	for _, text := range m.Batch {
		dst = appendString(dst, fieldBatch, text)
	}
	dst = appendTextIDs(dst, m.IDs...)
	const timeMax = 10
	if len(dst)-begin+ourPartHead+len(m.Sent)*timeMax > FrameMax-receiverMax {
		m.Sent = nil // no room for the times of so many long texts
	}
	return AppendOurPart(dst, m.ToAll, m.Sent...)
}

// ourPartHead bounds the bytes of AppendOurPart without the times.
const ourPartHead = 3 + 2 + lengthMaxBytes

// AppendOurPart appends to a body the part for clients of our dialect: whether it
// is a group message, and when its texts were sent.
func AppendOurPart(dst []byte, toAll bool, sent ...UnixMilli) []byte {
	dst = appendNumber(dst, fieldToAll, protowire.EncodeBool(toAll))
	if len(sent) == 0 {
		return dst
	}
	size := 0
	for _, at := range sent {
		size += protowire.SizeVarint(uint64(at))
	}
	dst = appendTag(dst, fieldSent, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	for _, at := range sent {
		dst = protowire.AppendVarint(dst, uint64(at))
	}
	return dst
}

// OriginalPart is the part for clients of the original of a body that AppendBody
// made or Parse accepted.
func OriginalPart(body []byte) []byte {
	for rest := body; len(rest) > 0; {
		field, kind, n := consumeTag(rest)
		if field >= fieldToAll {
			return body[: len(body)-len(rest) : len(body)-len(rest)]
		}
		rest = rest[n:]
		rest = rest[protowire.ConsumeFieldValue(field, kind, rest):]
	}
	return body
}

// appendTextIDs appends ids as one packed field, and no field if there are none.
func appendTextIDs(dst []byte, ids ...TextID) []byte {
	if len(ids) == 0 {
		return dst
	}
	dst = appendTag(dst, fieldTextIDs, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(len(ids)*textIDSize))
	for _, id := range ids {
		dst = protowire.AppendFixed64(dst, uint64(id))
	}
	return dst
}

// AppendSentBody appends the body of a private or group message with the one text
// of a SEND: AppendBody(MessageFrom(...)) without conversions to strings.
func AppendSentBody(dst []byte, sender UserID, senderName string, id TextID, text []byte) []byte {
	if len(text) > 0 {
		dst = appendTag(dst, fieldText, protowire.BytesType)
		dst = protowire.AppendBytes(dst, text)
	}
	dst = appendNumber(dst, fieldCommand, uint64(CommandMessage))
	dst = appendUserProperty(dst, PropertySenderID, sender)
	dst = appendProperty(dst, PropertySenderName, senderName)
	if id == 0 {
		return dst
	}
	return appendTextIDs(dst, id)
}

// receiverMax bounds what AppendDelivery and AppendCountedDelivery add to a body: a
// length prefix, the id field, the receiver's property and countedMark.
const receiverMax = lengthMaxBytes + 1 + 10 + 2 + 2 + len(PropertyReceiverID) + 2 + 20 + len(countedMark)

// countedMark is the ack field with the value AckVersion, at the end of a frame
// whose texts count.
const countedMark = "\xd8\x01\x01"

// Tail is the part of a delivery that depends on the receiver: its id and the
// property that names it. One Tail serves all frames to a receiver.
type Tail struct {
	bytes  [receiverMax]byte
	length int
}

// TailOf returns the tail of receiver's frames.
func TailOf(receiver UserID) (t Tail) {
	tail := appendNumber(t.bytes[:0], fieldID, uint64(receiver))
	t.length = len(appendUserProperty(tail, PropertyReceiverID, receiver))
	return t
}

// AppendDelivery appends a whole frame with body to receiver.
func AppendDelivery(dst, body []byte, receiver UserID) []byte {
	tail := TailOf(receiver)
	return AppendTailed(dst, body, &tail)
}

// AppendCountedDelivery is AppendDelivery for a frame whose texts count towards the
// acknowledgements of the receiver's session.
func AppendCountedDelivery(dst, body []byte, receiver UserID) []byte {
	tail := TailOf(receiver)
	tail.length += copy(tail.bytes[tail.length:], countedMark)
	return AppendTailed(dst, body, &tail)
}

// AppendTailed is AppendDelivery with the receiver's tail.
func AppendTailed(dst, body []byte, tail *Tail) []byte {
	dst = protowire.AppendVarint(dst, uint64(len(body)+tail.length))
	dst = append(dst, body...)
	return append(dst, tail.bytes[:tail.length]...)
}

// AppendLogin appends a login frame. A login of ours has the dialect and the
// ticket; an old client's has neither.
func AppendLogin(dst []byte, user User, dialect Dialect, ticket Ticket) []byte {
	return appendFramed(dst, func(dst []byte) []byte {
		if dialect == DialectV2 {
			return appendLoginUser(dst, user)
		}
		return appendOurLogin(dst, user, dialect, ticket)
	})
}

func appendLoginUser(dst []byte, user User) []byte {
	dst = appendString(dst, fieldText, user.Name)
	return appendNumber(dst, fieldID, uint64(user.ID))
}

func appendOurLogin(dst []byte, user User, dialect Dialect, ticket Ticket) []byte {
	dst = appendNumber(appendLoginUser(dst, user), fieldDialect, uint64(dialect))
	if ticket.IsZero() {
		return dst
	}
	dst = appendTag(dst, fieldTicket, protowire.BytesType)
	return protowire.AppendBytes(dst, ticket[:])
}

// AppendAckLogin appends a login frame of ours that asks for a session with
// acknowledged texts.
func AppendAckLogin(dst []byte, user User, ticket Ticket) []byte {
	return appendFramed(dst, func(dst []byte) []byte {
		return appendNumber(appendOurLogin(dst, user, DialectCIM, ticket), fieldAck, AckVersion)
	})
}

// LoginAnswer is the answer to the login of a client of ours: the reason of its
// refusal, or the facts of its session.
type LoginAnswer struct {
	Reason     Reason // ReasonNone: logged in
	User       UserID
	Generation Generation
	Epoch      Epoch
	Heartbeat  int  // seconds of silence after which the server closes
	Ack        bool // the session's texts are acknowledged, as its login asked
}

// AppendLoginAnswer appends a LOGIN_ANSWER frame.
func AppendLoginAnswer(dst []byte, a LoginAnswer) []byte {
	return appendFramed(dst, func(dst []byte) []byte {
		dst = appendNumber(dst, fieldID, uint64(a.User))
		dst = appendNumber(dst, fieldCommand, uint64(CommandLoginAnswer))
		dst = appendNumber(dst, fieldReason, uint64(a.Reason))
		dst = appendNumber(dst, fieldGeneration, uint64(a.Generation))
		dst = appendNumber(dst, fieldHeartbeat, uint64(a.Heartbeat))
		dst = appendNumber(dst, fieldEpoch, uint64(a.Epoch))
		return appendNumber(dst, fieldAck, AckVersion*protowire.EncodeBool(a.Ack))
	})
}

// Send is a SEND frame without its text.
type Send struct {
	ID       uint64 // chosen by the client; returned in the outcome
	Receiver UserID // 0: a group message
	// Only in a session with acknowledged texts:
	Text TextID // the sender's id for the text; 0: the server draws one
	Want Want
}

// AppendSend appends a SEND frame: a private message to receiver, or with receiver
// 0 a group message. id is chosen by the client and returned in the outcome.
func AppendSend[T string | []byte](dst []byte, id uint64, receiver UserID, text T) []byte {
	return AppendSendOf(dst, Send{ID: id, Receiver: receiver}, text)
}

// AppendSendOf is AppendSend with all fields of a SEND.
func AppendSendOf[T string | []byte](dst []byte, s Send, text T) []byte {
	const head = 1 + lengthMaxBytes + 2 + 2 + 10 + 2 + 10 + 3 + textIDSize + 4
	var buf [head]byte
	fields := appendNumber(buf[:0], fieldCommand, uint64(CommandSend))
	fields = appendNumber(fields, fieldMessageID, s.ID)
	fields = appendNumber(fields, fieldReceiver, uint64(s.Receiver))
	if s.Text != 0 {
		fields = appendTextIDs(fields, s.Text)
	}
	fields = appendNumber(fields, fieldWant, uint64(s.Want))
	fields = appendTag(fields, fieldText, protowire.BytesType)
	fields = protowire.AppendVarint(fields, uint64(len(text)))
	dst = protowire.AppendVarint(dst, uint64(len(fields)+len(text)))
	dst = append(dst, fields...)
	return append(dst, text...)
}

// AppendAck appends an ACK frame, which acknowledges the first n counted texts of
// the session.
func AppendAck(dst []byte, n uint64) []byte { return appendAck(dst, CommandAck, n) }

// AppendAckPing appends a PING that is also an ACK.
func AppendAckPing(dst []byte, n uint64) []byte { return appendAck(dst, CommandPing, n) }

func appendAck(dst []byte, command Command, n uint64) []byte {
	const head = 2 + 2 + 10
	var buf [head]byte
	fields := appendNumber(buf[:0], fieldCommand, uint64(command))
	fields = appendNumber(fields, fieldMessageID, n)
	dst = protowire.AppendVarint(dst, uint64(len(fields)))
	return append(dst, fields...)
}

// AppendOutcome appends an OUTCOME frame for the SEND with this id. text is the id
// that its receivers see, 0 if it has none. code is CodeSuccess, or the code that
// the HTTP API would have answered.
func AppendOutcome(dst []byte, id uint64, text TextID, outcome Outcome, code Code) []byte {
	return AppendGroupOutcome(dst, id, text, outcome, code, 0)
}

// AppendGroupOutcome is AppendOutcome for a group message, with the number of
// sessions that got it.
func AppendGroupOutcome(dst []byte, id uint64, text TextID, outcome Outcome, code Code, receivers Receivers) []byte {
	const most = 3 + 12 + 4 + 5 + 3 + textIDSize + 12
	var buf [most]byte
	fields := appendNumber(buf[:0], fieldCommand, uint64(CommandOutcome))
	fields = appendNumber(fields, fieldMessageID, id)
	fields = appendNumber(fields, fieldOutcome, uint64(outcome))
	fields = appendNumber(fields, fieldCode, uint64(code))
	if text != 0 {
		fields = appendTextIDs(fields, text)
	}
	if n, known := receivers.Count(); known { // 0 is written too
		fields = appendTag(fields, fieldReceivers, protowire.VarintType)
		fields = protowire.AppendVarint(fields, uint64(n))
	}
	dst = protowire.AppendVarint(dst, uint64(len(fields)))
	return append(dst, fields...)
}

// AppendGap appends a GAP frame: that many texts of group messages were left out
// for the session at this point, since its client read too slowly.
func AppendGap(dst []byte, leftOut uint64) []byte {
	const head = 3 + 3 + 10
	var buf [head]byte
	fields := appendNumber(buf[:0], fieldCommand, uint64(CommandGap))
	fields = appendNumber(fields, fieldLeftOut, leftOut)
	dst = protowire.AppendVarint(dst, uint64(len(fields)))
	return append(dst, fields...)
}

// AppendClose appends a CLOSE frame, the last one of a connection.
func AppendClose(dst []byte, reason Reason) []byte {
	return appendReason(dst, CommandClose, reason)
}

// AppendMove appends a MOVE frame: it asks the client to log in again, at another
// server, before this one closes.
func AppendMove(dst []byte, reason Reason) []byte {
	return appendReason(dst, CommandMove, reason)
}

func appendReason(dst []byte, command Command, reason Reason) []byte {
	return appendFramed(dst, func(dst []byte) []byte {
		dst = appendNumber(dst, fieldCommand, uint64(command))
		return appendNumber(dst, fieldReason, uint64(reason))
	})
}

// appendFramed puts a length in front of the fields. It is for login and end
// frames; those of the delivery path know their length.
func appendFramed(dst []byte, fields func([]byte) []byte) []byte {
	frame := fields(make([]byte, 0, 128))
	dst = protowire.AppendVarint(dst, uint64(len(frame)))
	return append(dst, frame...)
}

// appendNumber omits a zero, since an absent field means zero.
func appendNumber(dst []byte, field protowire.Number, value uint64) []byte {
	if value == 0 {
		return dst
	}
	dst = appendTag(dst, field, protowire.VarintType)
	return protowire.AppendVarint(dst, value)
}

func appendString(dst []byte, field protowire.Number, s string) []byte {
	dst = appendTag(dst, field, protowire.BytesType)
	return protowire.AppendString(dst, s)
}

func appendProperty(dst []byte, key, value string) []byte {
	size := 1 + protowire.SizeBytes(len(key)) + 1 + protowire.SizeBytes(len(value))
	dst = appendTag(dst, fieldProperties, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = appendString(dst, propertyKey, key)
	return appendString(dst, propertyValue, value)
}

func appendUserProperty(dst []byte, key string, user UserID) []byte {
	var digits [20]byte
	value := strconv.AppendInt(digits[:0], int64(user), 10)
	size := 1 + protowire.SizeBytes(len(key)) + 1 + protowire.SizeBytes(len(value))
	dst = appendTag(dst, fieldProperties, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = appendString(dst, propertyKey, key)
	dst = appendTag(dst, propertyValue, protowire.BytesType)
	return protowire.AppendBytes(dst, value)
}

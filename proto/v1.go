package proto

import "google.golang.org/protobuf/encoding/protowire"

// Commands of dialect v1, in its field "type": each is one more than v2's.
const (
	CommandV1Login   Command = 1
	CommandV1Message Command = 2
	CommandV1Ping    Command = 3
)

// PongV1 is the whole answer to a PING of dialect v1. All three fields are required
// there, so the id 0 is written.
const PongV1 = "\x0a\x0a\x04pong\x10\x00\x18\x03"

// IsV1Login reports whether v, the first frame of a connection, is a login of
// dialect v1: in a login, v2 writes no command, and our dialect names itself.
func (v *View) IsV1Login() bool { return v.Command == CommandV1Login && v.Dialect == 0 }

// LoginDialect is the dialect of v, a login of a known dialect.
func (v *View) LoginDialect() Dialect {
	if v.IsV1Login() {
		return DialectV1
	}
	return Dialect(v.Dialect)
}

// v1Separator is between the sender's name and the text.
const v1Separator = ":"

// AppendV1Login appends a login frame of dialect v1.
func AppendV1Login(dst []byte, user User) []byte {
	return appendV1(dst, "", []byte(user.Name), user.ID, CommandV1Login)
}

// AppendV1Ping appends a heartbeat of dialect v1.
func AppendV1Ping(dst []byte, user UserID) []byte {
	return appendV1(dst, "", []byte("ping"), user, CommandV1Ping)
}

// The article's clients hand each frame to a small pool of threads and silently
// drop a frame that finds it full; 1.0.5 drops its connection too. The pool has
// room for two frames at work and two that wait.
const (
	// v1SinglesMax is how many texts of a live batch are sent as a frame each, and
	// v1PageSinglesMax how many of a page, which is paced. More texts are joined,
	// one line for each: on a terminal both look the same.
	v1SinglesMax     = 4
	v1PageSinglesMax = 10
	// v1JoinedMax bounds a frame of joined texts, in bytes; a longer text has a
	// frame of its own.
	v1JoinedMax = 8 << 10
	// v1PageLines is the number of lines in a frame of a page.
	v1PageLines = 8
)

// AppendV1Delivery appends the frames for body, which AppendBody made, to a
// receiver of dialect v1, all at once: one for each text, prefixed with the
// sender's name if the body has one; more than four texts become lines in as few
// frames as possible. It returns the number of frames.
func AppendV1Delivery(dst, body []byte, receiver UserID) (frames []byte, count int) {
	v, sender := viewV1(body)
	if v.Texts() > v1SinglesMax {
		return appendV1Joined(dst, &v, sender, receiver, v.Texts())
	}
	return appendV1Singles(dst, &v, sender, receiver)
}

// AppendV1Page is AppendV1Delivery for texts that are paced: up to ten have a frame
// each; of more, each frame has eight.
func AppendV1Page(dst, body []byte, receiver UserID) (frames []byte, count int) {
	v, sender := viewV1(body)
	if v.Texts() > v1PageSinglesMax {
		return appendV1Joined(dst, &v, sender, receiver, v1PageLines)
	}
	return appendV1Singles(dst, &v, sender, receiver)
}

// viewV1 parses a body, and returns the prefix of its texts.
func viewV1(body []byte) (v View, sender string) {
	if reason := v.Parse(body); reason != ReasonNone {
		panic("proto: a body of ours is " + reason.String())
	}
	if name := v.Property(PropertySenderName); len(name) > 0 {
		sender = string(name) + v1Separator
	}
	return v, sender
}

func appendV1Singles(dst []byte, v *View, sender string, receiver UserID) (frames []byte, count int) {
	v.EachText(func(text []byte) {
		dst = appendV1(dst, sender, text, receiver, CommandV1Message)
		count++
	})
	return dst, count
}

// appendV1Joined appends the texts of a body as lines, at most most to a frame.
func appendV1Joined(dst []byte, v *View, sender string, receiver UserID, most int) (frames []byte, count int) {
	var lines []byte
	inFrame := 0
	flush := func() {
		dst = appendV1(dst, "", lines, receiver, CommandV1Message)
		lines, inFrame = lines[:0], 0
		count++
	}
	v.EachText(func(text []byte) {
		if inFrame == most || inFrame > 0 && len(lines)+1+len(sender)+len(text) > v1JoinedMax {
			flush()
		}
		if inFrame > 0 {
			lines = append(lines, '\n')
		}
		lines = append(append(lines, sender...), text...)
		inFrame++
	})
	flush()
	return dst, count
}

// appendV1 appends a whole frame with all fields written.
func appendV1(dst []byte, sender string, text []byte, id UserID, command Command) []byte {
	length := len(sender) + len(text)
	size := 1 + protowire.SizeBytes(length) + 1 + protowire.SizeVarint(uint64(id)) + 1 + protowire.SizeVarint(uint64(command))
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = appendTag(dst, fieldText, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(length))
	dst = append(dst, sender...)
	dst = append(dst, text...)
	dst = appendTag(dst, fieldID, protowire.VarintType)
	dst = protowire.AppendVarint(dst, uint64(id))
	dst = appendTag(dst, fieldCommand, protowire.VarintType)
	return protowire.AppendVarint(dst, uint64(command))
}

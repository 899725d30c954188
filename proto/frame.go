package proto

import (
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// lengthMaxBytes is the longest varint32 length prefix. Netty's
// ProtobufVarint32FrameDecoder, which the original uses, accepts no longer one.
const lengthMaxBytes = 5

// NextFrame splits the first frame off a stream. frame aliases buf and is nil while
// the frame is incomplete; size is the number of bytes of buf that it takes with
// its prefix, or will take when it is complete (0 while its prefix is incomplete).
// Any reason but ReasonNone means that the connection must end: the prefix is not a
// varint32, or it announces more than max bytes. A frame of length 0 is complete
// and not nil.
func NextFrame(buf []byte, max int) (frame []byte, size int, reason Reason) {
	length, prefix := uint64(0), 0
	for prefix < len(buf) {
		b := buf[prefix]
		length |= uint64(b&0x7f) << (7 * prefix)
		prefix++
		if b < 0x80 {
			return cutFrame(buf, prefix, length, max)
		}
		if prefix == lengthMaxBytes {
			return nil, 0, ReasonMalformed
		}
	}
	return nil, 0, ReasonNone
}

func cutFrame(buf []byte, prefix int, length uint64, max int) ([]byte, int, Reason) {
	if length > uint64(max) {
		return nil, 0, ReasonFrameTooLarge
	}
	size := prefix + int(length)
	if size > len(buf) {
		return nil, size, ReasonNone
	}
	return buf[prefix:size:size], size, ReasonNone
}

// Fields of a frame. 1 to 5 are the contract's; ours begin at 16, and old clients
// skip them.
const (
	fieldText       = 1
	fieldID         = 2
	fieldCommand    = 3
	fieldProperties = 4
	fieldBatch      = 5

	fieldDialect    = 16
	fieldTicket     = 17
	fieldMessageID  = 18
	fieldReceiver   = 19
	fieldOutcome    = 20
	fieldReason     = 21
	fieldGeneration = 22
	fieldHeartbeat  = 23
	fieldEpoch      = 24
	fieldCode       = 25
	fieldTextIDs    = 26
	fieldAck        = 27
	fieldWant       = 28
	fieldToAll      = 29
	fieldSent       = 30
	fieldReceivers  = 31
	fieldLeftOut    = 32

	propertyKey   = 1
	propertyValue = 2
)

// Keys of the properties that the contract names.
const (
	PropertySenderID   = "sendUserId"
	PropertySenderName = "sendUserName"
	PropertyReceiverID = "receiveUserId"
)

// Command is the kind of a frame.
type Command uint32

// The contract has commands 0 to 3, and plans for 4 and 5. Ours begin at 16, and
// are sent only to clients whose login named our dialect.
const (
	CommandLogin   Command = 0
	CommandMessage Command = 1
	CommandPing    Command = 2
	CommandOffline Command = 3

	CommandLoginAnswer Command = 16
	CommandSend        Command = 17
	CommandOutcome     Command = 18
	CommandClose       Command = 19
	CommandMove        Command = 20
	CommandAck         Command = 21 // only in a session whose login asked for acknowledgements, as is a PING that acknowledges
	CommandGap         Command = 22
)

// Dialect is the protocol variant of a connection; its first frame decides it.
type Dialect uint8

// DialectV2 is the original's of today. DialectCIM is ours, and its number is the
// value of the dialect field in a login frame. DialectV1 is the original's first
// one, of its founding article, recognised by a first frame of CommandV1Login; its
// number never travels.
const (
	DialectV2  Dialect = 0
	DialectCIM Dialect = 1
	DialectV1  Dialect = 2
)

// String is the dialect's name.
func (d Dialect) String() string {
	switch d {
	case DialectV2:
		return "v2"
	case DialectCIM:
		return "cim"
	case DialectV1:
		return "v1"
	}
	return "dialect_" + strconv.Itoa(int(d))
}

// Pong is the whole answer to a PING, in v2 and our dialect: the text "pong", the
// command PING, and the id 0, which the wire omits.
const Pong = "\x08\x0a\x04pong\x18\x02"

// AckVersion is the value of the ack field. In a login it asks for a session with
// acknowledged texts, and the answer repeats it if the server grants that. In a
// MESSAGE or OFFLINE it means that the frame's texts count.
const AckVersion = 1

// Ping is a client's whole heartbeat, without an id.
const Ping = "\x08\x0a\x04ping\x18\x02"

func appendTag(dst []byte, field protowire.Number, kind protowire.Type) []byte {
	return protowire.AppendTag(dst, field, kind)
}

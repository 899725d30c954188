package embedded

import (
	"encoding/binary"
	"fmt"
	"time"

	"cim/proto"
	"cim/store"
)

// The file has these bbolt buckets. Numbers in them are big endian, so that
// keys sort as numbers do.
//
//	format    "version" -> formatVersion u32, or formatVersionClosed
//	          "journal" -> salt u64 of the journal's batches that are not here
//	          yet; not in a file that was closed
//	accounts  id u64 -> name; its sequence is the largest id given so far
//	names     name -> id u64
//	refused   id u64 -> i64 (Unix ms): the account's tokens that were issued
//	          before are refused. Programs of before neither make nor read it,
//	          so it is no other format
//	offline   receiver u64 · serial u64 -> stored i64 (Unix ms) · sender u64 ·
//	          id of the text u64 · length of the sender's name u16, with
//	          sentBit from format 3 on · when it was sent i64 (Unix ms), only with
//	          sentBit · the sender's name · text;
//	          its sequence is the last serial given, one count for all boxes
var (
	formatBucket   = []byte("format")
	accountsBucket = []byte("accounts")
	namesBucket    = []byte("names")
	refusedBucket  = []byte("refused")
	offlineBucket  = []byte("offline")
	versionKey     = []byte("version")
	journalKey     = []byte("journal")
)

// formatVersion is what this program writes. It grows when programs of before
// could not read what is written. A file from formatVersionRead on is read as
// it is, and becomes one of formatVersion. Once it is closed it lacks nothing that
// the journal has, and is one of formatVersionClosed.
const (
	formatVersion       = 4
	formatVersionClosed = 3
	formatVersionRead   = 2
)

// sentBit in the length of a sender's name says that the time of sending is
// there. No name is as long.
const sentBit = 1 << 15

const (
	idSize          = 8
	messageKeySize  = idSize + 8
	messageHeadSize = 8 + idSize + 8 + 2
	sentSize        = 8
)

var be = binary.BigEndian

func idKey(id proto.UserID) []byte { return be.AppendUint64(nil, uint64(id)) }

func idOf(b []byte) proto.UserID { return proto.UserID(be.Uint64(b)) }

func messageKey(receiver proto.UserID, serial uint64) []byte {
	return be.AppendUint64(idKey(receiver), serial)
}

func messageKeyOf(key []byte) (receiver proto.UserID, serial uint64) {
	return idOf(key), be.Uint64(key[idSize:])
}

func messageValue(storedMs int64, text store.Returned) []byte {
	value := make([]byte, 0, messageHeadSize+sentSize+len(text.Sender.Name)+len(text.Text))
	value = be.AppendUint64(value, uint64(storedMs))
	value = be.AppendUint64(value, uint64(text.Sender.ID))
	value = be.AppendUint64(value, uint64(text.ID))
	value = be.AppendUint16(value, uint16(len(text.Sender.Name))|sentBit)
	value = be.AppendUint64(value, uint64(text.Sent))
	value = append(value, text.Sender.Name...)
	return append(value, text.Text...)
}

// messageView is a stored message in place: its bytes belong to a transaction.
type messageView struct {
	receiver   proto.UserID
	serial     uint64
	storedMs   int64
	sent       proto.UnixMilli // 0: it is not there
	sender     proto.UserID
	id         proto.TextID
	senderName []byte
	text       []byte
}

// viewMessage reads an entry of the offline bucket. An error is a damaged file.
func viewMessage(key, value []byte) (messageView, error) {
	if len(key) != messageKeySize || len(value) < messageHeadSize {
		return messageView{}, fmt.Errorf("damaged: offline key of %d bytes, value of %d", len(key), len(value))
	}
	length, rest, sent := be.Uint16(value[24:]), value[messageHeadSize:], proto.UnixMilli(0)
	if length&sentBit != 0 {
		if len(rest) < sentSize {
			return messageView{}, fmt.Errorf("damaged: offline value of %d bytes without its time", len(value))
		}
		sent, rest = proto.UnixMilli(be.Uint64(rest)), rest[sentSize:]
	}
	nameLen := int(length &^ sentBit)
	if nameLen > len(rest) {
		return messageView{}, fmt.Errorf("damaged: offline value of %d bytes, name of %d", len(value), nameLen)
	}
	receiver, serial := messageKeyOf(key)
	return messageView{
		receiver: receiver, serial: serial,
		storedMs: int64(be.Uint64(value)), sent: sent, sender: idOf(value[8:]), id: proto.TextID(be.Uint64(value[16:])),
		senderName: rest[:nameLen], text: rest[nameLen:],
	}, nil
}

// usage is what v takes of its box.
func (v messageView) usage() store.Usage { return store.Usage{Texts: 1, Bytes: len(v.text)} }

// message copies v out of its transaction.
func (v messageView) message() store.OfflineMessage {
	return store.OfflineMessage{
		Serial: v.serial,
		Sender: proto.User{ID: v.sender, Name: string(v.senderName)},
		Text:   string(v.text),
		ID:     v.id,
		Stored: time.UnixMilli(v.storedMs),
		Sent:   v.sent,
	}
}

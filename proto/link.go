package proto

import (
	"encoding/binary"
	"strconv"
)

// RecordKind is the kind of a record of a link.
type RecordKind uint8

// Records from a route to a server. Each but RecordOutcome, RecordChecked,
// RecordEcho and RecordResync is answered by one RecordAnswer with its id, in any
// order.
const (
	// RecordPush delivers Body to the session of User if its generation is
	// Generation. With FlagOffline it is a page of a catch-up: a held session takes
	// it too, and it is answered when its bytes have left the process; Value is
	// then the serial of its last text, after which the next page of this
	// generation begins. Otherwise Value is the number of the RecordReceipt that
	// the route wants, 0 for none.
	RecordPush RecordKind = 1
	// RecordBroadcast delivers Body to every session except those of User. The
	// answer's value is a Receivers.
	RecordBroadcast RecordKind = 2
	// RecordGrant has the server expect User, called Name, with Generation; Body is
	// a Grant, whose ticket FlagDemandTicket demands. Value is the epoch of a
	// server that may have an older session of User, or 0: the server sends it to
	// the routes as RecordOvertaken. That server did not answer the route, or with
	// FlagMove its session goes on until the new one has begun.
	RecordGrant RecordKind = 3
	// RecordRevoke ends the session or grant of User up to Generation, as far as
	// Value, a RevokeMode, allows; Body is a ticket or empty.
	RecordRevoke RecordKind = 4
	// RecordHold makes the session of User refuse live private messages with
	// VerdictBehind, until a RecordResume. The answer's value is the session's
	// count of holds; its Text and Body are those of a RecordUp.
	RecordHold RecordKind = 5
	// RecordResume ends the hold if the session's count of holds is still Value.
	// The answer's Text and Body are those of a RecordUp.
	RecordResume RecordKind = 6
	// RecordOutcome answers the RecordSend with its id: Value is the Outcome and
	// Code the code. Generation is a Receivers for a group message.
	RecordOutcome RecordKind = 7
	// RecordChecked answers the RecordSessions with its id: the next one may be
	// sent.
	RecordChecked RecordKind = 8
	// RecordConfirm confirms that the route considers the server alive, and asks
	// whether it works. The link's reader answers at once: VerdictTaken, or
	// VerdictRefused while an event loop stands still, since the server keeps its
	// sessions and cannot serve some of them.
	RecordConfirm RecordKind = 9
	// RecordEcho answers the RecordPaused with its id, after everything that was
	// sent before.
	RecordEcho RecordKind = 10
	// RecordResync asks the server to send all its sessions again: the store may
	// have lost some of their records.
	RecordResync RecordKind = 11
	// RecordReturned answers the RecordReturn with its id: VerdictTaken if all its
	// texts are in the box. VerdictBusy: the store is away, ask again later.
	// VerdictRefused: the box's reserve for returned texts is full.
	RecordReturned RecordKind = 12
	// RecordReturning asks whether a session of User up to Generation still returns
	// texts. The RecordAnswer is VerdictTaken if one does, VerdictAbsent if none
	// does.
	RecordReturning RecordKind = 13
	// RecordJoin adds a login to the RecordGrant of User and Generation that no
	// client has used yet: both are expected, each with its own ticket, and the
	// first that connects has the session. Flags and Body are as in RecordGrant.
	// The answer is VerdictTaken, with a Value for JoinedTicket; VerdictLives if
	// the client has connected; VerdictAbsent if there is no such grant.
	RecordJoin RecordKind = 14
)

// Records from a server to a route.
const (
	// RecordAnswer answers the record with its id by Verdict and Value.
	RecordAnswer RecordKind = 16
	// RecordSend is a SEND that the server could not deliver itself: User, called
	// Name, sends Body (a text) to the user Value, or with Value 0 to all users.
	// Text is the text's id. Generation is the UnixMilli at which the SEND came; an
	// older server leaves it 0. FlagWantReceived and FlagWantStored are the
	// sender's want.
	RecordSend RecordKind = 17
	// RecordUp reports that User's session of Generation has begun, held, with the
	// count of holds Value: its catch-up is due. Text is the highest serial of a
	// page that was pushed to it in this generation, 0 for none. Body is the epoch
	// of the server whose older session of User may still be returning texts (see
	// AppendEpoch), or empty.
	RecordUp RecordKind = 18
	// RecordDown reports that User's session or grant of Generation has ended.
	RecordDown RecordKind = 19
	// RecordSessions lists sessions of the server, in chunks, when a link has come
	// up or a resync is due: Body is made by AppendSession, up to SessionsMax of
	// them. One is under way at a time: after a RecordChecked with its id the next
	// is sent.
	RecordSessions RecordKind = 20
	// RecordPaused reports that the process of the server stood still. The server
	// refuses what the route has sent before it answers with a RecordEcho of this
	// id, since the route may have given it up long ago. It carries out only holds
	// and revokes, which do no harm when they are late.
	RecordPaused RecordKind = 21
	// RecordLeaving reports that the server goes down: it refuses grants, and
	// leaves the registry. Its link stays until its sessions have gone.
	RecordLeaving RecordKind = 22
	// RecordOvertaken reports a RecordGrant of Generation with an older server:
	// User may have an older session at the server of epoch Value.
	RecordOvertaken RecordKind = 23
	// RecordReceipt answers the wanted receipt ID of a RecordPush: Value is
	// OutcomeReceived, or OutcomeStored if its texts are in the box, or
	// OutcomeDelivered if the session does not acknowledge.
	RecordReceipt RecordKind = 24
	// RecordReturn asks the route to put texts into User's box, in this order, all
	// or none: the unacknowledged texts that User's session of Generation kept.
	// Body is made by AppendReturned.
	RecordReturn RecordKind = 25
	// RecordAcked reports acknowledged stored texts: the route removes them from
	// User's box. Body is made by AppendTextKeys. It is not answered; if it is
	// lost, the texts come a second time and are recognised.
	RecordAcked RecordKind = 26
)

// Flags of a record.
const (
	FlagOffline      uint8 = 1 << 0
	FlagDemandTicket uint8 = 1 << 1
	FlagMove         uint8 = 1 << 2
	FlagWantReceived uint8 = 1 << 3
	FlagWantStored   uint8 = 1 << 4
	// FlagStored: the texts of a live push are in the box already.
	FlagStored uint8 = 1 << 5
	// FlagAck, in a RecordUp and in the answer to a RecordHold or a RecordResume:
	// the server has texts of pages that have ids removed from the box by
	// RecordAcked, once the client has acknowledged them, or is known to have read
	// them.
	FlagAck uint8 = 1 << 6
	// FlagFull says of the answer to a RecordHold that the session has no room for a
	// page of a catch-up. The server sends a RecordUp once it has, if the session is
	// still held then.
	FlagFull uint8 = 1 << 7
)

// WantFlags is w as flags of a RecordSend.
func WantFlags(w Want) uint8 {
	switch w {
	case WantReceived:
		return FlagWantReceived
	case WantStored:
		return FlagWantStored
	}
	return 0
}

// WantOf is the want in the flags of a RecordSend.
func WantOf(flags uint8) Want {
	switch {
	case flags&FlagWantStored != 0:
		return WantStored
	case flags&FlagWantReceived != 0:
		return WantReceived
	}
	return WantTaken
}

// RevokeMode says which sessions a RecordRevoke may end. It ends grants in every
// mode, except those that RevokeGone and RevokeGoodbye spare.
type RevokeMode uint64

// The modes. If a living session may not be ended, the answer is VerdictLives.
const (
	RevokeGrant   RevokeMode = 0 // no living session
	RevokeTicket  RevokeMode = 1 // a session of ours whose ticket Body is
	RevokeReplace RevokeMode = 2 // any session of ours: the newest login wins
	RevokeGoodbye RevokeMode = 3 // an old client's session, or one of ours whose ticket Body is
	// RevokeSuperseded ends any session: a newer login exists elsewhere, or the
	// user has said goodbye.
	RevokeSuperseded RevokeMode = 4
	// RevokeMove holds a session of ours whose ticket Body is, and does not end it:
	// its client moves, and the session goes on until the new one begins.
	RevokeMove RevokeMode = 5
	// RevokeGone ends no living session, as RevokeGrant. RevokeGone and
	// RevokeGoodbye spare a grant with a login of ours if the last one is younger
	// than 2 s, unless Body is the ticket of its only login: then the answer is
	// VerdictLives.
	RevokeGone RevokeMode = 6
)

// Verdict is a server's answer to a record.
type Verdict uint8

// The verdicts.
const (
	VerdictTaken   Verdict = 1 // done; a push: written, or in the session's bounded buffer, in order
	VerdictAbsent  Verdict = 2 // the user has no session or grant here
	VerdictStale   Verdict = 3 // the user is here with another generation
	VerdictBehind  Verdict = 4 // the session is held: store the message for its catch-up
	VerdictBusy    Verdict = 5 // a bound is reached; nothing was kept
	VerdictLives   Verdict = 6 // the session lives and may not be ended
	VerdictRefused Verdict = 7 // the server takes no grant: it is full or going down
	// VerdictReturning: kept texts of the session are on their way to the box. Ask
	// again soon; a message that is stored before they arrive comes before them.
	VerdictReturning Verdict = 8
	// VerdictUnknown: the message may arrive or not, the login may stand or not.
	// Only the link to a guest uses it, which never leaves a process.
	VerdictUnknown Verdict = 9
)

var verdictNames = [...]string{
	VerdictTaken: "taken", VerdictAbsent: "absent", VerdictStale: "stale",
	VerdictBehind: "behind", VerdictBusy: "busy", VerdictLives: "lives", VerdictRefused: "refused",
	VerdictReturning: "returning", VerdictUnknown: "unknown",
}

// String is the verdict's name in metrics.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) && verdictNames[v] != "" {
		return verdictNames[v]
	}
	return "verdict_" + strconv.Itoa(int(v))
}

// Record is one item of a link's stream. Every kind has the same layout, all
// numbers little endian:
//
//	length u32 (of what follows) · kind u8 · flags u8 · verdict u8 · 0 u8 ·
//	code u16 · name length u16 · id u64 · user i64 · generation u64 ·
//	value u64 · text u64 · name · body
//
// Of a record that ParseRecord returned, Name and Body alias the stream's
// bytes.
type Record struct {
	Kind       RecordKind
	Flags      uint8
	Verdict    Verdict
	Code       Code
	ID         uint64
	User       UserID
	Generation Generation
	Value      uint64
	Text       TextID
	Name       []byte
	Body       []byte
}

const (
	recordPrefix = 4
	recordHead   = 48
	// RecordNameMax bounds a record's name in bytes.
	RecordNameMax = UserNameMax * 4
	// RecordMax bounds a record, its length included.
	RecordMax = recordPrefix + recordHead + RecordNameMax + FrameMax
)

// RecordSize is the length of r on the wire.
func RecordSize(r *Record) int { return recordPrefix + recordHead + len(r.Name) + len(r.Body) }

// AppendRecord appends r. A name beyond RecordNameMax or a body beyond FrameMax is
// our own bug, and panics.
func AppendRecord(dst []byte, r *Record) []byte {
	if len(r.Name) > RecordNameMax || len(r.Body) > FrameMax {
		panic("proto: record of kind " + strconv.Itoa(int(r.Kind)) + " beyond its bound")
	}
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(recordHead+len(r.Name)+len(r.Body)))
	dst = append(dst, byte(r.Kind), r.Flags, byte(r.Verdict), 0)
	dst = le.AppendUint16(dst, uint16(r.Code))
	dst = le.AppendUint16(dst, uint16(len(r.Name)))
	dst = le.AppendUint64(dst, r.ID)
	dst = le.AppendUint64(dst, uint64(r.User))
	dst = le.AppendUint64(dst, uint64(r.Generation))
	dst = le.AppendUint64(dst, r.Value)
	dst = le.AppendUint64(dst, uint64(r.Text))
	dst = append(dst, r.Name...)
	return append(dst, r.Body...)
}

// ParseRecord parses the first record of buf into r and returns its size, or 0
// while it is incomplete. An error ends the link.
func ParseRecord(buf []byte, r *Record) (size int, err error) {
	if len(buf) < recordPrefix {
		return 0, nil
	}
	le := binary.LittleEndian
	length := le.Uint32(buf)
	if length < recordHead || length > RecordMax-recordPrefix {
		return 0, recordError("length", uint64(length))
	}
	size = recordPrefix + int(length)
	if len(buf) < size {
		return 0, nil
	}
	b := buf[recordPrefix:size:size]
	nameLen := int(le.Uint16(b[6:]))
	if nameLen > RecordNameMax || recordHead+nameLen > len(b) {
		return 0, recordError("name length", uint64(nameLen))
	}
	*r = Record{
		Kind: RecordKind(b[0]), Flags: b[1], Verdict: Verdict(b[2]), Code: Code(le.Uint16(b[4:])),
		ID: le.Uint64(b[8:]), User: UserID(le.Uint64(b[16:])),
		Generation: Generation(le.Uint64(b[24:])), Value: le.Uint64(b[32:]), Text: TextID(le.Uint64(b[40:])),
		Name: b[recordHead : recordHead+nameLen], Body: b[recordHead+nameLen:],
	}
	if len(r.Body) > FrameMax {
		return 0, recordError("body length", uint64(len(r.Body)))
	}
	return size, nil
}

func recordError(what string, value uint64) error {
	return &LinkError{What: what, Value: value}
}

// LinkError is invalid data on a link: the peer is no cim process of this version.
type LinkError struct {
	What  string
	Value uint64
}

func (e *LinkError) Error() string {
	return "link record: " + e.What + " " + strconv.FormatUint(e.Value, 10) + " is out of bounds"
}

// Session is a living session of a user, in a RecordSessions.
type Session struct {
	User       UserID
	Generation Generation
}

// SessionsMax bounds the sessions of one RecordSessions: a chunk of 16 KiB.
const SessionsMax = 1024

const sessionSize = 16

// AppendSession appends s to the body of a RecordSessions: user i64 and
// generation u64, little endian.
func AppendSession(dst []byte, s Session) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.User))
	return binary.LittleEndian.AppendUint64(dst, uint64(s.Generation))
}

// ParseSessions parses the body of a RecordSessions. An error ends the link.
func ParseSessions(body []byte) ([]Session, error) {
	if len(body)%sessionSize != 0 || len(body) > SessionsMax*sessionSize {
		return nil, recordError("length of sessions", uint64(len(body)))
	}
	sessions := make([]Session, 0, len(body)/sessionSize)
	for ; len(body) > 0; body = body[sessionSize:] {
		sessions = append(sessions, Session{
			User:       UserID(binary.LittleEndian.Uint64(body)),
			Generation: Generation(binary.LittleEndian.Uint64(body[8:])),
		})
	}
	return sessions, nil
}

package e2e

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	protobuf "google.golang.org/protobuf/proto"

	"cim/proto"
	"cim/proto/cimpb"
)

// delivery is one text that a client received.
type delivery struct {
	From    proto.User
	Text    string
	Offline bool // it came in an OFFLINE frame
}

// heard is all that a session has received so far.
type heard struct {
	deliveries []delivery
	frames     [][]byte        // of dialect v1 only: all that came, without their lengths
	pages      []int           // texts of each OFFLINE frame
	fences     map[string]bool // texts of the usher
	pongs      int
	answer     *cimpb.Frame            // LOGIN_ANSWER
	outcomes   map[uint64]*cimpb.Frame // of SENDs, by message_id
	closes     []proto.Reason          // CLOSE frames
	ended      bool                    // the server has ended the connection
	faults     []error                 // what the client could not have read
}

// session is one connection of a user, and all that came over it.
type session struct {
	user   *user
	ours   bool
	conn   net.Conn
	cut    bool // its last frame may be cut: it is a slow reader's
	reader sync.WaitGroup

	mu      sync.Mutex
	heard   heard
	changed chan struct{} // closed and made anew whenever heard changes
	sent    uint64        // SENDs so far
}

// dial opens a connection that is read from now on; the test's end closes it,
// and demands that all that came could be read.
func (u *user) dial(address string) (*session, error) {
	s, err := u.dialSilent(address)
	if err == nil {
		s.listen()
	}
	return s, err
}

// dialSilent opens a connection that is not read before listen.
func (u *user) dialSilent(address string) (*session, error) {
	conn, err := net.DialTimeout("tcp", address, waitMax)
	if err != nil {
		return nil, err
	}
	s := &session{
		user: u, ours: u.ours, conn: conn, changed: make(chan struct{}),
		heard: heard{fences: map[string]bool{}, outcomes: map[uint64]*cimpb.Frame{}},
	}
	u.system.t.Cleanup(s.cleanUp)
	return s, nil
}

func (s *session) listen() { s.reader.Go(s.read) }

// connect dials and logs in. A client of ours waits for its answer, which must
// be well; the original's has none to wait for.
func (u *user) connect(at place) (*session, error) {
	s, err := u.dial(at.address)
	if err != nil {
		return nil, err
	}
	if err := s.write(u.loginFrame(at.ticket)); err != nil {
		return nil, err
	}
	if !u.ours {
		return s, nil
	}
	answered := s.wait(waitMax, func(h *heard) bool { return h.answer != nil })
	if reason := s.refusal(); !answered || reason != proto.ReasonNone {
		return nil, fmt.Errorf("login of %s at %s: %s (answered %t)", u.Name, at.address, reason, answered)
	}
	u.ticket = at.ticket
	return s, nil
}

// loginFrame is u's login with a ticket in hexadecimal, "" for none.
func (u *user) loginFrame(ticket string) []byte {
	frame := &cimpb.Frame{Id: int64(u.ID), Text: u.Name}
	if u.v1 {
		frame.Cmd = v1Login
	}
	if u.ours {
		frame.Dialect = uint32(proto.DialectCIM)
		frame.Ticket, _ = hex.DecodeString(ticket) // tests show wrong ones too
	}
	return framed(frame)
}

// framed is a frame with its length.
func framed(frame *cimpb.Frame) []byte {
	b, err := protobuf.Marshal(frame)
	if err != nil {
		panic("e2e: a frame of ours does not encode: " + err.Error())
	}
	return append(protowire.AppendVarint(nil, uint64(len(b))), b...)
}

func (s *session) write(b []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(waitMax)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}

// read hears everything until the connection ends.
func (s *session) read() {
	in := bufio.NewReaderSize(s.conn, 64<<10)
	for {
		raw, err := readFrame(in)
		s.mu.Lock()
		if err != nil {
			s.heard.ended = true
			if !ends(err) && !(s.cut && errors.Is(err, io.ErrUnexpectedEOF)) {
				s.heard.faults = append(s.heard.faults, err)
			}
		} else if err := s.hearRaw(raw); err != nil {
			s.heard.faults = append(s.heard.faults, fmt.Errorf("frame %x: %w", raw, err))
		}
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// ends reports whether err is how a connection may end between two frames.
func ends(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, syscall.ECONNRESET)
}

// readFrame reads a frame, without its length.
func readFrame(in *bufio.Reader) ([]byte, error) {
	size, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, err
	}
	if size > frameMax {
		return nil, fmt.Errorf("a frame of %d bytes", size)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(in, b); err != nil {
		return nil, err // io.ErrUnexpectedEOF is a fault: the frame was cut
	}
	return b, nil
}

// hearRaw takes one frame of the user's dialect.
func (s *session) hearRaw(raw []byte) error {
	if s.user.v1 {
		return s.hearV1(raw)
	}
	frame := new(cimpb.Frame)
	if err := protobuf.Unmarshal(raw, frame); err != nil {
		return err
	}
	return s.hear(frame)
}

// hear takes one frame. The error is what would have broken the client.
func (s *session) hear(frame *cimpb.Frame) error {
	h := &s.heard
	switch cmd := frame.GetCmd(); {
	case cmd == cimpb.Command_PING:
		h.pongs++
		if frame.GetText() != "pong" || frame.GetId() != 0 {
			return errors.New("is no pong")
		}
		return nil
	case cmd == cimpb.Command_MESSAGE, cmd == cimpb.Command_OFFLINE, !s.ours:
		return s.hearMessage(frame)
	case cmd == cimpb.Command_LOGIN_ANSWER && h.answer == nil:
		h.answer = frame
	case cmd == cimpb.Command_OUTCOME && h.outcomes[frame.GetMessageId()] == nil:
		h.outcomes[frame.GetMessageId()] = frame
	case cmd == cimpb.Command_MOVE: // it stays until it is closed
	case cmd == cimpb.Command_CLOSE:
		h.closes = append(h.closes, proto.Reason(frame.GetReason()))
	default:
		return errors.New("was not to be expected")
	}
	return nil
}

// hearMessage reads what is a message to the original, which is every frame
// but a PING: it breaks on one of a cmd that it does not know, or without
// receiveUserId.
func (s *session) hearMessage(frame *cimpb.Frame) error {
	offline := frame.GetCmd() == cimpb.Command_OFFLINE
	if !offline && frame.GetCmd() != cimpb.Command_MESSAGE {
		return errors.New("the original does not know its cmd")
	}
	self := strconv.FormatInt(int64(s.user.ID), 10)
	if got := frame.GetProperties()[proto.PropertyReceiverID]; got != self || frame.GetId() != int64(s.user.ID) {
		return fmt.Errorf("receiver %q and %d, want %s", got, frame.GetId(), self)
	}
	id, err := strconv.ParseInt(frame.GetProperties()[proto.PropertySenderID], 10, 64)
	if err != nil {
		return err
	}
	from := proto.User{ID: proto.UserID(id), Name: frame.GetProperties()[proto.PropertySenderName]}
	texts := frame.GetBatch()
	if len(texts) == 0 {
		texts = []string{frame.GetText()}
	}
	if offline && len(texts) > offlineTextsMax {
		return fmt.Errorf("an OFFLINE frame of %d texts", len(texts))
	}
	s.heard.take(from, texts, offline, from == s.user.system.usher.User)
	return s.checkOurPart(frame, len(texts))
}

// checkOurPart checks the fields for clients of ours: each text has its time, if known, which is
// not in the future, and no stored text is a group message. Other clients get none of these fields.
func (s *session) checkOurPart(frame *cimpb.Frame, texts int) error {
	switch {
	case !s.ours && (frame.GetToAll() || len(frame.GetSent()) > 0 || frame.Receivers != nil):
		return errors.New("has fields that are only for clients of ours")
	case len(frame.GetSent()) != 0 && len(frame.GetSent()) != texts:
		return fmt.Errorf("%d times of %d texts", len(frame.GetSent()), texts)
	case frame.GetToAll() && frame.GetCmd() != cimpb.Command_MESSAGE:
		return errors.New("is a stored group message")
	}
	for _, at := range frame.GetSent() {
		if at < 0 || at > time.Now().UnixMilli() {
			return fmt.Errorf("was sent at %d", at)
		}
	}
	return nil
}

const fencePrefix = "fence "

// take books texts; those of fences apart, as they are no part of any test. A
// fence that was stored comes in one page with what was stored before it.
func (h *heard) take(from proto.User, texts []string, offline, usher bool) {
	others := 0
	for _, text := range texts {
		if usher && strings.HasPrefix(text, fencePrefix) {
			h.fences[text] = true
			continue
		}
		others++
		h.deliveries = append(h.deliveries, delivery{from, text, offline})
	}
	if offline && others > 0 {
		h.pages = append(h.pages, others)
	}
}

// cleanUp closes the connection and reports what the client could not read.
func (s *session) cleanUp() {
	s.close()
	for _, fault := range s.heard.faults {
		s.user.system.t.Errorf("session of %s: %v", s.user.Name, fault)
	}
}

// close ends the connection from the client's side and waits for its reader.
func (s *session) close() {
	_ = s.conn.Close() // it may be closed
	s.reader.Wait()
}

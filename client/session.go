package client

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"cim/proto"
)

const (
	// loginMax bounds the connect, and then the login.
	loginMax = 5 * time.Second
	// writeMax bounds one write to the connection.
	writeMax = 5 * time.Second
	// heartbeatV2 is the silence after which a server of the original closes by default; it does
	// not announce it.
	heartbeatV2 = 30 * time.Second
	// pingsPerHeartbeat leaves room for two pings to be late.
	pingsPerHeartbeat = 3
	// pongMax is how long a server may be silent after a ping. So a server that hangs is found
	// within a third of its heartbeat time and pongMax.
	pongMax = 5 * time.Second
	// outcomesMax bounds the messages of one session whose outcome has not arrived. One more is
	// refused as busy.
	outcomesMax = 1024
)

// session is one connection, logged in. One goroutine reads it; any may send.
type session struct {
	conn        net.Conn
	dialect     proto.Dialect
	heartbeat   time.Duration // the silence that the server bears
	pause       time.Duration // between pings, as the user wants it; 0: a part of heartbeat
	info        ServerInfo    // set by begin
	ticket      proto.Ticket  // of its login; zero with a server of the original
	frames      frames
	onText      func(Message, ackMark) // called with each text
	onOutcome   func(*session, *outgoing, Result)
	onGap       func(uint64) // called with the number of group messages that were left out; nil: none
	asksForAcks bool         // for acknowledgements
	acks        *acks        // nil: the session does not acknowledge; set by begin, under mu

	ended chan struct{} // closed by end

	pinging sync.Mutex // guards pings
	pings   int        // written

	mu       sync.Mutex
	lastID   uint64
	outcomes map[uint64]outcomeSlot // <= outcomesMax
	settled  chan struct{}          // closed once there are none; nil: no goroutine waits for that
	pongs    int                    // that have come
	pong     chan struct{}          // closed when the next arrives; nil: no goroutine waits for that
}

// outcomeSlot is where the outcome of a message goes.
type outcomeSlot struct {
	outcome chan Result // of 1; nil: it has a message
	message *outgoing   // may be sent again
}

// connect connects to the server that a route named and sends the login. It reads nothing yet. The
// whole login must end within loginMax.
func connect(ctx context.Context, server proto.LoginBody, user proto.User, dialect proto.Dialect, ticket proto.Ticket) (*session, error) {
	address := net.JoinHostPort(server.IP, strconv.Itoa(server.CIMServerPort))
	dialer := net.Dialer{Timeout: loginMax}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("client: %w", noAnswerError{"the server " + address, err})
	}
	s := newSession(conn, dialect)
	s.info = ServerInfo{Host: server.IP, Port: server.CIMServerPort, HTTPPort: server.HTTPPort, Dialect: dialect}
	s.asksForAcks = dialect == proto.DialectCIM && server.Ack == proto.AckVersion
	hello := proto.AppendLogin(nil, user, dialect, ticket)
	switch {
	case s.asksForAcks:
		hello = proto.AppendAckLogin(nil, user, ticket)
	case dialect == proto.DialectV2:
		// The original's server answers no login, but this behind it.
		hello = append(hello, proto.Ping...)
	}
	if err := s.write(hello); err != nil {
		s.end()
		return nil, fmt.Errorf("client: log in at %s: %w", address, err)
	}
	return s, nil
}

func newSession(conn net.Conn, dialect proto.Dialect) *session {
	return &session{
		conn: conn, dialect: dialect, heartbeat: heartbeatV2, frames: frames{conn: conn, silenceMax: loginMax},
		ended: make(chan struct{}), outcomes: map[uint64]outcomeSlot{},
	}
}

// awaitLogin reads until the server has taken the login, and brings what it has to
// deliver before that.
func (s *session) awaitLogin(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.end)
	defer stop()
	deadline := time.AfterFunc(loginMax, s.end) // frames that are no answer do not prolong it
	defer deadline.Stop()
	var view proto.View
	for {
		if err := s.next(&view); err != nil {
			return fmt.Errorf("client: log in: %w", err)
		}
		switch {
		case view.Command == proto.CommandLoginAnswer:
			return s.loginAnswer(&view)
		case view.Command == proto.CommandPing && s.dialect == proto.DialectV2:
			s.settleHeartbeat()
			return nil
		}
		if err := s.handle(&view); err != nil {
			return err
		}
	}
}

func (s *session) loginAnswer(view *proto.View) error {
	if view.Reason != proto.ReasonNone {
		return &Ended{view.Reason}
	}
	if s.asksForAcks && view.Ack == proto.AckVersion {
		s.enableAcks()
	}
	if view.Heartbeat > 0 {
		s.heartbeat = time.Duration(min(view.Heartbeat, 3600)) * time.Second
	}
	s.settleHeartbeat()
	return nil
}

// settleHeartbeat settles the pause between pings and the silence that the server is allowed. A
// user who configures longer pauses than a server of the original allows by default knows that this
// server allows more.
func (s *session) settleHeartbeat() {
	if s.dialect == proto.DialectV2 {
		s.heartbeat = max(s.heartbeat, pingsPerHeartbeat*s.pause)
	}
	most := s.heartbeat / pingsPerHeartbeat
	if s.pause == 0 || s.pause > most {
		s.pause = most
	}
	s.info.Heartbeat = s.heartbeat
	s.frames.setSilenceMax(s.heartbeat)
}

// serve reads until the connection ends, and returns why. It calls move each
// time that the server asks to be left.
func (s *session) serve(ctx context.Context, move func()) error {
	stop := context.AfterFunc(ctx, s.end)
	defer stop()
	var pinging sync.WaitGroup
	defer pinging.Wait()
	defer s.end()
	pinging.Go(s.ping)
	var view proto.View
	for {
		if err := s.next(&view); err != nil {
			return fmt.Errorf("client: connection: %w", err)
		}
		if view.Command == proto.CommandMove {
			move()
			continue
		}
		if err := s.handle(&view); err != nil {
			return err
		}
	}
}

// next reads one frame into view, which is valid until the next one.
func (s *session) next(view *proto.View) error {
	frame, err := s.frames.next()
	if err != nil {
		return err
	}
	if reason := view.Parse(frame); reason != proto.ReasonNone {
		return fmt.Errorf("the server sent a bad frame: %s", reason)
	}
	return nil
}

// handle does what one frame brings. A command that is unknown here is skipped.
func (s *session) handle(view *proto.View) error {
	switch view.Command {
	case proto.CommandMessage, proto.CommandOffline:
		return s.handleTexts(view)
	case proto.CommandOutcome:
		s.resolve(view.MessageID, Result{Outcome: view.Outcome, Code: view.Code, ID: view.TextID(), Receivers: view.Receivers})
	case proto.CommandPing:
		s.notePong()
	case proto.CommandGap:
		if s.onGap != nil && view.LeftOut > 0 {
			s.onGap(view.LeftOut)
		}
	case proto.CommandClose:
		return &Ended{view.Reason}
	}
	return nil
}

// handleTexts makes messages of a frame.
func (s *session) handleTexts(view *proto.View) (fault error) {
	m := Message{
		Sender:  proto.User{Name: string(view.Property(proto.PropertySenderName))},
		Offline: view.Command == proto.CommandOffline,
		ToAll:   view.ToAll,
	}
	// An old route may leave it out; then the sender's id is 0.
	if id, err := strconv.ParseInt(string(view.Property(proto.PropertySenderID)), 10, 64); err == nil {
		m.Sender.ID = proto.UserID(id)
	}
	view.EachReceived(func(r proto.Received) {
		var at ackMark
		if s.acks != nil && view.Counted() && fault == nil {
			at, fault = s.acks.count(len(r.Text))
		}
		if fault != nil {
			return
		}
		m.Kept = at.isCounted()
		m.ID, m.Text, m.Sent = r.ID, string(r.Text), time.Time{}
		if r.Sent != 0 {
			m.Sent = time.UnixMilli(int64(r.Sent))
		}
		s.onText(m, at)
	})
	return fault
}

// enableAcks makes the session one that acknowledges.
func (s *session) enableAcks() {
	s.mu.Lock() // end may come at any time
	defer s.mu.Unlock()
	s.acks = newAcks(func(n uint64) error { return s.write(proto.AppendAck(nil, n)) }, s.end)
	s.info.Ack = true
}

// acknowledge sends a last ACK for the finished texts.
func (s *session) acknowledge() {
	if s.acks != nil {
		s.acks.flush()
	}
}

// acknowledgeAndWait is acknowledge, and returns when the server has read it: it
// learns of a goodbye on another way, which may be faster. It waits for leaveMax
// at most.
func (s *session) acknowledgeAndWait(ctx context.Context) {
	if s.acks == nil {
		return
	}
	s.acks.flush()
	sent := s.acks.sent()
	if sent == 0 {
		return
	}
	n, err := s.writePing(proto.AppendAckPing(nil, sent))
	if err != nil {
		s.end()
		return
	}
	timer := time.NewTimer(leaveMax)
	defer timer.Stop()
	for answered := s.nextPong(n); answered != nil; answered = s.nextPong(n) {
		select {
		case <-answered:
		case <-s.ended:
			return
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// ping keeps the connection alive until it ends, and finds out whether the
// server is.
func (s *session) ping() {
	ticker := time.NewTicker(s.pause)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := s.probe(); err != nil {
				s.end() // the reader reports why
				return
			}
		case <-s.ended:
			return
		}
	}
}

// probe sends a ping. It expects the answer before it writes, since the reader may see the answer
// before probe continues.
func (s *session) probe() error {
	if err := s.frames.expectAnswer(pongMax); err != nil {
		return err
	}
	_, err := s.writePing([]byte(proto.Ping))
	return err
}

// writePing writes a PING, the nth of the session.
func (s *session) writePing(frame []byte) (n int, err error) {
	s.pinging.Lock() // the order of their numbers is that of their answers
	defer s.pinging.Unlock()
	s.pings++
	return s.pings, s.write(frame)
}

// notePong counts the answer to a PING.
func (s *session) notePong() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pongs++
	if s.pong != nil {
		close(s.pong)
		s.pong = nil
	}
}

// nextPong is closed when another answer to a PING has come; nil: the nth has.
func (s *session) nextPong(n int) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pongs >= n {
		return nil
	}
	if s.pong == nil {
		s.pong = make(chan struct{})
	}
	return s.pong
}

// write sends whole frames. An error may have torn one: the connection must
// end then.
func (s *session) write(frames []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeMax)); err != nil {
		return err
	}
	_, err := s.conn.Write(frames)
	return err
}

func (s *session) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// end closes the connection. Outcomes that have not arrived are unknown.
func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ended:
	default:
		close(s.ended)
		if s.acks != nil {
			s.acks.end()
		}
		// What Close says of a connection that is given up is no news.
		_ = s.conn.Close()
	}
}

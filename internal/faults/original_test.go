package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"cim/proto"
)

// The habits of the original's client: it pings after 10 s without a write, and
// after a lost connection it says goodbye, waits for 3 to 9 s and logs in again,
// every 10 s until it is in.
const (
	originalPing  = 10 * time.Second
	originalPause = 3 * time.Second
	originalMore  = 6 * time.Second
	originalAgain = 10 * time.Second
	// enterMax bounds a connect, and the first pong after it.
	enterMax = 5 * time.Second
)

// errLockedOut is a login refused with 5000, which ends the original if it is
// coming back.
var errLockedOut = errors.New("refused with 5000")

// liveOriginal is the life of a client of the original.
func (m *member) liveOriginal() {
	c := m.crowd
	for first := true; c.ctx.Err() == nil; first = false {
		began := time.Now()
		conn, err := m.enter(first)
		switch {
		case err == nil:
			m.left(m.listen(conn))
			continue
		case errors.Is(err, errLockedOut) && !first:
			m.lockOut()
			return
		}
		if !c.sleep(originalAgain - time.Since(began)) {
			return
		}
	}
	m.goodbye(context.Background())
}

// lockOut ends the client for good.
func (m *member) lockOut() {
	m.crowd.mu.Lock()
	defer m.crowd.mu.Unlock()
	m.out = true
	m.crowd.seen.lockedOut++
}

// sleep waits, and reports whether the crowd is still there.
func (c *crowd) sleep(d time.Duration) bool {
	timer := time.NewTimer(max(0, d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// enter logs in and connects. Only the first time it does so without a goodbye
// and a pause.
func (m *member) enter(first bool) (*connection, error) {
	c := m.crowd
	if !first {
		m.goodbye(c.ctx)
		if !c.sleep(originalPause + rand.N(originalMore)) {
			return nil, c.ctx.Err()
		}
	}
	at, err := m.login()
	if err != nil {
		return nil, err
	}
	conn, err := m.connect(at)
	if err != nil && c.ctx.Err() == nil {
		c.note(func(seen *counts) { seen.failed++ })
	}
	return conn, err
}

// login asks the member's route for a server, and the next one if that cannot
// be asked.
func (m *member) login() (string, error) {
	c := m.crowd
	request := proto.LoginRequest{UserID: proto.Number(m.user.ID), UserName: m.user.Name}
	var body proto.LoginBody
	code, err := m.callAny(c.ctx, proto.PathLogin, request, &body)
	switch {
	case err != nil:
		c.note(func(seen *counts) { seen.failed++ })
		return "", err
	case code == proto.CodeSuccess:
		return net.JoinHostPort(body.IP, strconv.Itoa(body.CIMServerPort)), nil
	}
	c.note(func(seen *counts) { seen.refused[code]++ })
	if code == proto.CodeRepeatLogin {
		return "", errLockedOut
	}
	return "", fmt.Errorf("code %s", code)
}

// goodbye is how the original says that its session has ended.
func (m *member) goodbye(ctx context.Context) {
	request := proto.OffLineRequest{UserID: proto.Number(m.user.ID), Msg: proto.GoodbyeMsg}
	// Refused or not, it goes on: so does the original.
	_, _ = m.callAny(ctx, proto.PathOffLine, request, nil)
}

// connection is a long connection of the original's dialect.
type connection struct {
	member *member
	conn   net.Conn
	buffer []byte // read, and not yet taken
	view   proto.View
}

const readMax = 4 << 10

// connect logs in at a server, and returns when it has answered: the original
// gets no answer to its login, but a ping behind it is answered.
func (m *member) connect(at string) (*connection, error) {
	dialer := net.Dialer{Timeout: enterMax}
	conn, err := dialer.DialContext(m.crowd.ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	k := &connection{member: m, conn: conn}
	stop := context.AfterFunc(m.crowd.ctx, func() { _ = conn.Close() })
	err = conn.SetDeadline(time.Now().Add(enterMax))
	if err == nil {
		_, err = conn.Write(append(proto.AppendLogin(nil, m.user, proto.DialectV2, proto.Ticket{}), proto.Ping...))
	}
	for pong := false; err == nil && !pong; {
		pong, err = k.read()
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		stop()
		return nil, errors.Join(err, conn.Close())
	}
	m.entered(at)
	m.crowd.pings.add(k)
	return k, nil
}

// listen reads until the connection ends.
func (m *member) listen(k *connection) error {
	defer m.crowd.pings.remove(k)
	for {
		if _, err := k.read(); err != nil {
			return errors.Join(err, k.conn.Close())
		}
	}
}

// read takes what one read brings. It reports whether a pong was in it.
func (k *connection) read() (pong bool, err error) {
	k.buffer = append(k.buffer, make([]byte, readMax)...)
	had := len(k.buffer) - readMax
	n, err := k.conn.Read(k.buffer[had:])
	k.buffer = k.buffer[:had+n]
	if err != nil {
		return false, err
	}
	rest := k.buffer
	for {
		frame, size, reason := proto.NextFrame(rest, proto.FrameMax)
		if reason != proto.ReasonNone {
			return pong, fmt.Errorf("what came is no frame: %s", reason)
		}
		if frame == nil {
			break
		}
		rest = rest[size:]
		got, err := k.take(frame)
		if err != nil {
			return pong, err
		}
		pong = pong || got
	}
	k.buffer = append(k.buffer[:0], rest...)
	return pong, nil
}

// take takes one frame. The original breaks on what it does not know.
func (k *connection) take(frame []byte) (pong bool, err error) {
	v := &k.view
	if reason := v.Parse(frame); reason != proto.ReasonNone {
		return false, fmt.Errorf("a bad frame: %s", reason)
	}
	switch v.Command {
	case proto.CommandPing:
		return true, nil
	case proto.CommandMessage, proto.CommandOffline:
	default:
		return false, fmt.Errorf("the original does not know cmd %d", v.Command)
	}
	if string(v.Property(proto.PropertyReceiverID)) != strconv.FormatInt(int64(k.member.user.ID), 10) {
		k.member.crowd.note(func(seen *counts) { seen.stranger = errors.New("a frame for another receiver") })
	}
	id, _ := strconv.ParseInt(string(v.Property(proto.PropertySenderID)), 10, 64) // 0: no user
	from := proto.User{ID: proto.UserID(id), Name: string(v.Property(proto.PropertySenderName))}
	v.EachText(func(text []byte) { k.member.received(from, string(text), v.Command == proto.CommandOffline) })
	return false, nil
}

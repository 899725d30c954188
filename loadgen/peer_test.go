package loadgen

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"cim/proto"
)

// peer is a small server and route in one that can be made to fail in ways that no real one can.
type peer struct {
	t        *testing.T
	route    *httptest.Server
	listener net.Listener
	all      sync.WaitGroup

	// Fixed before the first client.
	//
	// deliver returns the frames that reach receiver instead of the one that
	// would; nil: no change. It is called under mu.
	deliver func(p *peer, receiver *peerSession, body []byte) [][]byte
	// answer returns the outcome of message n of the peer, counted from 1, and
	// whether it is delivered; nil: all are.
	answer func(n int) (code proto.Code, deliver bool)
	// repeatOutcome sends every outcome twice, muteOutcome none.
	repeatOutcome, muteOutcome bool
	// refuseLogin refuses every client of our dialect.
	refuseLogin bool
	// ghostAsks is how many answers name users as online whose connections have
	// ended.
	ghostAsks int
	// refusePlace is the code of the peer's n-th answer to a login, counted
	// from 1; nil: all are successes.
	refusePlace func(n int) proto.Code
	// refuseRegister is likewise the code of its n-th answer to a registration.
	refuseRegister func(n int) proto.Code
	registrations  int

	mu       sync.Mutex
	users    map[string]proto.User
	sessions map[proto.UserID]*peerSession
	messages int
	logins   int
	pings    int
	dialects map[proto.Dialect]int
	hosts    map[proto.UserID]map[string]bool // of the routes that each user asked
}

type peerSession struct {
	user      proto.User
	dialect   proto.Dialect
	conn      net.Conn
	delivered int
	connected bool
	held      []byte // a frame kept back by a test
}

func newPeer(t *testing.T) *peer {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{
		t: t, listener: listener, users: make(map[string]proto.User),
		sessions: make(map[proto.UserID]*peerSession), dialects: make(map[proto.Dialect]int),
		hosts: make(map[proto.UserID]map[string]bool),
	}
	p.route = httptest.NewServer(p)
	p.all.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *peer) close() {
	p.route.Close()
	if err := p.listener.Close(); err != nil {
		p.t.Error(err)
	}
	p.mu.Lock()
	for _, s := range p.sessions {
		s.conn.Close() // the client's end may be gone already
	}
	p.mu.Unlock()
	p.all.Wait()
}

func (p *peer) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.all.Go(func() { p.serve(conn) })
	}
}

func (p *peer) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	var s *peerSession
	for {
		frame, err := readFrame(in)
		if err != nil {
			p.gone(s)
			return
		}
		var v proto.View
		if reason := v.Parse(frame); reason != proto.ReasonNone {
			p.t.Errorf("frame of a client: %s", reason)
			return
		}
		if s = p.handle(conn, s, &v); s == nil {
			return
		}
	}
}

func (p *peer) gone(s *peerSession) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s != nil {
		s.connected = false
	}
}

func readFrame(in *bufio.Reader) ([]byte, error) {
	length, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, err
	}
	frame := make([]byte, length)
	_, err = io.ReadFull(in, frame)
	return frame, err
}

func (p *peer) handle(conn net.Conn, s *peerSession, v *proto.View) *peerSession {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s == nil:
		return p.login(conn, v)
	case s.dialect == proto.DialectV1:
		if v.Command != proto.CommandV1Ping || v.ID != int64(s.user.ID) {
			p.t.Errorf("type %d, id %d of a client of dialect v1", v.Command, v.ID)
		}
		p.pings++
		p.write(s, []byte(proto.PongV1))
		return s
	}
	switch v.Command {
	case proto.CommandPing:
		p.pings++
		p.write(s, []byte(proto.Pong))
	case proto.CommandSend:
		code := p.message(s.user, v.Receiver, v.Text)
		p.outcome(s, v.MessageID, code)
	default:
		p.t.Errorf("command %d of a client", v.Command)
	}
	return s
}

func (p *peer) login(conn net.Conn, v *proto.View) *peerSession {
	dialect := proto.Dialect(v.Dialect)
	if v.Command == proto.CommandV1Login {
		dialect = proto.DialectV1
	} else if v.Command != proto.CommandLogin {
		p.t.Errorf("command %d before the login", v.Command)
	}
	s := &peerSession{connected: true, user: proto.User{ID: proto.UserID(v.ID), Name: string(v.Text)}, dialect: dialect, conn: conn}
	p.dialects[dialect]++
	if dialect == proto.DialectCIM {
		if v.Ticket == nil {
			p.t.Error("a login of our dialect without its ticket")
		}
		reason := proto.ReasonNone
		if p.refuseLogin {
			reason = proto.ReasonNoGrant
		}
		p.write(s, proto.AppendLoginAnswer(nil, proto.LoginAnswer{Reason: reason, User: s.user.ID}))
		if p.refuseLogin {
			return nil
		}
	}
	p.sessions[s.user.ID] = s
	return s
}

func (p *peer) outcome(s *peerSession, id uint64, code proto.Code) {
	outcomes := map[proto.Code]proto.Outcome{
		proto.CodeSuccess: proto.OutcomeDelivered, proto.CodeOffline: proto.OutcomeStored, proto.CodeLimit: proto.OutcomeBusy,
	}
	outcome, ok := outcomes[code]
	if !ok {
		outcome = proto.OutcomeFailed
	}
	if p.muteOutcome {
		return
	}
	p.write(s, proto.AppendOutcome(nil, id, 0, outcome, code))
	if p.repeatOutcome {
		p.write(s, proto.AppendOutcome(nil, id, 0, outcome, code))
	}
}

// write ignores a client that has gone: the client's own side reports it.
func (p *peer) write(s *peerSession, b []byte) {
	if _, err := s.conn.Write(b); err != nil && !errors.Is(err, net.ErrClosed) {
		return
	}
}

// message delivers one text; receiver 0 is all but the sender. p.mu is held.
func (p *peer) message(sender proto.User, receiver proto.UserID, text []byte) proto.Code {
	p.messages++
	code, deliver := proto.CodeSuccess, true
	if p.answer != nil {
		code, deliver = p.answer(p.messages)
	}
	if !deliver {
		return code
	}
	body := proto.AppendSentBody(nil, sender.ID, sender.Name, 1, text)
	for id, s := range p.sessions {
		if id == receiver || receiver == 0 && id != sender.ID {
			p.deliverTo(s, body)
		}
	}
	return code
}

func (p *peer) deliverTo(s *peerSession, body []byte) {
	s.delivered++
	frames := [][]byte{proto.AppendDelivery(nil, body, s.user.ID)}
	if s.dialect == proto.DialectV1 {
		frames[0], _ = proto.AppendV1Delivery(nil, body, s.user.ID)
	}
	if p.deliver != nil {
		frames = p.deliver(p, s, body)
	}
	for _, frame := range frames {
		p.write(s, frame)
	}
}

func (p *peer) messageCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.messages
}

// ServeHTTP implements http.Handler: the route.
func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Errorf("request: %v", err)
		return
	}
	p.mu.Lock()
	code, data := p.request(r.Host, r.URL.Path, body)
	p.mu.Unlock()
	if _, err := w.Write(proto.AppendAnswer(nil, code, "", data)); err != nil {
		p.t.Logf("answer: %v", err)
	}
}

func (p *peer) request(host, path string, body []byte) (proto.Code, string) {
	switch path {
	case proto.PathRegister:
		r := decoded[proto.RegisterRequest](p, body)
		p.registrations++
		if p.refuseRegister != nil {
			if code := p.refuseRegister(p.registrations); code != proto.CodeSuccess {
				return code, ""
			}
		}
		return proto.CodeSuccess, p.register(r.UserName)
	case proto.PathLogin:
		r := decoded[proto.LoginRequest](p, body)
		p.came(r.UserID, host)
		p.logins++
		if p.refusePlace != nil {
			if code := p.refusePlace(p.logins); code != proto.CodeSuccess {
				return code, ""
			}
		}
		return proto.CodeSuccess, p.place(r)
	case proto.PathGroup:
		r := decoded[proto.GroupRequest](p, body)
		p.came(r.UserID, host)
		return p.message(p.user(r.UserID), 0, []byte(*r.Msg)), ""
	case proto.PathPrivate:
		r := decoded[proto.PrivateRequest](p, body)
		p.came(r.UserID, host)
		return p.message(p.user(r.UserID), proto.UserID(r.ReceiveUserID), []byte(*r.Msg)), ""
	}
	if path == proto.PathOnlineUser {
		return proto.CodeSuccess, proto.Body(p.online())
	}
	p.t.Errorf("request %s", path)
	return proto.CodeFailure, ""
}

// came notes which route a user asked.
func (p *peer) came(id proto.Number, host string) {
	user := proto.UserID(id)
	if p.hosts[user] == nil {
		p.hosts[user] = make(map[string]bool)
	}
	p.hosts[user][host] = true
}

func decoded[T any](p *peer, body []byte) (request T) {
	if err := proto.DecodeBody(body, &request); err != nil {
		p.t.Errorf("request: %v", err)
	}
	return request
}

// online names the users with a connection, and the ghosts.
func (p *peer) online() []proto.UserBody {
	ghosts := p.ghostAsks > 0
	p.ghostAsks--
	users := []proto.UserBody{{UserID: 1, UserName: "somebody else"}}
	for id, s := range p.sessions {
		if s.connected || ghosts {
			users = append(users, proto.UserBody{UserID: id, UserName: s.user.Name})
		}
	}
	return users
}

func (p *peer) user(id proto.Number) proto.User { return p.sessions[proto.UserID(id)].user }

func (p *peer) register(name string) string {
	user, known := p.users[name]
	if !known {
		user = proto.User{ID: proto.UserID(1_700_000_000_000 + len(p.users)), Name: name}
		p.users[name] = user
	}
	return proto.Body(proto.UserBody{UserID: user.ID, UserName: name})
}

func (p *peer) place(r proto.LoginRequest) string {
	host, port, err := net.SplitHostPort(p.listener.Addr().String())
	if err != nil {
		p.t.Error(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		p.t.Error(err)
	}
	place := proto.LoginBody{IP: host, CIMServerPort: number, HTTPPort: 1}
	if r.Client == 1 {
		place.Ticket = proto.Ticket{1, 2, 3}.String()
	}
	return proto.Body(place)
}

package route

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"cim/internal/link"
	"cim/proto"
)

// fakeServer is the far end of a link: it keeps sessions as a server does, and
// answers real records. A script may answer in its place.
type fakeServer struct {
	t      testing.TB
	member proto.Member

	mu       sync.Mutex
	conns    []*link.Conn // one a dial, oldest first
	sessions map[proto.UserID]*fakeSession
	script   func(r *proto.Record) (answer *proto.Record, scripted bool) // called with mu held
	asked    []proto.Record                                              // all records that arrived, without bodies
	outcomes chan proto.Record
	arrived  *arrivals // nil: not kept
	// forgetful: everything is taken and nothing kept, for benchmarks.
	forgetful   bool
	halted      bool                  // an event loop stands still: broadcasts and records for blocked wait
	blocked     proto.UserID          // asks about this user's session are not answered
	gate        chan struct{}         // what comes waits until it is closed; nil: nothing waits
	muted       map[*link.Conn]uint64 // the pause whose echo is due, of links that got a RecordPaused
	pauses      uint64
	unreachable atomic.Bool // dials fail
	crashed     atomic.Bool // dials are refused
	running     sync.WaitGroup
}

func newFakeServer(t testing.TB, name string, epoch proto.Epoch) *fakeServer {
	m, err := proto.ParseMemberName(name)
	if err != nil {
		t.Fatal(err)
	}
	m.Epoch, m.Version = epoch, proto.LinkVersion
	f := &fakeServer{
		t: t, member: m, sessions: map[proto.UserID]*fakeSession{}, outcomes: make(chan proto.Record, 1<<14),
	}
	t.Cleanup(f.running.Wait)
	return f
}

// linkBytes is what waits on a link of the tests.
const linkBytes = 4 << 20

// dial is the route's Deps.Dial for this server.
func (f *fakeServer) dial() *link.Conn { return f.dialWith(linkBytes) }

func (f *fakeServer) dialWith(waitingMax int) *link.Conn {
	near, far := link.Pair(waitingMax)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns = append(f.conns, far)
	f.running.Go(func() {
		_ = far.Run(context.Background(), func(r *proto.Record) error {
			f.wait()
			f.handle(far, r)
			return nil
		})
	})
	return near
}

// stop makes the server hang like a stopped process: records wait.
func (f *fakeServer) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gate = make(chan struct{})
}

// goOn continues a server that then does all waiting records.
func (f *fakeServer) goOn() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.gate)
	f.gate = nil
}

// goOnPaused continues a server that has noticed its standstill.
func (f *fakeServer) goOnPaused() {
	f.mu.Lock()
	f.pauses++
	f.muted = map[*link.Conn]uint64{}
	for _, conn := range f.conns {
		f.muted[conn] = f.pauses
	}
	f.sendToAll(&proto.Record{Kind: proto.RecordPaused, ID: f.pauses})
	f.mu.Unlock()
	f.goOn()
}

// drops reports whether r is of before a pause. It is called with mu held.
func (f *fakeServer) drops(conn *link.Conn, r *proto.Record) bool {
	pause, muted := f.muted[conn]
	switch {
	case !muted || r.Kind == proto.RecordConfirm:
		return false
	case r.Kind == proto.RecordEcho && r.ID == pause:
		delete(f.muted, conn)
		return false
	}
	f.reply(conn, r.ID, proto.VerdictAbsent, 0)
	return true
}

// halt stops the loop of user's session, and goOnHalted continues it as a server does that has
// noticed.
func (f *fakeServer) halt(user proto.UserID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.halted, f.blocked = true, user
}

func (f *fakeServer) goOnHalted() {
	f.mu.Lock()
	f.halted, f.gate = false, make(chan struct{})
	f.mu.Unlock()
	f.goOnPaused()
}

// confirmed is the answer to a confirm. It is called with mu held.
func (f *fakeServer) confirmed() proto.Verdict {
	if f.halted {
		return proto.VerdictRefused
	}
	return proto.VerdictTaken
}

// wait is for the end of a stop.
func (f *fakeServer) wait() {
	f.mu.Lock()
	gate := f.gate
	f.mu.Unlock()
	if gate != nil {
		<-gate
	}
}

func (f *fakeServer) handle(conn *link.Conn, r *proto.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.drops(conn, r) {
		return
	}
	if f.forgetful {
		f.reply(conn, r.ID, proto.VerdictTaken, 0)
		return
	}
	noted := *r
	noted.Name, noted.Body = slices.Clone(r.Name), slices.Clone(r.Body)
	f.asked = append(f.asked, noted)
	switch r.Kind {
	case proto.RecordOutcome:
		f.outcomes <- noted
		return
	case proto.RecordChecked, proto.RecordEcho, proto.RecordResync, proto.RecordReturned:
		return
	case proto.RecordConfirm:
		f.reply(conn, r.ID, f.confirmed(), 0)
		return
	}
	if f.script != nil {
		if answer, scripted := f.script(r); scripted {
			if answer != nil {
				f.answer(conn, r.ID, *answer)
			}
			return
		}
	}
	if f.halted && (r.Kind == proto.RecordBroadcast || r.User == f.blocked && r.Kind != proto.RecordGrant) {
		return
	}
	verdict, value := f.judge(r)
	answer := proto.Record{Verdict: verdict, Value: value}
	if s := f.sessions[r.User]; s != nil && s.connected {
		s.setState(r.Kind, &answer)
		f.receipt(conn, r, s, verdict)
	}
	f.answer(conn, r.ID, answer)
}

// receipt is what a server makes of the receipt that a push wants: a session that
// does not acknowledge is as good as it gets.
func (f *fakeServer) receipt(conn *link.Conn, r *proto.Record, s *fakeSession, verdict proto.Verdict) {
	if r.Kind != proto.RecordPush || r.Flags&proto.FlagOffline != 0 || r.Value == 0 || verdict != proto.VerdictTaken {
		return
	}
	if s.ack {
		s.receipts = append(s.receipts, r.Value)
		return
	}
	f.sendReceipt(conn, r.Value, proto.OutcomeDelivered)
}

func (f *fakeServer) sendReceipt(conn *link.Conn, number uint64, outcome proto.Outcome) {
	if err := conn.Send(&proto.Record{Kind: proto.RecordReceipt, ID: number, Value: uint64(outcome)}); err != nil && err != link.ErrClosed {
		f.t.Errorf("fake server: %v", err)
	}
}

// settle gives user's session's pushes that want a receipt this outcome, oldest
// first, on the newest link.
func (f *fakeServer) settle(user proto.UserID, outcome proto.Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sessions[user]
	for _, number := range s.receipts {
		f.sendReceipt(f.conns[len(f.conns)-1], number, outcome)
	}
	s.receipts = nil
}

func (f *fakeServer) answer(conn *link.Conn, id uint64, answer proto.Record) {
	answer.Kind, answer.ID = proto.RecordAnswer, id
	if err := conn.Send(&answer); err != nil && err != link.ErrClosed {
		f.t.Errorf("fake server: %v", err)
	}
}

func (f *fakeServer) reply(conn *link.Conn, id uint64, verdict proto.Verdict, value uint64) {
	f.answer(conn, id, proto.Record{Verdict: verdict, Value: value})
}

// judge does what a server does.
func (f *fakeServer) judge(r *proto.Record) (proto.Verdict, uint64) {
	s := f.sessions[r.User]
	switch r.Kind {
	case proto.RecordBroadcast:
		for user, s := range f.sessions {
			if user != r.User && s.connected {
				s.take(f.t, user, r.Body)
			}
		}
		return proto.VerdictTaken, 0
	case proto.RecordGrant:
		if s != nil && s.generation > r.Generation {
			return proto.VerdictStale, 0
		}
		f.sessions[r.User] = &fakeSession{
			generation: r.Generation, name: string(r.Name), ticket: proto.Ticket(r.Body),
			demand: r.Flags&proto.FlagDemandTicket != 0, arrived: f.arrived,
		}
		if r.Flags&proto.FlagMove != 0 {
			f.sessions[r.User].left = proto.Epoch(r.Value)
		} else if r.Value != 0 {
			f.sendToAll(&proto.Record{Kind: proto.RecordOvertaken, User: r.User, Generation: r.Generation, Value: r.Value})
		}
		return proto.VerdictTaken, 0
	case proto.RecordJoin:
		return f.join(r, s)
	case proto.RecordRevoke:
		return f.revoke(r, s), 0
	}
	switch {
	case s == nil || !s.connected:
		return proto.VerdictAbsent, 0
	case s.generation != r.Generation:
		return proto.VerdictStale, 0
	}
	return s.judge(f.t, r)
}

// lose makes the server forget user's login without a record to the route.
func (f *fakeServer) lose(user proto.UserID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sessions, user)
}

// join notes the ticket of one more login.
func (f *fakeServer) join(r *proto.Record, s *fakeSession) (proto.Verdict, uint64) {
	switch {
	case s == nil || s.generation != r.Generation:
		return proto.VerdictAbsent, 0
	case s.connected:
		return proto.VerdictLives, 0
	}
	granted, ok := proto.ParseGrant(r.Body)
	if !ok {
		f.t.Errorf("fake server: a join of %d bytes", len(r.Body))
	}
	const proof = 0x0102030405060708
	s.joined = append(s.joined, proto.JoinedTicket(granted.Ticket, proof))
	return proto.VerdictTaken, proof
}

func (f *fakeServer) revoke(r *proto.Record, s *fakeSession) proto.Verdict {
	if s == nil || s.generation > r.Generation {
		return proto.VerdictAbsent
	}
	shown := string(r.Body) == string(s.ticket[:])
	allowed := !s.connected
	switch proto.RevokeMode(r.Value) {
	case proto.RevokeTicket:
		allowed = allowed || s.ours && shown
	case proto.RevokeReplace:
		allowed = allowed || s.ours
	case proto.RevokeGoodbye:
		allowed = allowed || !s.ours || shown
	case proto.RevokeSuperseded:
		allowed = true
	case proto.RevokeMove:
		if s.connected && s.ours && shown {
			s.held = true
			s.holds++
			return proto.VerdictTaken
		}
	}
	if !allowed {
		return proto.VerdictLives
	}
	delete(f.sessions, r.User)
	return proto.VerdictTaken
}

// connect turns the grant of user into a session, which starts held, and sends UP.
func (f *fakeServer) connect(user proto.UserID, ours bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sessions[user]
	if s == nil || s.connected {
		f.t.Errorf("fake server: no grant for user %d", user)
		return
	}
	s.connected, s.ours, s.held, s.holds = true, ours, true, 1
	f.sendUp(user, s)
	if s.left != 0 {
		f.sendToAll(&proto.Record{Kind: proto.RecordOvertaken, User: user, Generation: s.generation, Value: uint64(s.left)})
	}
}

func (f *fakeServer) sendUp(user proto.UserID, s *fakeSession) {
	up := proto.Record{Kind: proto.RecordUp, User: user, Generation: s.generation, Value: s.holds}
	s.setState(up.Kind, &up)
	f.sendToAll(&up)
}

// repeatUp says again which sessions are held, as a server does each second.
func (f *fakeServer) repeatUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for user, s := range f.sessions {
		if s.connected && s.held {
			f.sendUp(user, s)
		}
	}
}

// disconnect ends user's session and sends DOWN.
func (f *fakeServer) disconnect(user proto.UserID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sessions[user]
	delete(f.sessions, user)
	if s != nil {
		f.sendToAll(&proto.Record{Kind: proto.RecordDown, User: user, Generation: s.generation})
	}
}

// send is a SEND of user's, as the server passes it on.
func (f *fakeServer) send(id uint64, sender proto.User, receiver proto.UserID, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sendUnsolicited(&proto.Record{
		Kind: proto.RecordSend, ID: id, User: sender.ID, Name: []byte(sender.Name),
		Value: uint64(receiver), Body: []byte(text),
	})
}

// sendRecord is something that the server says by itself.
func (f *fakeServer) sendRecord(r proto.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sendUnsolicited(&r)
}

// sendUnsolicited sends r to the route that linked last. It is called with mu held.
func (f *fakeServer) sendUnsolicited(r *proto.Record) {
	if err := f.conns[len(f.conns)-1].Send(r); err != nil {
		f.t.Errorf("fake server: send to the route: %v", err)
	}
}

// sendToAll sends r to each route whose link is up. It is called with mu held.
func (f *fakeServer) sendToAll(r *proto.Record) {
	for _, conn := range f.conns {
		if err := conn.Send(r); err != nil && err != link.ErrClosed {
			f.t.Errorf("fake server: send to a route: %v", err)
		}
	}
}

// cut ends the newest link.
func (f *fakeServer) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns[len(f.conns)-1].Close()
}

// cutFirst ends the oldest link.
func (f *fakeServer) cutFirst() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns[0].Close()
}

// cutAll ends all links.
func (f *fakeServer) cutAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.conns {
		conn.Close()
	}
}

func (f *fakeServer) dials() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

// follow lets script answer from now on; nil: the fake does.
func (f *fakeServer) follow(script func(r *proto.Record) (*proto.Record, bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = script
}

// verdictTo answers each record of a kind with a verdict; 0 is silence.
func verdictTo(kind proto.RecordKind, verdict proto.Verdict) func(*proto.Record) (*proto.Record, bool) {
	return func(r *proto.Record) (*proto.Record, bool) {
		if r.Kind != kind {
			return nil, false
		}
		if verdict == 0 {
			return nil, true
		}
		return &proto.Record{Verdict: verdict}, true
	}
}

func (f *fakeServer) got(user proto.UserID) []delivered {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sessions[user]; s != nil {
		return slices.Clone(s.got)
	}
	return nil
}

// change changes user's session.
func (f *fakeServer) change(user proto.UserID, change func(s *fakeSession)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f.sessions[user])
}

func (f *fakeServer) texts(user proto.UserID) []string {
	var texts []string
	for _, d := range f.got(user) {
		texts = append(texts, d.text)
	}
	return texts
}

func (f *fakeServer) session(user proto.UserID) (fakeSession, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sessions[user]; s != nil {
		return *s, true
	}
	return fakeSession{}, false
}

// askedFor is how many records of a kind have come.
func (f *fakeServer) askedFor(kind proto.RecordKind) int { return len(f.records(kind)) }

func (f *fakeServer) records(kind proto.RecordKind) []proto.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []proto.Record
	for _, r := range f.asked {
		if r.Kind == kind {
			found = append(found, r)
		}
	}
	return found
}

// disconnectSilently ends user's session without a record to a route.
func (f *fakeServer) disconnectSilently(user proto.UserID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sessions, user)
}

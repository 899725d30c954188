package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cim/internal/link"
	"cim/proto"
	"cim/server/shard"
)

// linkEnd is the server's end of one link. The goroutine of ServeLink reads it;
// event loops answer through it.
type linkEnd struct {
	server *Server
	conn   *link.Conn
	from   string // the route's address; "": it is in this process

	mu    sync.Mutex
	sends map[uint64]pendingSend // SENDs with the route; <= sendsMax
	last  uint64                 // the newest id in sends

	heard     atomic.Uint64 // the tick of the last record
	echoAsked atomic.Uint64 // the last pause for which an echo was requested

	syncMu sync.Mutex // guards sync: the reader and recheck use it
	sync   sessionSync

	// Owned by the reader. Within a process, the sender that calls handle in its
	// place owns it.
	pauses uint64     // as of the last record
	echoed uint64     // the last pause whose echo has come
	view   proto.View // of the last body
}

// pendingSend is a SEND whose outcome a route owes.
type pendingSend struct {
	from    shard.Ref
	id      uint64
	textID  proto.TextID
	pair    pair
	due     shard.Tick
	forward *pendingForward // not nil: it came by /sendMsg, and from and id are unused
}

// sendsMax bounds the SENDs that are with one route. One more is answered
// OutcomeBusy.
const sendsMax = 4096

// sendTicks is how long a route may take for an outcome, 20 s: longer than the
// route's own deadlines. After it the outcome is OutcomeUnknown.
const sendTicks shard.Tick = 20_000 / shard.TickMillis

// ServeLink serves one link until it ends, and returns the reason.
func (s *Server) ServeLink(ctx context.Context, conn *link.Conn) error {
	_, pauses := s.checkStall()
	return s.serveLink(ctx, conn, "", pauses)
}

// serveLink is ServeLink for a link from an address, which was connected after the
// given number of pauses.
func (s *Server) serveLink(ctx context.Context, conn *link.Conn, from string, pauses uint64) error {
	l := &linkEnd{server: s, conn: conn, from: from, sends: make(map[uint64]pendingSend), echoed: pauses}
	l.echoAsked.Store(pauses)
	l.heard.Store(uint64(s.now()))
	s.links.add(l)
	s.returns.linkUp()
	defer l.fail(^shard.Tick(0))
	defer s.returns.linkDown(l)
	defer s.links.remove(l)
	defer s.holders.Add(conn, s.metrics.linksShed.Inc)()
	_, l.pauses = s.checkStall()
	l.requestEcho(l.pauses) // for a pause that came before links.add
	if s.leaving.Load() {
		l.sendLeaving()
	}
	l.resync()
	err := conn.RunDirect(ctx, l.handle)
	return fmt.Errorf("server: link: %w", err)
}

func (l *linkEnd) handle(r *proto.Record) error {
	var now shard.Tick
	now, l.pauses = l.server.checkStall()
	if l.heard.Load() != uint64(now) {
		l.heard.Store(uint64(now))
	}
	if l.awaitsEcho() {
		l.requestEcho(l.pauses)
		if l.refuseStale(r) {
			return nil
		}
	}
	switch r.Kind {
	case proto.RecordPush:
		return l.push(r)
	case proto.RecordBroadcast:
		return l.broadcast(r)
	case proto.RecordGrant:
		l.grant(r)
	case proto.RecordJoin:
		l.join(r)
	case proto.RecordRevoke:
		l.revoke(r)
	case proto.RecordHold:
		l.toSession(r, letterHold)
	case proto.RecordResume:
		l.toSession(r, letterResume)
	case proto.RecordOutcome:
		l.onOutcome(r)
	case proto.RecordChecked:
		return l.onChecked(r)
	case proto.RecordConfirm:
		l.onConfirm(r)
	case proto.RecordEcho:
		return l.onEcho(r)
	case proto.RecordResync:
		l.resync()
	case proto.RecordReturned:
		l.server.returns.answered(r.ID, r.Verdict)
	case proto.RecordReturning:
		l.onReturning(r)
	default:
		return &proto.LinkError{What: "kind", Value: uint64(r.Kind)}
	}
	return nil
}

// linkSilenceMax is how long a route over TCP may be silent: it sends a
// RecordConfirm every 500 ms (cim/route). A silent route stands still, or cannot be
// reached.
const linkSilenceMax = 2 * time.Second

// errSilent ends the link of a silent route.
var errSilent = errors.New("server: the route has said nothing for too long")

// endSilent ends the link of a silent route. The outcomes that it owes become
// unknown, and the route must not deliver those SENDs later, when newer ones of the
// same senders have gone to another route: what has not reached the route never
// does, and a route that stood still drops the rest. A pause of this process does
// not count as silence of the route.
func (l *linkEnd) endSilent(now shard.Tick) {
	if l.from == "" {
		return // in this process
	}
	since := max(l.heard.Load(), uint64(ticksOf(time.Duration(l.server.stalls.resumedAt.Load()))))
	if now > shard.Tick(since)+ticksOf(l.server.silenceMax) {
		l.server.metrics.linksSilent.Inc()
		l.conn.Abort(errSilent)
	}
}

// onConfirm answers at once whether all event loops are running, so the route knows
// that the server works. A record that was sent before a pause confirms nothing.
func (l *linkEnd) onConfirm(r *proto.Record) {
	if !l.awaitsEcho() {
		l.server.Confirm()
	}
	l.answer(r.ID, l.server.health(), 0)
}

// answer queues a verdict. If a route does not read its answers, its link is
// closed: it counts its requests as absent.
func (l *linkEnd) answer(id uint64, verdict proto.Verdict, value uint64) {
	l.closeIfFull(l.conn.SendDirect(&proto.Record{Kind: proto.RecordAnswer, ID: id, Verdict: verdict, Value: value}))
}

func (l *linkEnd) send(r *proto.Record) { l.closeIfFull(l.conn.Send(r)) }

// closeIfFull closes the link if a record for the route found no room.
func (l *linkEnd) closeIfFull(err error) {
	if err == link.ErrFull {
		l.server.metrics.linkFull.Inc()
		l.server.log.Warn("a route does not read its link; closing it")
		l.conn.Close()
	}
}

// checkBody parses the body of a record, so that clients can parse what they are
// sent. An invalid body ends the link: the peer is no cim route.
func (l *linkEnd) checkBody(r *proto.Record) error {
	if reason := l.view.Parse(r.Body); reason != proto.ReasonNone {
		return &proto.LinkError{What: "body, " + reason.String() + ", of kind", Value: uint64(r.Kind)}
	}
	return nil
}

func (l *linkEnd) broadcast(r *proto.Record) error {
	if err := l.checkBody(r); err != nil {
		return err
	}
	l.server.broadcast(r, l, l.pauses)
	return nil
}

func (l *linkEnd) push(r *proto.Record) error {
	if err := l.checkBody(r); err != nil {
		return err
	}
	page := r.Flags&proto.FlagOffline != 0
	ref, verdict := l.find(r)
	if verdict != proto.VerdictTaken {
		l.answer(r.ID, verdict, 0)
		return nil
	}
	doubt := !page && l.server.inDoubt(l.pauses)
	l.post(letter{kind: letterPush, ref: ref, user: r.User, requester: l, id: r.ID, value: r.Value, pass: page, page: page, doubt: doubt}, r.Body)
	return nil
}

func (l *linkEnd) toSession(r *proto.Record, kind letterKind) {
	ref, verdict := l.find(r)
	if verdict != proto.VerdictTaken {
		l.answer(r.ID, verdict, 0)
		return
	}
	l.post(letter{kind: kind, ref: ref, user: r.User, requester: l, id: r.ID, value: r.Value}, nil)
}

// find returns the session that a record is for. While an older session of the user
// returns texts, a text for a newer one would be stored in front of them:
// VerdictReturning. A session enters the returns before it leaves the directory, so
// find reads the directory first. A session that is there is held in any case, and
// its loop answers.
func (l *linkEnd) find(r *proto.Record) (shard.Ref, proto.Verdict) {
	ref, generation, found := l.server.directory.find(r.User)
	page := r.Flags&proto.FlagOffline != 0
	switch {
	case found && generation == r.Generation && (r.Kind != proto.RecordPush || page):
		return ref, proto.VerdictTaken
	case found && generation == r.Generation && !l.server.returns.blocksPush(r.User):
		return ref, proto.VerdictTaken
	case !page && l.server.returns.has(r.User):
		return ref, proto.VerdictReturning
	case !found:
		return ref, proto.VerdictAbsent
	case generation != r.Generation:
		return ref, proto.VerdictStale
	}
	return ref, proto.VerdictTaken
}

func (l *linkEnd) post(m letter, body []byte) {
	m.pauses = l.pauses
	if !l.server.loops[m.ref.Shard].mailbox.post(m, body) {
		l.server.metrics.mailboxFull.Inc()
		l.answer(m.id, proto.VerdictBusy, 0)
	}
}

func (l *linkEnd) grant(r *proto.Record) {
	s := l.server
	granted, ok := proto.ParseGrant(r.Body)
	if !ok || s.refusesLogins() || !s.directory.makeRoom(r.User, s.sessionsMax, s.onGrantEvicted) {
		l.answer(r.ID, proto.VerdictRefused, 0)
		return
	}
	s.returns.expect(r.User)
	old, verdict := s.directory.grant(r.User, r.Generation, newPending(r, granted, s.now()), granted.From)
	s.requestEndOf(r.User, old, proto.ReasonReplaced)
	l.answer(r.ID, verdict, 0)
	if verdict == proto.VerdictTaken && r.Value != 0 && r.Flags&proto.FlagMove == 0 {
		s.sendOvertaken(r.User, r.Generation, proto.Epoch(r.Value))
	}
}

// join adds a login to a grant. It needs no room of its own.
func (l *linkEnd) join(r *proto.Record) {
	granted, ok := proto.ParseGrant(r.Body)
	if !ok || l.server.refusesLogins() {
		l.answer(r.ID, proto.VerdictRefused, 0)
		return
	}
	proof, verdict := l.server.directory.join(r.User, r.Generation, newPending(r, granted, l.server.now()), granted.From)
	l.answer(r.ID, verdict, proof)
}

// sendOvertaken sends every route the login of a user whose older session, at the
// server left, must end now: at least one of the routes reaches that server.
func (s *Server) sendOvertaken(user proto.UserID, generation proto.Generation, left proto.Epoch) {
	for _, l := range s.links.all() {
		l.send(&proto.Record{Kind: proto.RecordOvertaken, User: user, Generation: generation, Value: uint64(left)})
	}
}

// revoke answers after the session has been ended, or held, and its kept texts are
// in the box.
func (l *linkEnd) revoke(r *proto.Record) {
	mode, returns := proto.RevokeMode(r.Value), &l.server.returns
	returns.expect(r.User)
	ref, verdict := l.server.directory.revoke(r.User, r.Generation, mode, r.Body, l.server.now())
	if verdict != proto.VerdictTaken || ref == (shard.Ref{}) {
		returns.arrived(r.User)
		l.server.answerReturned(r.User, l, r.ID, verdict)
		return
	}
	if mode == proto.RevokeMove {
		returns.arrived(r.User)
		l.post(letter{kind: letterMoving, ref: ref, user: r.User, requester: l, id: r.ID}, nil)
		return
	}
	reason := proto.ReasonReplaced
	if mode == proto.RevokeGoodbye {
		reason = proto.ReasonEnded
	}
	l.post(letter{kind: letterEnd, ref: ref, user: r.User, requester: l, id: r.ID, value: uint64(reason)}, nil)
}

// forwardSend sends a SEND to the route and reports whether there was room. The
// outcome goes to h, or to the sender's session if h is nil.
func (l *linkEnd) forwardSend(m *send, now shard.Tick, h *pendingForward) bool {
	which := m.pair()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sends) >= sendsMax {
		return false
	}
	// It is counted before it can be answered.
	l.server.pairs.add(which)
	l.last++
	err := l.conn.Send(&proto.Record{
		Kind: proto.RecordSend, ID: l.last, User: m.sender.ID, Name: []byte(m.sender.Name),
		Generation: proto.Generation(m.at), Value: uint64(m.to), Text: m.textID, Body: m.text, Flags: proto.WantFlags(m.want),
	})
	if err != nil {
		l.server.pairs.remove(which)
		if err == link.ErrFull {
			l.server.metrics.linkFull.Inc()
		}
		return false
	}
	l.sends[l.last] = pendingSend{m.from, m.id, m.textID, which, now + sendTicks, h}
	return true
}

func (l *linkEnd) onOutcome(r *proto.Record) {
	l.mu.Lock()
	p, found := l.sends[r.ID]
	delete(l.sends, r.ID)
	l.mu.Unlock()
	if found {
		l.server.settle(p, proto.Outcome(r.Value), r.Code, proto.Receivers(r.Generation))
	}
}

// fail gives up the SENDs whose outcome was due by now.
func (l *linkEnd) fail(now shard.Tick) {
	var late []pendingSend
	l.mu.Lock()
	for id, p := range l.sends {
		if p.due <= now {
			late = append(late, p)
			delete(l.sends, id)
		}
	}
	l.mu.Unlock()
	for _, p := range late {
		l.server.settle(p, proto.OutcomeUnknown, proto.CodeFailure, 0)
	}
}

func (s *Server) settle(p pendingSend, outcome proto.Outcome, code proto.Code, receivers proto.Receivers) {
	s.pairs.remove(p.pair)
	if outcome < proto.OutcomeDelivered || outcome > proto.OutcomeReceived {
		outcome = proto.OutcomeUnknown
	}
	if p.forward != nil {
		p.forward.settle(outcome)
		return
	}
	s.answerSend(nil, &send{from: p.from, id: p.id, textID: p.textID, receivers: receivers}, outcome, code)
}

// links are the links that are up. Readers take no lock.
type links struct {
	mu   sync.Mutex
	now  atomic.Pointer[[]*linkEnd]
	ever atomic.Bool // a link has been up
}

func (l *links) all() []*linkEnd {
	if now := l.now.Load(); now != nil {
		return *now
	}
	return nil
}

func (l *links) add(e *linkEnd) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ever.Store(true)
	next := append(slices.Clone(l.all()), e)
	l.now.Store(&next)
}

func (l *links) remove(e *linkEnd) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(l.all()), func(x *linkEnd) bool { return x == e })
	l.now.Store(&next)
}

// choose returns the link for a sender: the same one while the links do not change,
// so that order holds. nil: no link is up.
func (l *links) choose(user proto.UserID) *linkEnd {
	all := l.all()
	if len(all) == 0 {
		return nil
	}
	return all[uint64(user)%uint64(len(all))]
}

// send sends r, which may go to any route, to the route of its user's SENDs, moved
// on by turn links, or to the next one whose link has room. It reports whether one
// took it.
func (l *links) send(r *proto.Record, turn uint64) bool { return l.sendVia(r, turn) != nil }

// sendVia is send, and returns the link; nil if none took r.
func (l *links) sendVia(r *proto.Record, turn uint64) *linkEnd {
	all := l.all()
	first := uint64(r.User) + turn
	for i := range all {
		if to := all[(first+uint64(i))%uint64(len(all))]; to.conn.Send(r) == nil {
			return to
		}
	}
	return nil
}

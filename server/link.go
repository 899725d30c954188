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

// linkEnd is the server's end of one link. Its reader is the goroutine of
// ServeLink; event loops answer through it.
type linkEnd struct {
	server *Server
	conn   *link.Conn
	from   string // the route's address; "": it is in this process

	mu    sync.Mutex
	sends map[uint64]pendingSend // with the route; <= sendsMax
	last  uint64                 // the newest id in sends

	heard     atomic.Uint64 // the tick in which the last record came
	echoAsked atomic.Uint64 // the last pause that the route was told of; its echo comes

	syncMu sync.Mutex // of telling: of the reader, and of recheck
	sync   sessionSync

	// Of the reader, or within a process of the sender that calls handle in its place.
	pauses uint64     // as of the record that came last
	echoed uint64     // the last pause whose echo has come
	view   proto.View // of the body that came last
}

// pendingSend is a SEND whose outcome a route owes.
type pendingSend struct {
	from    shard.Ref
	id      uint64
	textID  proto.TextID
	pair    pair
	due     shard.Tick
	forward *pendingForward // not nil: it came by /sendMsg, and from and id are nobody's
}

// sendsMax bounds the SENDs that are with one route. One more is busy.
const sendsMax = 4096

// sendTicks is how long a route may take for an outcome, 20 s: longer than its
// own deadlines. Then the SEND has failed as far as its sender can know.
const sendTicks shard.Tick = 20_000 / shard.TickMillis

// ServeLink serves one link until it ends, and returns why.
func (s *Server) ServeLink(ctx context.Context, conn *link.Conn) error {
	_, pauses := s.checkStall()
	return s.serveLink(ctx, conn, "", pauses)
}

// serveLink is ServeLink of a link from an address that was made after the pause
// of this number.
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
	l.requestEcho(l.pauses) // of one that came before the link was among the others
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

// linkSilenceMax is how long a route over TCP may say nothing: it confirms the
// server each 500 ms (cim/route). It stands still then, or cannot be reached.
const linkSilenceMax = 2 * time.Second

// errSilent is the end of the link of such a route.
var errSilent = errors.New("server: the route has said nothing for too long")

// endSilent ends the link of a route that says nothing. The SENDs whose
// outcome it owes are unknown then, and the route must not do them later, when
// the next ones of their senders have gone another way: what has not reached
// it never does, and a route that stood still drops the rest. A pause of this
// process is not the route's silence.
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

// onConfirm answers at once whether all event loops go on, so that the route
// knows that the server serves. What was sent before a pause confirms nothing.
func (l *linkEnd) onConfirm(r *proto.Record) {
	if !l.awaitsEcho() {
		l.server.Confirm()
	}
	l.answer(r.ID, l.server.health(), 0)
}

// answer queues a verdict. A route that does not read its answers is cut off:
// its asks count as absent there.
func (l *linkEnd) answer(id uint64, verdict proto.Verdict, value uint64) {
	l.closeIfFull(l.conn.SendDirect(&proto.Record{Kind: proto.RecordAnswer, ID: id, Verdict: verdict, Value: value}))
}

func (l *linkEnd) send(r *proto.Record) { l.closeIfFull(l.conn.Send(r)) }

// closeIfFull closes the link if a record for the route has found no room.
func (l *linkEnd) closeIfFull(err error) {
	if err == link.ErrFull {
		l.server.metrics.linkFull.Inc()
		l.server.log.Warn("a route does not read its link; closing it")
		l.conn.Close()
	}
}

// checkBody reads the body of a record, so that what clients are sent can be
// read. One that cannot condemns the link: the route is no cim route.
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

// find returns the session that a record is for. While a session of the user
// returns what it kept, a text for another one would be stored in front of that:
// VerdictReturning. A session leaves the directory when it is among those that
// return, so the directory is asked first. A session that is there is held all
// the same, and its loop answers.
func (l *linkEnd) find(r *proto.Record) (shard.Ref, proto.Verdict) {
	ref, generation, found := l.server.directory.find(r.User)
	page := r.Flags&proto.FlagOffline != 0
	switch {
	case found && generation == r.Generation && (r.Kind != proto.RecordPush || page):
		return ref, proto.VerdictTaken
	case found && generation == r.Generation && !l.server.returns.bars(r.User):
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

// join adds a login to a grant. It takes no room of its own.
func (l *linkEnd) join(r *proto.Record) {
	granted, ok := proto.ParseGrant(r.Body)
	if !ok || l.server.refusesLogins() {
		l.answer(r.ID, proto.VerdictRefused, 0)
		return
	}
	proof, verdict := l.server.directory.join(r.User, r.Generation, newPending(r, granted, l.server.now()), granted.From)
	l.answer(r.ID, verdict, proof)
}

// sendOvertaken has every route know of a login over a session at the server
// left, which must end now: one of them reaches it.
func (s *Server) sendOvertaken(user proto.UserID, generation proto.Generation, left proto.Epoch) {
	for _, l := range s.links.all() {
		l.send(&proto.Record{Kind: proto.RecordOvertaken, User: user, Generation: generation, Value: uint64(left)})
	}
}

// revoke answers when the session has been ended, or held, and what it kept is
// in the box; not before.
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

// forwardSend passes a SEND to the route and reports whether there was room. Its
// outcome is for h, or for the sender's session if that is nil.
func (l *linkEnd) forwardSend(m *send, now shard.Tick, h *pendingForward) bool {
	which := m.pair()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sends) >= sendsMax {
		return false
	}
	// In the pair's books before it can be answered.
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

// fail gives up the SENDs whose outcome was due at now or before.
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
	s.outcome(nil, &send{from: p.from, id: p.id, textID: p.textID, receivers: receivers}, outcome, code)
}

// links are the links that are up. Readers take no lock.
type links struct {
	mu   sync.Mutex
	now  atomic.Pointer[[]*linkEnd]
	ever atomic.Bool // one has been up
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

// choose returns the link for what user sends: the same one while the links
// stay the same, so that order holds. nil: none is up.
func (l *links) choose(user proto.UserID) *linkEnd {
	all := l.all()
	if len(all) == 0 {
		return nil
	}
	return all[uint64(user)%uint64(len(all))]
}

// send gives r, which any route may have, to the route that its user's SENDs
// go to, turn links further on, or to the next whose link takes it. It reports
// whether one did.
func (l *links) send(r *proto.Record, turn uint64) bool { return l.sendVia(r, turn) != nil }

// sendVia is tell that returns the link; nil if none took it.
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

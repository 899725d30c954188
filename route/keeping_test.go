package route

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"cim/internal/link"
	"cim/proto"
)

// keeper is the far end of links as a server is that keeps texts until they are
// acknowledged: of its sessions, and of those that have ended until what they kept
// is in the box.
type keepingServer struct {
	t      testing.TB
	member proto.Member
	client *keepingClients

	mu       sync.Mutex
	random   *rand.Rand
	conns    []*link.Conn
	sessions map[proto.UserID]*keepingSession
	ended    map[proto.UserID][]*keepingSession // that return what they kept
	waiting  map[proto.UserID][]func()          // called when no session returns texts any more
	returns  map[uint64]func(taken bool)
	lastID   uint64
	running  sync.WaitGroup
}

type keepingSession struct {
	user       proto.UserID
	generation proto.Generation
	connected  bool
	held       bool
	holds      uint64
	cursor     uint64
	older      proto.Epoch
	entries    []keptText // given and not acknowledged, oldest first
	flushing   bool
}

// keptText is a text that was given to a session.
type keptText struct {
	key   proto.TextKey
	text  string
	body  []byte // of a live one
	inBox bool
}

// keepingClients are what the users have got, in order, each text once.
type keepingClients struct {
	mu      sync.Mutex
	got     map[proto.UserID]map[proto.UserID][]string // by receiver and sender
	seen    map[proto.UserID]map[proto.TextKey]bool
	doubled int
}

func (c *keepingClients) receive(user proto.UserID, k keptText) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[user] == nil {
		c.seen[user], c.got[user] = map[proto.TextKey]bool{}, map[proto.UserID][]string{}
	}
	if c.seen[user][k.key] {
		c.doubled++
		return
	}
	c.seen[user][k.key] = true
	c.got[user][k.key.Sender] = append(c.got[user][k.key.Sender], k.text)
}

func newKeepingServer(t testing.TB, epoch proto.Epoch, seed uint64, client *keepingClients) *keepingServer {
	m, err := proto.ParseMemberName(fmt.Sprintf("10.0.1.%d:11211:8081", epoch))
	if err != nil {
		t.Fatal(err)
	}
	m.Epoch, m.Version = epoch, proto.LinkVersion
	s := &keepingServer{
		t: t, member: m, client: client, random: rand.New(rand.NewPCG(seed, uint64(epoch))),
		sessions: map[proto.UserID]*keepingSession{}, ended: map[proto.UserID][]*keepingSession{},
		waiting: map[proto.UserID][]func(){}, returns: map[uint64]func(bool){},
	}
	t.Cleanup(s.running.Wait)
	return s
}

func (s *keepingServer) dial() *link.Conn {
	near, far := link.Pair(linkBytes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, far)
	s.running.Go(func() {
		_ = far.Run(context.Background(), func(r *proto.Record) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.handle(far, r)
			return nil
		})
	})
	return near
}

// sendRecord is called with mu held.
func (s *keepingServer) sendRecord(conn *link.Conn, r proto.Record) {
	if err := conn.Send(&r); err != nil && err != link.ErrClosed {
		s.t.Errorf("keeping server: %v", err)
	}
}

func (s *keepingServer) any() *link.Conn { return s.conns[s.random.IntN(len(s.conns))] }

func (s *keepingServer) handle(conn *link.Conn, r *proto.Record) {
	id, kind, user := r.ID, r.Kind, r.User // r is valid until this returns
	answer := func(verdict proto.Verdict, value uint64) {
		a := proto.Record{Kind: proto.RecordAnswer, ID: id, Verdict: verdict, Value: value}
		if of := s.sessions[user]; of != nil && (kind == proto.RecordHold || kind == proto.RecordResume) {
			a.Flags, a.Text, a.Body = proto.FlagAck, proto.TextID(of.cursor), proto.AppendEpoch(nil, of.older)
		}
		s.sendRecord(conn, a)
	}
	switch kind {
	case proto.RecordConfirm:
		answer(proto.VerdictTaken, 0)
	case proto.RecordReturned:
		if done := s.returns[id]; done != nil {
			delete(s.returns, id)
			done(r.Verdict == proto.VerdictTaken)
		}
	case proto.RecordReturning:
		if len(s.ended[r.User]) > 0 {
			answer(proto.VerdictTaken, 0)
		} else {
			answer(proto.VerdictAbsent, 0)
		}
	case proto.RecordGrant:
		s.sessions[r.User] = &keepingSession{user: r.User, generation: r.Generation, older: proto.Epoch(r.Value)}
		answer(proto.VerdictTaken, 0)
	case proto.RecordRevoke:
		s.end(r.User, r.Generation)
		s.whenReturned(r.User, func() { answer(proto.VerdictTaken, 0) })
	case proto.RecordPush, proto.RecordHold, proto.RecordResume:
		verdict, value := s.judge(r)
		answer(verdict, value)
	}
}

func (s *keepingServer) judge(r *proto.Record) (proto.Verdict, uint64) {
	of := s.sessions[r.User]
	page := r.Kind == proto.RecordPush && r.Flags&proto.FlagOffline != 0
	switch {
	case len(s.ended[r.User]) > 0 && !page:
		return proto.VerdictReturning, 0
	case of == nil || !of.connected:
		return proto.VerdictAbsent, 0
	case of.generation != r.Generation:
		return proto.VerdictStale, 0
	case page:
		of.cursor = r.Value
		s.give(of, r.Body, true)
		return proto.VerdictTaken, 0
	}
	switch r.Kind {
	case proto.RecordHold:
		of.held = true
		of.holds++
	case proto.RecordResume:
		if r.Value != of.holds {
			return proto.VerdictBehind, of.holds
		}
	}
	if of.held && slices.ContainsFunc(of.entries, func(k keptText) bool { return !k.inBox }) {
		s.flush(of)
		return proto.VerdictReturning, of.holds
	}
	switch {
	case r.Kind == proto.RecordResume:
		of.held = false
	case r.Kind == proto.RecordPush && of.held:
		return proto.VerdictBehind, 0
	case r.Kind == proto.RecordPush:
		s.give(of, r.Body, false)
	}
	return proto.VerdictTaken, of.holds
}

// give gives a session the texts of a body; a page leaves out texts that it has and has not
// acknowledged.
func (s *keepingServer) give(of *keepingSession, body []byte, page bool) {
	var view proto.View
	if reason := view.Parse(body); reason != proto.ReasonNone {
		s.t.Errorf("a body that is no frame: %v", reason)
	}
	sender, err := strconv.ParseInt(string(view.Property(proto.PropertySenderID)), 10, 64)
	if err != nil {
		s.t.Error(err)
	}
	view.EachIdentified(func(id proto.TextID, text []byte) {
		k := keptText{key: proto.TextKey{Sender: proto.UserID(sender), ID: id}, text: string(text), inBox: page}
		if at := slices.IndexFunc(of.entries, func(other keptText) bool { return other.key == k.key }); at >= 0 {
			return
		}
		if !page {
			k.body = slices.Clone(body)
		}
		of.entries = append(of.entries, k)
	})
}

// flush puts what a session has kept into the box.
func (s *keepingServer) flush(of *keepingSession) {
	if of.flushing {
		return
	}
	var under []proto.TextKey
	var body []byte
	for _, k := range of.entries {
		if !k.inBox {
			under = append(under, k.key)
			body = proto.AppendReturned(body, proto.Returned{Body: k.body})
		}
	}
	of.flushing = len(under) > 0
	if !of.flushing {
		return
	}
	s.putBack(of, body, func() {
		of.flushing = false
		var late []byte
		for _, key := range under {
			at := slices.IndexFunc(of.entries, func(k keptText) bool { return k.key == key })
			if at >= 0 {
				of.entries[at].inBox = true
			} else {
				late = proto.AppendTextKeys(late, key)
			}
		}
		if len(late) > 0 {
			s.sendRecord(s.any(), proto.Record{Kind: proto.RecordAcked, User: of.user, Generation: of.generation, Body: late})
		}
		s.leave(of)
	})
}

// putBack asks routes until one has put body into the box.
func (s *keepingServer) putBack(of *keepingSession, body []byte, done func()) {
	s.lastID++
	s.returns[s.lastID] = func(taken bool) {
		if !taken {
			s.putBack(of, body, done)
			return
		}
		done()
	}
	s.sendRecord(s.any(), proto.Record{Kind: proto.RecordReturn, ID: s.lastID, User: of.user, Generation: of.generation, Body: body})
}

// end ends user's session up to a generation, if there is one.
func (s *keepingServer) end(user proto.UserID, generation proto.Generation) {
	of := s.sessions[user]
	if of == nil || of.generation > generation {
		return
	}
	delete(s.sessions, user)
	s.ended[user] = append(s.ended[user], of)
	s.leave(of)
}

// leave continues the end of a session, if it has ended.
func (s *keepingServer) leave(of *keepingSession) {
	if !slices.Contains(s.ended[of.user], of) || of.flushing {
		return
	}
	if s.flush(of); of.flushing {
		return
	}
	s.ended[of.user] = slices.DeleteFunc(s.ended[of.user], func(other *keepingSession) bool { return other == of })
	if of.connected {
		s.sendRecord(s.any(), proto.Record{Kind: proto.RecordDown, User: of.user, Generation: of.generation})
	}
	s.whenReturned(of.user, nil)
}

// whenReturned calls do, and waiting functions, when no texts of user are on their way to the box.
func (s *keepingServer) whenReturned(user proto.UserID, do func()) {
	if do != nil {
		s.waiting[user] = append(s.waiting[user], do)
	}
	if len(s.ended[user]) > 0 {
		return
	}
	all := s.waiting[user]
	delete(s.waiting, user)
	for _, do := range all {
		do()
	}
}

func (s *keepingServer) connect(user proto.UserID) (connected bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.sessions[user]
	if of == nil || of.connected {
		return false
	}
	of.connected, of.held, of.holds = true, true, 1
	s.up(of)
	return true
}

func (s *keepingServer) up(of *keepingSession) {
	s.sendRecord(s.any(), proto.Record{
		Kind: proto.RecordUp, Flags: proto.FlagAck, User: of.user, Generation: of.generation, Value: of.holds,
		Text: proto.TextID(of.cursor), Body: proto.AppendEpoch(nil, of.older),
	})
}

// repeatUps sends UP for each held session, as a server does each second.
func (s *keepingServer) repeatUps() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range s.sessions {
		if of.connected && of.held {
			s.up(of)
		}
	}
}

// acknowledge has user's client read the first n texts that it was given, and
// reports how many are left.
func (s *keepingServer) acknowledge(user proto.UserID, n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.sessions[user]
	if of == nil {
		return 0
	}
	var keys []byte
	n = min(n, len(of.entries))
	for _, k := range of.entries[:n] {
		s.client.receive(user, k)
		if k.inBox {
			keys = proto.AppendTextKeys(keys, k.key)
		}
	}
	of.entries = slices.Clone(of.entries[n:])
	if len(keys) > 0 {
		s.sendRecord(s.any(), proto.Record{Kind: proto.RecordAcked, User: user, Generation: of.generation, Body: keys})
	}
	return len(of.entries)
}

func (s *keepingServer) disconnect(user proto.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(user, 1<<62)
}

func (s *keepingServer) wait(look func(of *keepingSession) bool, user proto.UserID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.sessions[user]
	return of != nil && look(of)
}

// TestKeptTextsInterleaved: senders send one message after the other, over two routes, while their
// receivers come and go at two servers, acknowledge some texts, and vanish. Nothing is lost, each
// sender's messages arrive in order and once, and no box keeps a text.
func TestKeptTextsInterleaved(t *testing.T) {
	const receivers, senders, each = 4, 6, 60
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	config := testConfig()
	config.ServerChoice = ChoiceRoundRobin
	client := &keepingClients{got: map[proto.UserID]map[proto.UserID][]string{}, seen: map[proto.UserID]map[proto.TextKey]bool{}}
	keeping := map[proto.Epoch]*keepingServer{}
	w := newKeepingWorld(t, config, keeping, seed, client)
	routes := []*world{w, w.another()}
	var to []proto.User
	for i := range receivers {
		to = append(to, w.account(fmt.Sprintf("receiver%d", i)))
	}
	sent := make(chan struct{})
	var sending, moving sync.WaitGroup
	var from []proto.User
	for i := range senders {
		sender := w.account(fmt.Sprintf("s%d", i))
		from = append(from, sender)
		sending.Go(func() { sendUntilTaken(t, routes[i%len(routes)], sender, to, each) })
	}
	for i, user := range to {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		moving.Go(func() { w.readAndVanish(keeping, user, random, sent) })
	}
	sending.Wait()
	close(sent)
	moving.Wait()
	var want []string
	for n := range each {
		want = append(want, strconv.Itoa(n))
	}
	for _, user := range to {
		at := keeping[w.record(user.ID).Place.Epoch]
		w.eventually("all is read by "+user.Name, func() bool {
			at.repeatUps()
			return at.acknowledge(user.ID, 1<<20) == 0 && len(w.boxed(user.ID)) == 0 && at.wait(func(of *keepingSession) bool { return !of.held }, user.ID)
		})
		for _, sender := range from {
			if got := client.got[user.ID][sender.ID]; !slices.Equal(got, want) {
				t.Errorf("%s got from %s: %v", user.Name, sender.Name, got)
			}
		}
	}
	returned := w.counter("cim_route_texts_returned_total")
	t.Logf("%s texts returned, %d came twice", returned, client.doubled)
	if returned == "0" {
		t.Error("nothing was returned: the test shows less than it says")
	}
}

func newKeepingWorld(t *testing.T, config Config, keeping map[proto.Epoch]*keepingServer, seed uint64, client *keepingClients) *world {
	for epoch := proto.Epoch(1); epoch <= 2; epoch++ {
		keeping[epoch] = newKeepingServer(t, epoch, seed, client) // before the route, which ends before them
	}
	w := newWorldWith(t, 0, config, &hookedStore{before: func(call string) error {
		if call == "Return" && rand.IntN(16) == 0 { // a slow store: texts that are stored meanwhile would come first
			time.Sleep(120 * time.Millisecond)
		}
		return nil
	}})
	w.keeping = keeping
	for _, s := range keeping {
		if err := w.registry.Register(t.Context(), s.member); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("all links up", func() bool { return len(w.route.cluster.servers().linked()) == 2 })
	return w
}

// sendUntilTaken sends each receiver numbered texts in order, each again while it is busy.
func sendUntilTaken(t *testing.T, w *world, from proto.User, to []proto.User, each int) {
	for n := range each {
		for _, user := range to {
			for {
				status, a, err := w.try(http.MethodPost, proto.PathPrivate, privateRequest(from.ID, user.ID, strconv.Itoa(n)))
				if err != nil || status != http.StatusOK || a.Code != 9000 && a.Code != 7000 && a.Code != 6000 {
					t.Errorf("%s to %s: HTTP %d, code %d, %v", from.Name, user.Name, status, a.Code, err)
					return
				}
				if a.Code != 6000 {
					break
				}
			}
		}
	}
}

// readAndVanish logs user in, reads some of what comes, and vanishes, until all is
// sent; then it stays.
func (w *world) readAndVanish(keeping map[proto.Epoch]*keepingServer, user proto.User, random *rand.Rand, sent <-chan struct{}) {
	for {
		w.login(user, "")
		at := keeping[w.record(user.ID).Place.Epoch]
		if !at.connect(user.ID) {
			w.t.Error("a login without a grant")
			return
		}
		for range random.IntN(8) {
			time.Sleep(time.Duration(random.IntN(2000)) * time.Microsecond) // of the reader, not of the test
			at.acknowledge(user.ID, random.IntN(4))
		}
		select {
		case <-sent:
			return
		default:
		}
		at.disconnect(user.ID)
	}
}

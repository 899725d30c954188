package shard

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cim/proto"
)

// The model is one receiver with one session after another, its box, a route that
// delivers or stores the messages of two senders, and the receiver's client, which
// drops texts that it has had. Only the shard is real. No text that the shard took
// is lost, and each sender's texts arrive in order, however acknowledgements,
// flushes, catch-ups, failing Returns and ends interleave.
type model struct {
	*rapid.T
	*stand
	dialect proto.Dialect
	ack     bool

	ref       Ref
	live      bool // in the directory
	returning bool // the last session's Return is not in the box yet
	returns   []Return
	acked     []Acked

	box     []boxed
	serial  uint64
	ever    map[proto.TextKey]bool // was in the box
	written map[proto.UserID]int   // texts of each sender
	waiting []letter               // with the route, oldest first
	taken   []letter               // the loop has not written their bytes yet
	kept    int                    // accepted: taken, or in the box
	paging  bool                   // a page is under way
	pageOf  []boxed

	read     int                    // bytes of the wire that the client has
	session  map[proto.TextKey]bool // what this session has had
	has      map[proto.TextKey]int  // how often the client has had each text
	last     map[proto.UserID]int   // the newest text of each sender
	count    uint64                 // counted texts of this session
	ackedTo  uint64
	keys     []proto.TextKey // by count
	receipts map[uint64]proto.TextKey
}

type boxed struct {
	key    proto.TextKey
	number int
	serial uint64
}

// letter is one or more texts on their way. The number of a text is its id.
type letter struct {
	sender  proto.UserID
	first   int
	texts   int
	receipt uint64
	stored  bool // to be stored in the box first
	padding int  // bytes of each text
}

func (l *letter) key(i int) proto.TextKey {
	return proto.TextKey{Sender: l.sender, ID: proto.TextID(l.first + i)}
}

func bodyOf(command proto.Command, sender proto.UserID, numbers []int, padding int) []byte {
	m := proto.MessageFrom(command, proto.User{ID: sender, Name: "s"}, 0, nil)
	for _, n := range numbers {
		m.Batch = append(m.Batch, strconv.Itoa(n)+strings.Repeat(" ", padding))
		m.IDs = append(m.IDs, proto.TextID(n))
	}
	if len(numbers) == 1 {
		m.Text, m.Batch = m.Batch[0], nil
	}
	return proto.AppendBody(nil, m)
}

func (l *letter) body() []byte {
	var numbers []int
	for i := range l.texts {
		numbers = append(numbers, l.first+i)
	}
	return bodyOf(proto.CommandMessage, l.sender, numbers, l.padding)
}

func newModel(t *rapid.T, tb testing.TB, dialect proto.Dialect, ack bool) *model {
	m := &model{
		T: t, stand: newStand(tb), dialect: dialect, ack: ack,
		ever: map[proto.TextKey]bool{}, written: map[proto.UserID]int{}, has: map[proto.TextKey]int{},
		last: map[proto.UserID]int{}, receipts: map[uint64]proto.TextKey{},
	}
	m.Shard = New(Config{
		Number: 3, HeartbeatTicks: 1 << 30, HeartbeatTicksV1: 1 << 30, Epoch: 9, KeptBytesMax: 64 << 10, StuckTicks: 50,
	}, 1000)
	m.begin()
	return m
}

// begin logs the receiver in, as a server does when nothing is returning.
func (m *model) begin() {
	m.ref = m.Open()
	login := proto.AppendAckLogin(nil, proto.User{ID: 1, Name: "u"}, proto.Ticket{})
	if !m.ack {
		login = proto.AppendLogin(nil, proto.User{ID: 1, Name: "u"}, m.dialect, proto.Ticket{})
	}
	var view proto.View
	m.Read(m.ref.Slot, login, &view)
	m.wire[m.ref.Slot], m.read, m.count, m.ackedTo, m.keys = nil, 0, 0, 0, nil
	m.Accept(m.ref.Slot, Login{User: 1, Generation: 1, Name: "u", Dialect: m.dialect, Ack: m.ack})
	m.live, m.paging, m.session = true, false, map[proto.TextKey]bool{}
	m.step()
}

// step does what the loop does after each call.
func (m *model) step() {
	m.stand.run()
	taken := m.taken
	m.taken = nil
	for i := range taken {
		if l := &taken[i]; m.ack || m.Written(m.ref) {
			m.accept(l)
		} else {
			m.waiting = slices.Insert(m.waiting, 0, *l)
		}
	}
	for _, a := range m.answers {
		if a.Verdict != proto.VerdictBusy && a.Verdict != proto.VerdictTaken && a.Verdict != proto.VerdictAbsent {
			m.Fatalf("a page is answered %v", a.Verdict)
		}
		m.paging = false
	}
	m.answers = nil
	for _, e := range m.ends {
		if e.Ref == m.ref && e.User != 0 {
			m.live = false
			m.returning = m.returning || e.Returning
		}
	}
	m.ends = nil
	m.collect()
}

func (m *model) accept(l *letter) { m.kept += l.texts }

// collect takes what the shard hands out.
func (m *model) collect() {
	for r, some := m.NextReturn(); some; r, some = m.NextReturn() {
		m.returning = m.returning || r.End
		m.returns = append(m.returns, r)
	}
	for r, some := m.NextReceipt(); some; r, some = m.NextReceipt() {
		m.settle(r.To, r.Outcome)
	}
}

func (m *model) settle(to ReceiptTo, outcome proto.Outcome) {
	key, wanted := m.receipts[to.ID]
	delete(m.receipts, to.ID)
	switch {
	case !wanted:
		m.Fatalf("receipt %d came twice, or was not wanted", to.ID)
	case outcome == proto.OutcomeReceived && m.has[key] == 0:
		m.Fatalf("%v was not received", key)
	case outcome == proto.OutcomeStored && !m.ever[key]:
		m.Fatalf("%v was not stored", key)
	}
}

// put stores a text in the box, once.
func (m *model) put(key proto.TextKey) {
	for _, b := range m.box {
		if b.key == key {
			return
		}
	}
	m.serial++
	m.ever[key] = true
	m.box = append(m.box, boxed{key, int(key.ID), m.serial})
}

func (m *model) remove(texts []boxed) {
	m.box = slices.DeleteFunc(m.box, func(b boxed) bool {
		return slices.ContainsFunc(texts, func(t boxed) bool { return t.key == b.key })
	})
}

// send sends a new text or batch.
func (m *model) send(t *rapid.T) {
	sender := proto.UserID(rapid.IntRange(10, 11).Draw(t, "sender"))
	l := letter{sender: sender, first: m.written[sender] + 1, texts: 1, stored: rapid.IntRange(0, 9).Draw(t, "want 2") == 0}
	if rapid.IntRange(0, 4).Draw(t, "batch") == 0 {
		l.texts = rapid.IntRange(2, 40).Draw(t, "texts")
	} else if rapid.IntRange(0, 4).Draw(t, "long") == 0 {
		l.padding = rapid.IntRange(0, 20_000).Draw(t, "padding")
	}
	m.written[sender] += l.texts
	if m.ack && !l.stored && rapid.Bool().Draw(t, "receipt") {
		l.receipt = uint64(len(m.ever) + m.written[10]*1000 + m.written[11]*1000_000)
	}
	m.waiting = append(m.waiting, l)
	m.route()
}

// route handles the letters that wait, each sender's in order.
func (m *model) route() {
	stopped := map[proto.UserID]bool{}
	var still []letter
	for i := range m.waiting {
		l := m.waiting[i]
		if stopped[l.sender] || !m.deliverOrStore(&l) {
			stopped[l.sender] = true
			still = append(still, l)
		}
	}
	m.waiting = still
	m.step()
}

// deliverOrStore reports whether l is done.
func (m *model) deliverOrStore(l *letter) bool {
	verdict := proto.VerdictAbsent
	switch {
	case !m.live && m.returning:
		return false
	case m.live && l.stored:
		_, verdict = m.Hold(m.ref)
		if verdict == proto.VerdictTaken {
			verdict = proto.VerdictBehind
		}
	case m.live:
		d := Delivery{Body: l.body()}
		if l.receipt != 0 {
			d.Receipt = ReceiptTo{Link: m, ID: l.receipt}
		}
		var counts bool
		if verdict, counts = m.Deliver(m.ref, d); counts != (m.ack && verdict == proto.VerdictTaken) {
			m.Fatalf("%v, counts: %t", verdict, counts)
		}
		if counts && l.receipt != 0 {
			m.receipts[l.receipt] = l.key(l.texts - 1)
		}
	}
	switch verdict {
	case proto.VerdictTaken:
		m.taken = append(m.taken, *l)
		m.step()
		return true
	case proto.VerdictReturning, proto.VerdictBusy:
		return false
	}
	m.step()
	if !m.live && m.returning {
		return false
	}
	for i := range l.texts {
		m.put(l.key(i))
	}
	m.accept(l)
	return true
}

// clientReads lets the client read more bytes, and handle the whole frames.
func (m *model) clientReads(n int) {
	wire := m.wire[m.ref.Slot]
	end := min(m.read+n, len(wire))
	for m.read < end {
		frame, size, _ := proto.NextFrame(wire[m.read:end], proto.FrameMax)
		if frame == nil {
			break
		}
		m.read += size
		var v proto.View
		if reason := v.Parse(frame); reason != proto.ReasonNone {
			m.Fatalf("frame %x: %v", frame, reason)
		}
		if v.Command != proto.CommandMessage && v.Command != proto.CommandOffline {
			continue
		}
		if v.Counted() != m.ack {
			m.Fatalf("frame counts: %t", v.Counted())
		}
		v.EachIdentified(func(id proto.TextID, _ []byte) {
			m.receive(proto.TextKey{Sender: v.Sender(), ID: id})
		})
	}
	if !m.ack {
		m.SetUnacked(m.ref.Slot, len(wire)-m.read)
		m.step()
	}
}

// tick does what the loop does in each tick. unsent of the bytes that the client
// has not read are still in the process.
func (m *model) tick(ticks Tick, unsent int) {
	m.removed()
	m.Advance(m.now + ticks)
	m.step()
	if m.live {
		m.Wrote(m.ref.Slot, min(unsent, len(m.wire[m.ref.Slot])-m.read))
		m.step()
	}
	m.PollWatched(func(slot uint32) int { return len(m.wire[slot]) - m.read })
	m.step()
	for slot, some := m.NextPoll(); some; slot, some = m.NextPoll() {
		m.SetUnacked(slot, len(m.wire[slot])-m.read)
	}
	m.step()
}

func (m *model) receive(key proto.TextKey) {
	m.count++
	m.keys = append(m.keys, key)
	if m.session[key] {
		m.Fatalf("%v came twice in one session", key)
	}
	m.session[key] = true
	m.has[key]++
	if m.has[key] > 1 {
		return
	}
	if int(key.ID) != m.last[key.Sender]+1 {
		m.Fatalf("text %d of %d came behind text %d; box %v", key.ID, key.Sender, m.last[key.Sender], m.box)
	}
	m.last[key.Sender] = int(key.ID)
}

// acknowledge sends an ACK of the texts that the client has, or of fewer.
func (m *model) acknowledge(n uint64) {
	frame := proto.AppendAck(nil, n)
	if n%2 == 0 {
		frame = proto.AppendAckPing(nil, n)
	}
	m.Read(m.ref.Slot, frame, new(proto.View))
	m.ackedTo = max(m.ackedTo, n)
	m.step()
}

// page is a step of a catch-up, as a route does it.
func (m *model) page(most int) {
	if !m.live || m.paging {
		return
	}
	var held *Held
	m.EachHeld(func(h Held) { held = &h })
	if held == nil {
		return
	}
	m.pageOf = nil
	for _, b := range m.box {
		if b.serial > held.Cursor && len(m.pageOf) < most && (m.pageOf == nil || m.pageOf[0].key.Sender == b.key.Sender) {
			m.pageOf = append(m.pageOf, b)
		} else if m.pageOf != nil {
			break
		}
	}
	if m.pageOf == nil {
		m.Resume(m.ref, held.Holds)
		m.route()
		return
	}
	var numbers []int
	for _, b := range m.pageOf {
		numbers = append(numbers, b.number)
	}
	m.paging = true
	m.DeliverPage(m.ref, bodyOf(proto.CommandOffline, m.pageOf[0].key.Sender, numbers, 0), m.pageOf[len(m.pageOf)-1].serial, "page")
	m.step()
}

// returned has the box take the oldest Return, or not; and the server learn that,
// or not.
func (m *model) returned(stored, known bool) {
	if len(m.returns) == 0 {
		return
	}
	r := m.returns[0]
	ok := stored && known
	if stored {
		for _, part := range r.Parts {
			m.putReturned(part, ok)
		}
	}
	if !ok && r.End {
		return // its server retries
	}
	m.returns = m.returns[1:]
	if r.End {
		m.acked = append(m.acked, Acked{Keys: r.Late})
		m.returning = false
	} else {
		m.Returned(r.Ref, r.Through, ok)
	}
	m.route()
}

func (m *model) putReturned(part ReturnPart, known bool) {
	messages, err := proto.ParseReturned(part.Body)
	if err != nil {
		m.Fatalf("%x: %v", part.Body, err)
	}
	for _, r := range messages {
		for _, key := range keysOf(r.Body)[r.Skip:] {
			m.put(key)
		}
	}
	for _, to := range part.Receipts {
		if !known {
			break
		}
		m.settle(to, proto.OutcomeStored)
	}
}

// removed has the box remove what NextAcked hands out.
func (m *model) removed() {
	for a, some := m.NextAcked(); some; a, some = m.NextAcked() {
		m.acked = append(m.acked, a)
	}
	for _, a := range m.acked {
		for _, key := range a.Keys {
			m.remove([]boxed{{key: key}})
			if m.has[key] == 0 {
				m.Fatalf("%v is removed and was never received", key)
			}
		}
	}
	m.acked = nil
}

// end ends the session; the client may still read what was written.
func (m *model) end(t *rapid.T) {
	if !m.live {
		return
	}
	if rapid.Bool().Draw(t, "by the server") {
		m.End(m.ref, rapid.SampledFrom([]proto.Reason{proto.ReasonReplaced, proto.ReasonSlow, proto.ReasonMemory}).Draw(t, "reason"))
		m.step()
	}
	m.clientReads(rapid.IntRange(0, len(m.wire[m.ref.Slot])).Draw(t, "bytes"))
	if m.read == len(m.wire[m.ref.Slot]) && rapid.Bool().Draw(t, "in order") {
		m.PeerFinished(m.ref.Slot)
	}
	user, _ := m.Closed(m.ref.Slot)
	if user != 0 && !m.live {
		m.Fatal("its end was handed out, and it was live")
	}
	m.live = false
	m.step()
}

func (m *model) check() {
	texts, bytes := m.Kept()
	if bytes > 2*(64<<10) || bytes < 0 || texts < 0 || texts > KeptTextsMax {
		m.Fatalf("%d texts are kept, %d bytes", texts, bytes)
	}
	n := 0
	if m.live {
		if k := m.at(m.ref.Slot).kept; k != nil {
			for _, e := range k.entries.waiting() {
				if e.isLive() {
					n += e.texts
				}
			}
		}
	}
	if n != texts {
		m.Fatalf("%d texts count as kept, want %d", texts, n)
	}
}

// settleAll lets everything finish: no fault, and a client that reads everything.
func (m *model) settleAll() {
	for range 200 {
		m.removed()
		for len(m.returns) > 0 {
			m.returned(true, true)
		}
		if !m.live && !m.returning {
			m.begin()
		}
		m.tick(11, 0)
		m.Read(m.ref.Slot, []byte(proto.Ping), new(proto.View))
		m.route()
		m.page(20)
		m.clientReads(1 << 20)
		if m.ack {
			m.acknowledge(m.count)
		}
		m.removed()
	}
	for sender, n := range m.written {
		if m.last[sender] != n {
			m.Fatalf("of %d texts of %d the last that came is %d; %d wait, box %v", n, sender, m.last[sender], len(m.waiting), m.box)
		}
	}
	texts, bytes := m.Kept()
	if len(m.box) != 0 || len(m.receipts) != 0 || texts != 0 || bytes != 0 || len(m.waiting) != 0 {
		m.Fatalf("left: box %v, receipts %v, %d texts kept, %d bytes, %d wait", m.box, m.receipts, texts, bytes, len(m.waiting))
	}
}

func (m *model) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"send": m.send,
		"send many": func(rt *rapid.T) {
			for range rapid.IntRange(1, 30).Draw(rt, "sends") {
				m.send(rt)
			}
		},
		"route": func(*rapid.T) { m.route() },
		"read":  func(rt *rapid.T) { m.clientReads(rapid.IntRange(1, 20000).Draw(rt, "bytes")) },
		"page":  func(rt *rapid.T) { m.page(rapid.IntRange(1, 20).Draw(rt, "texts")) },
		"catch up": func(*rapid.T) {
			for range 10 {
				m.page(100)
				m.clientReads(1 << 20)
				m.tick(0, 0)
			}
		},
		"return": func(rt *rapid.T) {
			m.returned(rapid.IntRange(0, 4).Draw(rt, "stored") > 0, rapid.IntRange(0, 4).Draw(rt, "known") > 0)
		},
		"remove": func(*rapid.T) { m.removed() },
		"ping": func(*rapid.T) {
			if m.live {
				m.Read(m.ref.Slot, []byte(proto.Ping), new(proto.View))
				m.step()
			}
		},
		"end": func(rt *rapid.T) {
			if rapid.IntRange(0, 3).Draw(rt, "end") == 0 {
				m.end(rt)
			}
		},
		"begin": func(*rapid.T) {
			if !m.live && !m.returning {
				m.begin()
			}
		},
		"acknowledge": func(rt *rapid.T) {
			if m.ack && m.live {
				m.acknowledge(rapid.Uint64Range(m.ackedTo/2, m.count).Draw(rt, "texts"))
			}
		},
		"time": func(rt *rapid.T) {
			m.tick(Tick(rapid.IntRange(1, 12).Draw(rt, "ticks")), rapid.IntRange(0, 10_000).Draw(rt, "unsent"))
		},
	}
}

func testKeptModel(t *testing.T, dialect proto.Dialect, ack bool) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(rt, t, dialect, ack)
		actions := m.actions()
		names := slices.Sorted(maps.Keys(actions))
		for range rapid.IntRange(0, 150).Draw(rt, "steps") {
			actions[rapid.SampledFrom(names).Draw(rt, "action")](rt)
			m.check()
		}
		m.settleAll()
	})
}

func TestKeptModel(t *testing.T) {
	for _, c := range []struct {
		name    string
		dialect proto.Dialect
		ack     bool
	}{
		{"acknowledges", proto.DialectCIM, true}, {"ours of before", proto.DialectCIM, false}, {"v2", proto.DialectV2, false},
	} {
		t.Run(c.name, func(t *testing.T) { testKeptModel(t, c.dialect, c.ack) })
	}
}

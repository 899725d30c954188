package route

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"cim/internal/httpserve"
	"cim/proto"
)

// pipelined sends requests one behind the other, and reads their answers.
type pipelined struct {
	*world
	conn   net.Conn
	reader *bufio.Reader
}

// pipeline sends to a connection of its own, in one write, each path with the body
// behind it.
func (w *world) pipeline(requests ...string) *pipelined {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.route.Addr())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	var all strings.Builder
	for i := 0; i < len(requests); i += 2 {
		fmt.Fprintf(&all, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", requests[i], len(requests[i+1]), requests[i+1])
	}
	go func() { _, _ = io.WriteString(conn, all.String()) }() // requests that have not started need no room
	return &pipelined{w, conn, bufio.NewReader(conn)}
}

// wantNext reads the next answer.
func (p *pipelined) wantNext(code proto.Code) {
	p.t.Helper()
	response, err := http.ReadResponse(p.reader, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if a, err := readAnswer(response.Header, raw); err != nil || a.Code != proto.Number(code) {
		p.t.Errorf("%s (%v), want code %v", raw, err, code)
	}
}

// owe has the server answer no record of this kind, until pay does.
func (f *fakeServer) owe(kind proto.RecordKind) { f.follow(verdictTo(kind, 0)) }

// owes is the ids of the records of this kind that have come.
func (f *fakeServer) owes(kind proto.RecordKind) (ids []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.asked {
		if r.Kind == kind {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func (f *fakeServer) pay(id uint64, verdict proto.Verdict) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reply(f.conns[0], id, verdict, 0)
}

// TestGroupPipelined: group messages behind one another on one connection start side by side, in
// order, and are answered in order. Requests behind them start when they are answered.
func TestGroupPipelined(t *testing.T) {
	w := newWorld(t, 2)
	ann, ben := w.online("ann", true), w.online("ben", true)
	f := w.servers[1]
	f.owe(proto.RecordBroadcast)
	p := w.pipeline(
		proto.PathGroup, groupRequest(ann.ID, "one"), proto.PathGroup, groupRequest(ann.ID, "two"), proto.PathGroup, groupRequest(ann.ID+9, "no"),
		proto.PathGroup, groupRequest(ann.ID, "three"), proto.PathPrivate, privateRequest(ann.ID, ben.ID, "behind"),
	)
	w.eventually("two are begun", func() bool { return len(f.owes(proto.RecordBroadcast)) == 2 })
	ids := f.owes(proto.RecordBroadcast)
	f.pay(ids[1], proto.VerdictTaken)
	f.pay(ids[0], proto.VerdictBusy) // the other server takes it
	p.wantNext(proto.CodeSuccess)
	p.wantNext(proto.CodeSuccess)
	p.wantNext(proto.CodeAccountMismatch)
	w.eventually("the third is begun", func() bool { return len(f.owes(proto.RecordBroadcast)) == 3 })
	if n := f.askedFor(proto.RecordPush) + w.servers[2].askedFor(proto.RecordPush); n != 0 {
		t.Error("the private message has overtaken a group message")
	}
	f.pay(f.owes(proto.RecordBroadcast)[2], proto.VerdictTaken)
	p.wantNext(proto.CodeSuccess)
	p.wantNext(proto.CodeSuccess)
	if got := w.counter("cim_route_group_parts_lost_total"); got != "1" {
		t.Errorf("%s parts lost, want 1", got)
	}
}

// TestGroupPipelinedRoom: where a link has no room for one more beside those of the
// same connection, it waits for them instead of being refused.
func TestGroupPipelinedRoom(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.account("ann")
	f, on := w.servers[1], w.route.cluster.server(1).stream.Load()
	f.owe(proto.RecordBroadcast)
	for range broadcastsMax - 1 {
		if !on.reserve(1) {
			t.Fatal("no room")
		}
	}
	p := w.pipeline(proto.PathGroup, groupRequest(ann.ID, "one"), proto.PathGroup, groupRequest(ann.ID, "two"))
	for n := range 2 {
		w.eventually("it is begun", func() bool { return len(f.owes(proto.RecordBroadcast)) == n+1 })
		f.pay(f.owes(proto.RecordBroadcast)[n], proto.VerdictTaken)
		p.wantNext(proto.CodeSuccess)
	}
	w.eventually("the room is given back", func() bool {
		on.mu.Lock()
		defer on.mu.Unlock()
		return on.broadcasts == broadcastsMax-1
	})
}

// TestGroupPipelinedLinkLost: the end of a link ends all messages that wait for it.
func TestGroupPipelinedLinkLost(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.account("ann")
	f := w.servers[1]
	f.owe(proto.RecordBroadcast)
	p := w.pipeline(proto.PathGroup, groupRequest(ann.ID, "one"), proto.PathGroup, groupRequest(ann.ID, "two"))
	w.eventually("both are begun", func() bool { return len(f.owes(proto.RecordBroadcast)) == 2 })
	f.cutAll()
	p.wantNext(proto.CodeFailure)
	p.wantNext(proto.CodeFailure)
}

// TestPrivatePipelined: of private messages behind one another on one connection the
// second of a pair is not pushed while the first may still have to be stored.
func TestPrivatePipelined(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben, cem := w.online("ann", true), w.online("ben", true), w.online("cem", true)
	f, silent := w.servers[1], true
	f.follow(func(r *proto.Record) (*proto.Record, bool) { // the first push to ben has no answer
		if r.Kind != proto.RecordPush || r.User != ben.ID || !silent {
			return nil, false
		}
		silent = false
		delete(f.sessions, ben.ID)
		return nil, true
	})
	p := w.pipeline(
		proto.PathPrivate, privateRequest(ann.ID, ben.ID, "one"), proto.PathPrivate, privateRequest(ann.ID, cem.ID, "two"),
		proto.PathPrivate, privateRequest(ann.ID, ben.ID, "three"),
	)
	p.wantNext(proto.CodeOffline)
	p.wantNext(proto.CodeSuccess)
	p.wantNext(proto.CodeOffline)
	if got := w.boxed(ben.ID); !slices.Equal(got, []string{"one", "three"}) {
		t.Errorf("stored: %q", got)
	}
	if got := f.texts(cem.ID); !slices.Equal(got, []string{"two"}) {
		t.Errorf("cem got %q", got)
	}
}

// TestRequestOverlapKey: which requests of one connection may be side by side.
func TestRequestOverlapKey(t *testing.T) {
	r := new(Route)
	key := func(path, body string) httpserve.OverlapKey {
		var ctx fasthttp.RequestCtx
		ctx.Request.SetRequestURI(path)
		ctx.Request.SetBodyString(body)
		return r.overlapKeyOf(&ctx)
	}
	for _, c := range []struct {
		path, body string
		want       httpserve.OverlapKey
	}{
		{proto.PathGroup, groupRequest(1, "x"), httpserve.OverlapKey{Kind: proto.PathGroup}},
		{"/t/token" + proto.PathGroup + "/", "?", httpserve.OverlapKey{Kind: proto.PathGroup}},
		{proto.PathPrivate, privateRequest(1, 2, "x"), httpserve.OverlapKey{Kind: proto.PathPrivate, Subject: [2]proto.UserID{1, 2}}},
		{proto.PathPrivate, "?", httpserve.OverlapKey{}},
		{proto.PathLogin, groupRequest(1, "x"), httpserve.OverlapKey{}},
		{"/nowhere", "", httpserve.OverlapKey{}},
	} {
		if got := key(c.path, c.body); got != c.want {
			t.Errorf("%s %s: %+v, want %+v", c.path, c.body, got, c.want)
		}
	}
}

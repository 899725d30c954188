package route

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"cim/proto"
	"cim/store"
)

// Servers of the original take no link. They are servers of this route all the
// same: of an epoch that only this route knows, which never leaves it, with a
// pusher instead of a stream. A login of theirs has generation 0, and its
// record three parts, from which resolved finds the server by its name.

const (
	// pusherConns bounds the connections to one server of the original: as
	// many messages as are on their way there at once. The next ones wait, within
	// their time.
	pusherConns = 32
	// pusherIdle is how long one is kept: shorter than the original keeps its
	// end.
	pusherIdle = time.Second
	// checkTimeout bounds the connect that checks a server of the original
	// before a login is sent there.
	checkTimeout = askTimeout
)

// pusher is the way to a server of the original. Any goroutine calls it.
type pusher struct {
	cim      string // host:port of the clients' connections
	url      string // of /sendMsg
	host     *fasthttp.HostClient
	counters *counters
}

// newOriginalServer returns the server of a member that has no epoch.
func newOriginalServer(m proto.Member, c *counters) *server {
	m.Epoch = localEpoch(m.Name())
	s := newServer(m, c)
	s.place.Epoch = 0
	addr := net.JoinHostPort(m.Host, strconv.Itoa(m.HTTPPort))
	s.pusher = &pusher{
		cim: net.JoinHostPort(m.Host, strconv.Itoa(m.CIMPort)),
		url: "http://" + addr + proto.PathSendMsg,
		host: &fasthttp.HostClient{
			Addr: addr, MaxConns: pusherConns, MaxConnWaitTimeout: askTimeout, MaxIdleConnDuration: pusherIdle,
			MaxResponseBodySize: proto.BodyMax, NoDefaultUserAgentHeader: true,
			DialTimeout: func(addr string, timeout time.Duration) (net.Conn, error) {
				return net.DialTimeout("tcp", addr, timeout)
			},
		},
		counters: c,
	}
	return s
}

// admitOriginals returns the servers of the members that have no epoch: none
// unless this route was told that there are servers of the original.
func (c *cluster) admitOriginals(members []proto.Member) []*server {
	there := make(map[string]*server)
	passedBy := make(map[string]bool)
	var all []*server
	for _, m := range members {
		if m.Epoch != 0 {
			continue
		}
		if !c.original {
			c.passBy(m, passedBy)
			continue
		}
		s := c.originals[m.Name()]
		if s == nil {
			s = newOriginalServer(m, c.dialer.counters)
			c.dialer.log.Info("server of the original", "server", m.Name())
		}
		there[m.Name()] = s
		all = append(all, s)
	}
	for name, s := range c.originals {
		if there[name] == nil {
			s.pusher.close()
			c.dialer.log.Info("server of the original is gone", "server", name)
		}
	}
	c.originals = there
	c.passedBy.Store(&passedBy)
	return all
}

// passBy notes a member without data of ours, and logs it once while it is there.
func (c *cluster) passBy(m proto.Member, now map[string]bool) {
	now[m.Name()] = true
	if before := c.passedBy.Load(); before == nil || !(*before)[m.Name()] {
		c.dialer.log.Warn("a member without data of cim gets no logins and no messages; if it is a server of the original, start this route with --original",
			"member", m.Name())
	}
}

// passedBys is how many members are passed by.
func (c *cluster) passedBys() int {
	if now := c.passedBy.Load(); now != nil {
		return len(*now)
	}
	return 0
}

// localEpoch stands for a server of the original in this route.
func localEpoch(name string) proto.Epoch {
	sum := fnv.New64a()
	sum.Write([]byte(name)) // never fails
	return proto.Epoch(max(sum.Sum64(), 1))
}

// resolved is record with the epoch of its server, if it has none and that is
// live: one of the original, or one of ours at which a route of the original
// has logged the user in.
func (r *Route) resolved(record store.Record) store.Record {
	if record.Place.Epoch == 0 && record.Generation == 0 {
		record.Place.Epoch = r.cluster.servers().epochs[recordName(record.Place)]
	}
	return record
}

func recordName(p store.Place) string {
	return proto.Member{Host: p.Host, CIMPort: p.CIMPort, HTTPPort: p.HTTPPort}.Name()
}

// unresolved is record as the store has it.
func unresolved(record store.Record) store.Record {
	if record.Generation == 0 {
		record.Place.Epoch = 0
	}
	return record
}

// originalServer returns the server of the original that record is about, or
// nil.
func (r *Route) originalServer(record store.Record) *server {
	if s := r.cluster.server(record.Place.Epoch); s != nil && s.pusher != nil {
		return s
	}
	return nil
}

// beside returns what the store does for the original, or nil if no process of
// it is there.
func (r *Route) beside() store.Original {
	if !r.cluster.servers().beside {
		return nil
	}
	return r.original
}

// storeTexts stores m in the form that all who may have to bring it can read.
func (r *Route) storeTexts(ctx context.Context, receiver proto.UserID, m message) error {
	if beside := r.beside(); beside != nil {
		return beside.AppendOriginal(ctx, receiver, m.sender, m.id, m.texts)
	}
	return r.store.Append(ctx, receiver, m.sender, m.id, m.texts)
}

// releaseUngranted removes the record of a login without a grant at place.
func (r *Route) releaseUngranted(ctx context.Context, user proto.UserID, place store.Place) error {
	if r.original == nil {
		return nil // there is none in this store
	}
	place.Epoch = 0
	_, err := r.original.ReleaseOriginal(ctx, user, place)
	return err
}

// ask is what a server of the original makes of r: it takes messages, and
// knows of nothing else. One that cannot be handed over counts as absent.
func (p *pusher) ask(r *proto.Record) reply {
	if r.Kind != proto.RecordPush {
		return reply{verdict: proto.VerdictAbsent}
	}
	if err := p.send(sendMsgBody(r.User, r.Body), askTimeout); err != nil {
		return reply{verdict: proto.VerdictAbsent}
	}
	return reply{verdict: proto.VerdictTaken}
}

// sendMsgBody is the request for a frame's body, which is ours.
func sendMsgBody(receiver proto.UserID, frame []byte) string {
	var view proto.View
	if reason := view.Parse(frame); reason != proto.ReasonNone {
		panic("route: a frame of our own is malformed: " + reason.String())
	}
	request := proto.SendMsgRequest{UserID: proto.Number(receiver), Cmd: "MESSAGE", Properties: map[string]string{
		proto.PropertyReceiverID: strconv.FormatInt(int64(receiver), 10),
	}}
	if view.Command == proto.CommandOffline {
		request.Cmd = "OFFLINE"
	}
	view.EachProperty(func(key, value []byte) { request.Properties[string(key)] = string(value) })
	if view.Batch == 0 {
		text := string(view.Text)
		request.Msg = &text
	}
	if view.Batch > 0 {
		view.EachText(func(text []byte) { request.BatchMsg = append(request.BatchMsg, string(text)) })
	}
	return proto.Body(request)
}

var errRefused = errors.New("a server of the original refused a message")

// send posts a request. Nil means that the server has taken it over, whatever
// becomes of it there.
func (p *pusher) send(body string, within time.Duration) (err error) {
	defer func() { p.counters.originalPushes.inc(pushName(err)) }()
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.SetRequestURI(p.url)
	request.Header.SetMethod(fasthttp.MethodPost)
	request.Header.SetContentType("application/json")
	request.SetBodyString(body)
	if err := p.host.DoTimeout(request, response, within); err != nil {
		return fmt.Errorf("route: push to %s: %w", p.url, err)
	}
	answer, err := proto.ParseAnswer(response.Body())
	if response.StatusCode() != fasthttp.StatusOK || err != nil || proto.Code(answer.Code) != proto.CodeSuccess {
		return fmt.Errorf("%w: %s: HTTP %d, code %d", errRefused, p.url, response.StatusCode(), answer.Code)
	}
	return nil
}

func pushName(err error) string {
	switch {
	case err == nil:
		return "taken"
	case errors.Is(err, errRefused):
		return "refused"
	case errors.Is(err, fasthttp.ErrTimeout), errors.Is(err, fasthttp.ErrNoFreeConns):
		return "late"
	}
	return "failed"
}

// reachable connects to where clients would, and closes at once.
func (p *pusher) reachable(ctx context.Context) bool {
	dialer := net.Dialer{Timeout: checkTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", p.cim)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was sent
	return true
}

func (p *pusher) close() { p.host.CloseIdleConnections() }

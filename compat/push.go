package compat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"cim/proto"
)

const (
	// pushTimeout is how long a server of the original may take to answer a push:
	// the first ones after a Java process has started take seconds.
	pushTimeout = 10 * time.Second
	// pusherConns bounds the connections to one server of the original: as
	// many messages as are on their way there at once.
	pusherConns = 32
	// placeTimeout is how long a message waits for one of them. Past it nothing
	// was sent, so it is stored: a server that hangs holds up its own 32.
	placeTimeout = 300 * time.Millisecond
	// pusherDial bounds a connect to a server's HTTP port.
	pusherDial = time.Second
	// pusherIdle is how long one is kept: shorter than the original keeps its
	// end.
	pusherIdle = time.Second
	// checkTimeout bounds the connect that checks a server of the original
	// before a login is sent there.
	checkTimeout = 300 * time.Millisecond
)

// How a push that was not taken has ended.
var (
	errRefused = errors.New("a server of the original refused a message")
	errUnsent  = errors.New("a message was not sent to a server of the original")
	errUnknown = errors.New("a server of the original has not answered: a message may arrive there or not")
)

// pusher is the way to a server of the original. Any goroutine calls it. The
// client of net/http watches its idle connections, which a server may end at
// any time: a client that writes to one that has ended cannot know whether the
// request was read.
type pusher struct {
	url      string // of /sendMsg
	http     *http.Transport
	places   chan struct{} // of pusherConns: one for each push under way
	counters *counters
	ctx      context.Context // ends with close
	end      context.CancelFunc
}

func newPusher(m proto.Member, c *counters) *pusher {
	dialer := net.Dialer{Timeout: pusherDial}
	p := &pusher{
		url: "http://" + net.JoinHostPort(m.Host, strconv.Itoa(m.HTTPPort)) + proto.PathSendMsg,
		http: &http.Transport{
			DialContext: dialer.DialContext, MaxConnsPerHost: pusherConns, MaxIdleConnsPerHost: pusherConns,
			IdleConnTimeout: pusherIdle, DisableCompression: true,
		},
		places: make(chan struct{}, pusherConns), counters: c,
	}
	p.ctx, p.end = context.WithCancel(context.Background())
	return p
}

// send posts a request and waits for the answer until by. Nil means that the
// server has taken it over, whatever becomes of it there; errUnsent and
// errRefused that it has not; errUnknown that it may have or not.
func (p *pusher) send(body string, by time.Time) (err error) {
	defer func() { p.counters.pushes[pushName(err)].Inc() }()
	place := time.NewTimer(min(placeTimeout, time.Until(by)))
	defer place.Stop()
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	case <-place.C:
		return fmt.Errorf("%w: %s: %d are on their way", errUnsent, p.url, pusherConns)
	case <-p.ctx.Done():
		return fmt.Errorf("%w: %s: it is gone, or this route goes down", errUnsent, p.url)
	}
	ctx, stop := context.WithDeadline(p.ctx, by)
	defer stop()
	return p.post(ctx, body)
}

func (p *pusher) post(ctx context.Context, body string) error {
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", errUnsent, err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := p.http.RoundTrip(request)
	var failed *net.OpError
	switch {
	case err == nil:
	case !connected.Load(), errors.As(err, &failed) && failed.Op == "dial":
		return fmt.Errorf("%w: %s: %w", errUnsent, p.url, err)
	default:
		return fmt.Errorf("%w: %s: %w", errUnknown, p.url, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, proto.BodyMax))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errUnknown, p.url, err)
	}
	answer, err := proto.ParseAnswer(text)
	if response.StatusCode != http.StatusOK || err != nil || proto.Code(answer.Code) != proto.CodeSuccess {
		return fmt.Errorf("%w: %s: HTTP %d, code %d", errRefused, p.url, response.StatusCode, answer.Code)
	}
	return nil
}

// The outcomes of a push, as metrics have them.
const (
	pushTaken   = "taken"
	pushRefused = "refused"
	pushUnknown = "unknown"
	pushUnsent  = "unsent"
)

func pushName(err error) string {
	switch {
	case err == nil:
		return pushTaken
	case errors.Is(err, errRefused):
		return pushRefused
	case errors.Is(err, errUnknown):
		return pushUnknown
	}
	return pushUnsent
}

// reachable connects to where the clients of m would, and closes at once.
func reachable(ctx context.Context, m proto.Member) bool {
	dialer := net.Dialer{Timeout: checkTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(m.Host, strconv.Itoa(m.CIMPort)))
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was sent
	return true
}

// close ends what is on its way: its outcome is unknown.
func (p *pusher) close() {
	p.end()
	p.http.CloseIdleConnections()
}

// sendMsgBody is the request for a frame's body, which is ours.
func sendMsgBody(receiver proto.UserID, frame []byte) string {
	var view proto.View
	if reason := view.Parse(frame); reason != proto.ReasonNone {
		panic("compat: a frame of our own is malformed: " + reason.String())
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

package client

import (
	"context"
	"fmt"
	"sync"

	"cim/proto"
)

// postsMax bounds the messages of SendAsync whose function has not returned.
const postsMax = 1024

// outbox knows the sends in progress. Each send is counted when it starts, so that Close can wait.
type outbox struct {
	closing chan struct{} // closed once nothing more is taken

	mu          sync.Mutex
	closed      bool
	active      int           // sends that have not come to their end
	empty       chan struct{} // closed once there are none; nil: close was not called
	posts       []*post       // written, in their order, and their outcome not brought
	asyncActive int           // of SendAsync aboard; <= postsMax
	running     bool          // reportOutcomes runs
}

// post is a message of SendAsync.
type post struct {
	way       way
	message   *outgoing
	callerCtx context.Context // the caller's
	ctx       context.Context // and at most outcomeMax of it
	cancel    context.CancelFunc
	err       error // it was not written
	done      func(Result, error)
}

// start lets one more be sent.
func (o *outbox) start(async bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return ErrClosed
	case async && o.asyncActive >= postsMax:
		return ErrBusy
	}
	o.active++
	if async {
		o.asyncActive++
	}
	return nil
}

// end is the end of one.
func (o *outbox) end(async bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.active--
	if async {
		o.asyncActive--
	}
	if o.active == 0 && o.empty != nil {
		close(o.empty)
		o.empty = nil
	}
}

// startSend lets one more be sent. The inbox knows of it.
func (c *Client) startSend(async bool) error {
	err := c.outbox.start(async)
	if err == nil {
		c.inbox.addSends(1)
	}
	return err
}

// endSend is the end of one.
func (c *Client) endSend(async bool) {
	c.inbox.addSends(-1)
	c.outbox.end(async)
}

// flush closes the outbox and waits until all sends, ctx or the client have ended.
func (o *outbox) flush(ctx context.Context, ended <-chan struct{}) error {
	empty := o.close()
	select {
	case <-empty:
		return nil
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("client: close: outcomes of messages have not come: %w", ctx.Err())
	}
}

// close refuses further sends. The channel is closed once no send is active.
func (o *outbox) close() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed = true
		close(o.closing)
	}
	if o.empty != nil {
		return o.empty // another Close waits too
	}
	empty := make(chan struct{})
	if o.active == 0 {
		close(empty)
		return empty
	}
	o.empty = empty
	return empty
}

func (o *outbox) isClosed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

// SendAsync sends as Send does, or with receiver 0 as SendGroup, and does not
// wait for the outcome. done is called with it once, unless SendAsync itself
// returns an error; done may be nil, and must not call Close, which waits for
// it. The outcomes come in the order of the messages, by one goroutine, and
// messages of one goroutine are sent in their order; only to a route of the
// original, over HTTP, a Send behind them may overtake them. ctx bounds all of
// it. At most postsMax are on their way: past that the error is ErrBusy.
func (c *Client) SendAsync(ctx context.Context, receiver proto.UserID, text string, done func(Result, error)) error {
	return c.SendAsyncWith(ctx, receiver, text, SendOptions{}, done)
}

// SendAsyncWith is SendAsync with options. Group messages have no options.
func (c *Client) SendAsyncWith(
	ctx context.Context, receiver proto.UserID, text string, options SendOptions, done func(Result, error),
) error {
	if receiver < 0 {
		return badReceiver(receiver)
	}
	if err := checkText(text); err != nil {
		return err
	}
	if err := c.startSend(true); err != nil {
		return err
	}
	p := &post{message: newOutgoing(receiver, text, options), callerCtx: ctx, done: done}
	p.ctx, p.cancel = context.WithTimeout(ctx, outcomeMax)
	if err := c.write(p); err != nil {
		p.cancel()
		c.endSend(true)
		return err
	}
	c.queuePost(p)
	return nil
}

// write finds p's way, and takes it if it is the connection. The error is that
// nothing was sent.
func (c *Client) write(p *post) (err error) {
	p.way, err = c.way(p.ctx, p.message)
	switch {
	case err != nil:
		return err
	case p.way.overHTTP():
	case p.way.id == 0:
		return ErrBusy
	case p.way.outcome == nil:
		p.way.post(p.message)
	default:
		p.err = p.way.session.post(p.way.id, p.message.receiver, p.message.text)
	}
	return nil
}

// queuePost has the outcome of p brought, behind those of all before it.
func (c *Client) queuePost(p *post) {
	c.outbox.mu.Lock()
	defer c.outbox.mu.Unlock()
	c.outbox.posts = append(c.outbox.posts, p)
	if !c.outbox.running {
		c.outbox.running = true
		go c.reportOutcomes()
	}
}

// reportOutcomes runs while there are any to bring.
func (c *Client) reportOutcomes() {
	for p := c.outbox.next(); p != nil; p = c.outbox.next() {
		result, err := c.outcomeOf(p)
		p.cancel()
		c.noteSent(p.message.receiver, result, err)
		if p.done != nil {
			p.done(result, err)
		}
		c.endSend(true)
	}
}

func (o *outbox) next() *post {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.posts) == 0 {
		o.running = false
		return nil
	}
	p := o.posts[0]
	o.posts[0] = nil
	o.posts = o.posts[1:]
	return p
}

func (c *Client) outcomeOf(p *post) (Result, error) {
	switch {
	case p.err != nil:
		return Result{}, p.err
	case p.way.overHTTP():
		return c.sendHTTP(p.ctx, p.message.receiver, p.message.text)
	case p.way.outcome == nil:
		return c.awaitOutcome(p.callerCtx, p.message)
	}
	return p.way.session.outcome(p.ctx, p.way.id, p.way.outcome)
}

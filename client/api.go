package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"cim/proto"
)

// API asks routes over HTTP for what needs no session: the connected users, accounts, and messages
// in the name of an account. It takes no stored message of the sender, and works wherever the
// sender is logged in. It sends each message at once; messages keep their order if each is sent
// after the answer to the one before. Any goroutine may call its methods.
type API struct{ routes *routes }

// NewAPI takes the base URLs of one or more routes. When one fails the next is
// asked. token may be nil.
func NewAPI(urls []string, token TokenSource) (*API, error) {
	if err := (Config{Routes: urls}).checkRoutes(); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return &API{newRoutes(urls, token)}, nil
}

// Online lists the connected users.
func (a *API) Online(ctx context.Context) ([]proto.User, error) { return a.routes.online(ctx) }

// Find is Client.Find.
func (a *API) Find(ctx context.Context, name string) (proto.User, error) {
	return a.routes.account(ctx, name, true)
}

// Register is Client.Register.
func (a *API) Register(ctx context.Context, name string) (proto.User, error) {
	return a.routes.account(ctx, name, false)
}

// Send sends texts, at most proto.BatchMax, as one message from sender to receiver, or with
// receiver 0 as a group message. They are received, delivered, stored or refused together. Result's
// ID is the first one's, its Next the others'.
//
// The error is ErrUnknown if the message may have been delivered or not; after any other error
// nothing was sent. The Result's own Err says whether the route refused it.
func (a *API) Send(ctx context.Context, sender, receiver proto.UserID, texts ...string) (Result, error) {
	return a.SendWith(ctx, sender, receiver, SendOptions{}, texts...)
}

// SendWith is Send with options. A want applies to private messages only, and a route of an older
// release treats each as WantTaken: the outcome shows that. An ID is the first text's, and the
// others' follow it. A route accepts it only with a token of the sender; then the Result's ID is
// the same, and the application may send the message again under it: the receiver gets one copy.
// SendWith itself sends it once.
func (a *API) SendWith(ctx context.Context, sender, receiver proto.UserID, options SendOptions, texts ...string) (Result, error) {
	if len(texts) == 0 || receiver < 0 {
		return Result{}, fmt.Errorf("client: %d texts to %d, want some to a user's id, or to 0", len(texts), receiver)
	}
	for _, text := range texts {
		if err := checkText(text); err != nil {
			return Result{}, err
		}
	}
	path, request := sendRequest(sender, receiver, options, texts)
	return a.post(ctx, path, request)
}

// PutBack sends a received message to receiver once more, and to no other user, in the name of its
// sender and with the time at which it was first sent. The error and the Result are those of Send.
func (a *API) PutBack(ctx context.Context, receiver proto.UserID, m Message) (Result, error) {
	if err := checkText(m.Text); err != nil {
		return Result{}, err
	}
	request := proto.PrivateRequest{
		UserID: proto.Number(m.Sender.ID), ReceiveUserID: proto.Number(receiver), Msg: &m.Text, Client: 1,
	}
	if !m.Sent.IsZero() {
		request.Sent = proto.Number(m.Sent.UnixMilli())
	}
	return a.post(ctx, proto.PathPrivate, request)
}

// post sends one message.
func (a *API) post(ctx context.Context, path string, request any) (Result, error) {
	if size := len(proto.Body(request)); size > proto.BodyMax {
		return Result{}, fmt.Errorf("client: a request of %d bytes as JSON, want at most %d", size, proto.BodyMax)
	}
	answer, err := a.routes.ask(ctx, http.MethodPost, path, request, neverArrived)
	if err != nil {
		return Result{}, err
	}
	code := proto.Code(answer.Code)
	result := sentBody(answer)
	if result.Code = code; result.Outcome == 0 {
		result.Outcome = proto.OutcomeOf(code)
	}
	if result.Outcome == proto.OutcomeUnknown {
		return result, fmt.Errorf("%w: the route says so", ErrUnknown)
	}
	return result, nil
}

// Close closes the connections.
func (a *API) Close() { a.routes.rest() }

// sendRequest is the path and the body of a message; receiver 0 means a group message.
func sendRequest(sender, receiver proto.UserID, options SendOptions, texts []string) (string, any) {
	var text *string
	if len(texts) == 1 {
		text, texts = &texts[0], nil
	}
	id := ""
	if options.ID != 0 {
		id = strconv.FormatUint(uint64(options.ID), 10)
	}
	if receiver == 0 {
		return proto.PathGroup, proto.GroupRequest{UserID: proto.Number(sender), Msg: text, BatchMsg: texts, Client: 1, TextID: id}
	}
	return proto.PathPrivate, proto.PrivateRequest{
		UserID: proto.Number(sender), ReceiveUserID: proto.Number(receiver), Msg: text, BatchMsg: texts, Client: 1,
		TextID: id, Want: proto.Number(options.Want.onWire()),
	}
}

// sentBody is the id, the count and the outcome in the answer of a route of ours;
// nothing in any other.
func sentBody(answer proto.Answer) (result Result) {
	var body proto.SentBody
	if err := json.Unmarshal(answer.DataBody, &body); err != nil {
		return Result{} // the original's route may answer anything
	}
	id, err := strconv.ParseUint(body.TextID, 10, 64)
	if err != nil {
		return Result{}
	}
	result.ID = proto.TextID(id)
	if body.Receivers != nil && *body.Receivers >= 0 {
		result.Receivers = proto.ReceiversOf(*body.Receivers)
	}
	for _, o := range []proto.Outcome{proto.OutcomeReceived, proto.OutcomeDelivered, proto.OutcomeStored, proto.OutcomeUnknown} {
		if body.Outcome == o.String() {
			result.Outcome = o
		}
	}
	return result
}

package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"cim/proto"
)

const (
	// requestMax bounds one request to one route, its answer included.
	requestMax = 5 * time.Second
	// idleMax is how long a connection to a route waits for the next request:
	// a route has few of them for many clients.
	idleMax = 2 * time.Second
	// answerMaxBytes bounds an answer: half a million users online.
	answerMaxBytes = 32 << 20
)

// routes asks one route, and the next if that one cannot be talked to.
type routes struct {
	urls  []string
	at    atomic.Uint32 // the route that is asked first, modulo len(urls)
	http  *http.Client
	token TokenSource // nil: no token is shown
}

func newRoutes(urls []string, token TokenSource) *routes {
	r := &routes{token: token, http: &http.Client{
		Timeout: requestMax,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: requestMax}).DialContext,
			MaxIdleConnsPerHost: 4,
			IdleConnTimeout:     idleMax,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, u := range urls {
		r.urls = append(r.urls, strings.TrimRight(u, "/"))
	}
	return r
}

// first is the route that is asked first, and no other.
func (r *routes) first() *routes {
	return &routes{urls: []string{r.url()}, http: r.http, token: r.token}
}

func (r *routes) url() string { return r.urls[int(r.at.Load())%len(r.urls)] }

// turn lets the next route be asked first.
func (r *routes) turn() { r.at.Add(1) }

// rest closes idle connections to routes.
func (r *routes) rest() { r.http.CloseIdleConnections() }

// account is register with a name that may not be one.
func (r *routes) account(ctx context.Context, name string, find bool) (proto.User, error) {
	if err := proto.CheckNameSpelling(name); err != nil {
		return proto.User{}, fmt.Errorf("client: name: %w", err)
	}
	return r.register(ctx, name, find)
}

// register returns the account of a name. With find a route of ours makes none.
func (r *routes) register(ctx context.Context, name string, find bool) (proto.User, error) {
	var body proto.UserBody
	request := proto.RegisterRequest{UserName: name}
	if find {
		request.Find = 1
	}
	if err := r.repeatable(ctx, http.MethodPost, proto.PathRegister, request, &body); err != nil {
		return proto.User{}, err
	}
	return proto.User{ID: body.UserID, Name: body.UserName}, nil
}

// login shows the ticket of the last login, if any. With move, that login's session continues until
// the new one has started.
func (r *routes) login(ctx context.Context, user proto.User, last proto.Ticket, move bool) (proto.LoginBody, error) {
	request := proto.LoginRequest{UserID: proto.Number(user.ID), UserName: user.Name, Client: 1, Ack: proto.AckVersion}
	if !last.IsZero() {
		request.Ticket = last.String()
	}
	if move {
		request.Move = 1
	}
	var body proto.LoginBody
	err := r.repeatable(ctx, http.MethodPost, proto.PathLogin, request, &body)
	return body, err
}

func (r *routes) goodbye(ctx context.Context, user proto.UserID, last proto.Ticket) error {
	request := proto.OffLineRequest{UserID: proto.Number(user), Msg: proto.GoodbyeMsg}
	if !last.IsZero() {
		request.Ticket = last.String()
	}
	return r.repeatable(ctx, http.MethodPost, proto.PathOffLine, request, nil)
}

func (r *routes) fetchOffline(ctx context.Context, user proto.UserID) error {
	request := proto.FetchOfflineRequest{ReceiveUserID: proto.Number(user)}
	return r.repeatable(ctx, http.MethodPost, proto.PathFetchOffline, request, nil)
}

func (r *routes) online(ctx context.Context) ([]proto.User, error) {
	var bodies []proto.UserBody
	if err := r.repeatable(ctx, http.MethodGet, proto.PathOnlineUser, nil, &bodies); err != nil {
		return nil, err
	}
	users := make([]proto.User, len(bodies))
	for i, b := range bodies {
		users[i] = proto.User{ID: b.UserID, Name: b.UserName}
	}
	return users, nil
}

// send asks for a message to be sent and returns the code. It is asked again,
// at the next route, only if the request cannot have arrived.
func (r *routes) send(ctx context.Context, path string, request any) (proto.Code, error) {
	answer, err := r.ask(ctx, http.MethodPost, path, request, neverArrived)
	return proto.Code(answer.Code), err
}

// repeatable asks for something that may be done twice, and reads the answer's
// body into body. The error is a *Refusal if the code is not of success.
func (r *routes) repeatable(ctx context.Context, method, path string, request, body any) error {
	answer, err := r.ask(ctx, method, path, request, func(error) bool { return true })
	if err != nil {
		return err
	}
	if code := proto.Code(answer.Code); code != proto.CodeSuccess {
		return &Refusal{Path: path, Code: code, Message: answer.Message}
	}
	if body == nil {
		return nil
	}
	if err := json.Unmarshal(answer.DataBody, body); err != nil {
		return fmt.Errorf("client: %s: dataBody: %w", path, err)
	}
	return nil
}

// neverArrived reports whether a request failed before it was sent.
func neverArrived(err error) bool {
	var op *net.OpError
	var none noToken
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &none)
}

// ask asks each route once, until one answers or an error forbids to ask
// another. The error is a *Refusal if the token does not allow the request.
func (r *routes) ask(ctx context.Context, method, path string, request any, again func(error) bool) (proto.Answer, error) {
	var body string
	if request != nil {
		body = proto.Body(request)
	}
	var faults []error
	for range r.urls {
		answer, err := r.askOne(ctx, method, r.url(), path, body)
		if err == nil || errors.As(err, new(*Refusal)) {
			return answer, err
		}
		faults = append(faults, fmt.Errorf("client: %w", err))
		if !again(err) {
			faults = append(faults, ErrUnknown)
			break
		}
		if ctx.Err() != nil {
			break
		}
		r.turn()
	}
	return proto.Answer{}, errors.Join(faults...)
}

func (r *routes) askOne(ctx context.Context, method, route, path, body string) (answer proto.Answer, err error) {
	request, err := http.NewRequestWithContext(ctx, method, route+path, strings.NewReader(body))
	if err != nil {
		return proto.Answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	if err := r.showToken(ctx, request); err != nil {
		return proto.Answer{}, err
	}
	response, err := r.http.Do(request)
	if err != nil {
		return proto.Answer{}, noAnswerError{"the route " + route, err}
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	answer, err = readAnswer(route+path, response)
	if err == nil && (response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden) {
		err = &Refusal{Path: path, Code: proto.Code(answer.Code), Message: answer.Message, NotAllowed: true}
	}
	return answer, err
}

// showToken adds the token. Without one nothing is sent.
func (r *routes) showToken(ctx context.Context, request *http.Request) error {
	if r.token == nil {
		return nil
	}
	token, err := r.token(ctx)
	if err != nil {
		return noToken{err}
	}
	request.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// noToken is the error of a TokenSource.
type noToken struct{ err error }

func (n noToken) Error() string { return fmt.Sprintf("no token to show: %v", n.err) }
func (n noToken) Unwrap() error { return n.err }

// readAnswer reads an answer of any status: a refusal of HTTP has the same form.
func readAnswer(url string, response *http.Response) (proto.Answer, error) {
	var text bytes.Buffer
	if _, err := text.ReadFrom(io.LimitReader(response.Body, answerMaxBytes+1)); err != nil {
		return proto.Answer{}, fmt.Errorf("%s: read the answer: %w", url, err)
	}
	if text.Len() > answerMaxBytes {
		return proto.Answer{}, fmt.Errorf("%s: the answer is longer than %d bytes", url, answerMaxBytes)
	}
	answer, err := proto.ParseAnswer(text.Bytes())
	if err != nil || answer.Code == 0 { // a parser's message about a foreign page helps no user
		return proto.Answer{}, fmt.Errorf("%s is not of a cim route: HTTP status %d without its answer", url, response.StatusCode)
	}
	return answer, nil
}

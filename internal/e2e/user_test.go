package e2e

import (
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"cim/proto"
)

// user is an account and the HTTP side of its client.
type user struct {
	proto.User
	system *system
	number int    // of the system's users; picks its route
	ours   bool   // its client is ours; else the original's
	v1     bool   // the original's client is of dialect v1
	at     string // base URL of its route; "": by number
	ticket string
}

// place is what a login says: where to connect, and with which proof.
type place struct {
	address string // of the long connection
	http    string // base URL of the server's own API
	ticket  string
}

func (u *user) route() string {
	if u.at != "" {
		return u.at
	}
	return u.system.routes[u.number%len(u.system.routes)]
}

// call sends a request as the original does: every one carries reqNo and
// timeStamp.
func (u *user) call(path string, request members) (answer, error) {
	request["reqNo"] = "e2e"
	request["timeStamp"] = time.Now().Unix()
	body, err := json.Marshal(request)
	if err != nil {
		return answer{}, err
	}
	a, err := roundTrip(u.system.client, http.MethodPost, u.route(), path, body)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("%s: HTTP %d: %s", path, a.status, a.message)
	}
	return a, err
}

func (u *user) get(path string) (answer, error) {
	return roundTrip(u.system.client, http.MethodGet, u.route(), path, nil)
}

// ask is call for the test's own goroutine.
func (u *user) ask(path string, request members) answer {
	u.system.t.Helper()
	a, err := u.call(path, request)
	if err != nil {
		u.system.t.Fatal(err)
	}
	return a
}

// want asks and demands a code.
func (u *user) want(code proto.Code, path string, request members) answer {
	u.system.t.Helper()
	a := u.ask(path, request)
	if a.code != code {
		u.system.t.Fatalf("%s of %s: code %s (%s), want %s", path, u.Name, a.code, a.message, code)
	}
	return a
}

func (u *user) register(name string) {
	u.system.t.Helper()
	a := u.want(proto.CodeSuccess, proto.PathRegister, members{"userName": name})
	var body userJSON
	if err := a.read(&body); err != nil || body.UserName != name || body.UserID <= 0 {
		u.system.t.Fatalf("registerAccount of %s: %+v, %v", name, body, err)
	}
	u.User = proto.User{ID: proto.UserID(body.UserID), Name: name}
}

// login asks the route for a place. A client of ours shows ticket, "" for
// none.
func (u *user) login(ticket string) (place, proto.Code, error) {
	request := members{"userId": u.ID, "userName": u.Name}
	if u.ours {
		request["client"] = 1
		if ticket != "" {
			request["ticket"] = ticket
		}
	}
	a, err := u.call(proto.PathLogin, request)
	if err != nil || a.code != proto.CodeSuccess {
		return place{}, a.code, err
	}
	var body ourLoginJSON
	if u.ours {
		err = a.read(&body)
	} else {
		err = a.read(&body.loginJSON)
	}
	if err == nil && u.ours != (body.Ticket != "") {
		err = fmt.Errorf("/login of %s: ticket %q", u.Name, body.Ticket)
	}
	return place{
		address: fmt.Sprintf("%s:%d", body.IP, body.CIMServerPort),
		http:    fmt.Sprintf("http://%s:%d", body.IP, body.HTTPPort),
		ticket:  body.Ticket,
	}, a.code, err
}

// wantLogin asks for a place and demands a code.
func (u *user) wantLogin(code proto.Code, ticket string) place {
	u.system.t.Helper()
	at, got, err := u.login(ticket)
	if err != nil || got != code {
		u.system.t.Fatalf("/login of %s: code %s, %v, want %s", u.Name, got, err, code)
	}
	return at
}

// enter logs in and connects. The session has not got yet what was stored.
func (u *user) enter() (*session, error) {
	at, code, err := u.login("")
	switch {
	case err != nil:
		return nil, err
	case code != proto.CodeSuccess:
		return nil, fmt.Errorf("/login of %s: code %s", u.Name, code)
	}
	return u.connect(at)
}

// join connects at a place, and waits until the session has all that was
// stored.
func (u *user) join(at place) *session {
	u.system.t.Helper()
	s, err := u.connect(at)
	if err == nil {
		err = s.fence()
	}
	if err != nil {
		u.system.t.Fatalf("%s joins: %v", u.Name, err)
	}
	return s
}

// logIn asks for a place and joins.
func (u *user) logIn() *session {
	u.system.t.Helper()
	return u.join(u.wantLogin(proto.CodeSuccess, ""))
}

// private sends texts to one user over HTTP.
func (u *user) private(to *user, texts ...string) (proto.Code, error) {
	a, err := u.call(proto.PathPrivate, members{"userId": u.ID, "receiveUserId": to.ID}.texts(texts))
	return a.code, err
}

// sendPrivate sends a private message, whose answer must have this code.
func (u *user) sendPrivate(code proto.Code, to *user, texts ...string) {
	u.system.t.Helper()
	u.want(code, proto.PathPrivate, members{"userId": u.ID, "receiveUserId": to.ID}.texts(texts))
}

// sendGroup sends a group message over HTTP, which must succeed.
func (u *user) sendGroup(texts ...string) {
	u.system.t.Helper()
	u.want(proto.CodeSuccess, proto.PathGroup, members{"userId": u.ID}.texts(texts))
}

// goodbye is how a client ends its own session.
func (u *user) goodbye() error {
	request := members{"userId": u.ID, "msg": proto.GoodbyeMsg}
	if u.ours && u.ticket != "" {
		request["ticket"] = u.ticket
	}
	a, err := u.call(proto.PathOffLine, request)
	if err == nil && a.code != proto.CodeSuccess {
		err = fmt.Errorf("/offLine of %s: code %s, want 9000", u.Name, a.code)
	}
	return err
}

package standin

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"
)

// fleet is a route and two servers of the original, alone.
type fleet struct {
	t       *testing.T
	route   *Route
	servers []*Server
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	redis := &redis{addr: redisD.Addr}
	if _, err := redis.do("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	redis.close()
	root := "/" + t.Name() + "/cim"
	f := &fleet{t: t}
	var err error
	if f.route, err = StartRoute(RouteConfig{ZK: zooD.Addr, Root: root, Redis: redisD.Addr}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.route.Stop)
	for range 2 {
		s, err := StartServer(ServerConfig{ZK: zooD.Addr, Root: root, RouteURL: f.route.URL()})
		if err != nil {
			t.Fatal(err)
		}
		f.servers = append(f.servers, s)
		t.Cleanup(s.Stop)
	}
	return f
}

// user is a client with what it has received.
type user struct {
	*Client
	got   chan string
	ended chan error
}

func (f *fleet) user(name string) *user {
	f.t.Helper()
	u := &user{got: make(chan string, 1000), ended: make(chan error, 1)}
	var err error
	u.Client, err = NewClient(f.t.Context(), ClientConfig{
		RouteURL: f.route.URL(), UserName: name, Haste: 50,
		Receive: func(_, text string, offline bool) { u.got <- fmt.Sprint(text, offline) },
		Ended:   func(err error) { u.ended <- err },
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return u
}

// in logs a user in until the end of the test.
func (f *fleet) in(name string) *user {
	f.t.Helper()
	u := f.user(name)
	if err := u.Start(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = u.Close() })
	f.await("the login of "+name, func() bool { return f.online() >= u.Logins() && f.has(u.id) })
	return u
}

func (f *fleet) has(id int64) bool {
	return slices.ContainsFunc(f.servers, func(s *Server) bool { return s.channels.find(id) != nil })
}

func (f *fleet) online() int {
	n := 0
	for _, s := range f.servers {
		n += s.Users()
	}
	return n
}

func (f *fleet) await(what string, done func() bool) {
	f.t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(30 * time.Second); !done(); <-poll.C {
		if time.Now().After(end) {
			f.t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func (f *fleet) want(u *user, texts ...string) {
	f.t.Helper()
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	for _, text := range texts {
		select {
		case got := <-u.got:
			if got != text {
				f.t.Fatalf("received %q, want %q", got, text)
			}
		case <-late.C:
			f.t.Fatalf("%q has not come", text)
		}
	}
}

func (f *fleet) code(want string) func(string, error) {
	f.t.Helper()
	return func(code string, err error) {
		f.t.Helper()
		if code != want || err != nil {
			f.t.Fatalf("code %s, %v; want %s", code, err, want)
		}
	}
}

// TestFleet lets users of a fleet of the original talk, and be away.
func TestFleet(t *testing.T) {
	f := newFleet(t)
	ann, bob := f.in("ann"), f.in("bob")
	f.code(CodeSuccess)(ann.Private(t.Context(), bob.ID(), "hello"))
	f.code(CodeSuccess)(ann.Private(t.Context(), bob.ID(), "1", "2"))
	f.code(CodeSuccess)(bob.Group(t.Context(), "all"))
	f.want(bob, "hellofalse", "1false", "2false")
	f.want(ann, "allfalse")
	names, err := ann.Online(t.Context())
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"ann", "bob"}) {
		t.Errorf("online: %v, %v", names, err)
	}
	if _, err := ann.login(t.Context()); !errors.Is(err, ErrRepeat) {
		t.Errorf("a second login: %v", err)
	}
	eve := f.user("eve")
	var want []string
	for i := range 2*fetchMax + 1 {
		f.code(CodeOffline)(ann.Private(t.Context(), eve.ID(), fmt.Sprint(i)))
		want = append(want, fmt.Sprintf("%dtrue", i))
	}
	f.code(CodeOffline)(eve.Fetch(t.Context()))
	eve = f.in("eve")
	f.want(eve, want...)
}

// TestComeBack ends a client's connection: he is back with his next login, and
// one whose place is taken ends.
func TestComeBack(t *testing.T) {
	f := newFleet(t)
	ann := f.in("ann")
	end := func() {
		for _, s := range f.servers {
			if c := s.channels.find(ann.ID()); c != nil {
				c.conn.Close()
			}
		}
	}
	end()
	f.await("the second login", func() bool { return ann.Logins() == 2 && f.has(ann.ID()) })
	// As if somebody else had come between the goodbye and the login.
	taken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			reply(w, answered(CodeRepeat, nil))
			return
		}
		reply(w, answered(CodeSuccess, nil))
	}))
	defer taken.Close()
	ann.SetRoute(taken.URL)
	end()
	select {
	case err := <-ann.ended:
		if !errors.Is(err, ErrRepeat) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it has not ended")
	}
	ann.SetRoute(f.route.URL())
}

// TestFaults shows the faults of the original that stay in.
func TestFaults(t *testing.T) {
	f := newFleet(t)
	ann, bob := f.in("ann"), f.in("bob")
	// A message to a server for somebody who is not there.
	at := place{"127.0.0.1", f.servers[0].CIMPort(), f.servers[0].HTTPPort()}
	text := "lost"
	if err := f.route.push(t.Context(), at, message{ReceiveUserID: 1, Msg: &text}, "MESSAGE", nil); err != nil {
		t.Errorf("a message for nobody: %v", err)
	}
	// A second login at one server.
	server := f.servers[slices.IndexFunc(f.servers, func(s *Server) bool { return s.channels.find(ann.ID()) != nil })]
	first := server.channels.find(ann.ID())
	conn, err := net.Dial("tcp", ann.Server())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(frame{text: "ann", id: ann.ID()}.append(nil)); err != nil {
		t.Fatal(err)
	}
	f.await("the second login", func() bool { c := server.channels.find(ann.ID()); return c != nil && c != first })
	ann.SetRoute("http://127.0.0.1:1") // so that it does not come back
	first.conn.Close()
	f.await("the end of both", func() bool { return server.channels.find(ann.ID()) == nil })
	f.await("the route knows", func() bool {
		record, err := f.route.redis.do("GET", key(routePrefix, ann.ID()))
		return record == nil && err == nil
	})
	// A server that is gone ends a group message.
	if _, err := f.route.redis.do("SET", key(routePrefix, 1), "127.0.0.1:1:1"); err != nil {
		t.Fatal(err)
	}
	f.code(CodeFailure)(bob.Group(t.Context(), "lost"))
	// A hundred ids without a message end what is fetched.
	f.code(CodeOffline)(bob.Private(t.Context(), ann.ID(), "behind"))
	for range fetchMax {
		if _, err := f.route.redis.do("LPUSH", key(listPrefix, ann.ID()), "1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.route.redis.do("SET", key(routePrefix, ann.ID()), "127.0.0.1:1:1"); err != nil {
		t.Fatal(err)
	}
	f.code(CodeSuccess)(bob.caller.post(t.Context(), f.route.URL()+"/fetchOfflineMsgs", message{ReceiveUserID: ann.ID()}, nil))
}

// TestFrames has the bytes of the contract's examples: a login without field 3,
// a message with its properties, a batch.
func TestFrames(t *testing.T) {
	for _, c := range []struct {
		f    frame
		want string
	}{
		{frame{text: "ann", id: 300}, "080a03616e6e10ac02"},
		{frame{text: "ping", id: 1, cmd: cmdPing}, "0a0a0470696e6710011802"},
		{frame{id: 1, cmd: cmdOffline, properties: map[string]string{"k": "v"}, batch: []string{"a", "", "b"}}, "1410011803" + "22060a016b120176" + "2a01612a002a0162"},
	} {
		got := c.f.append(nil)
		if hex.EncodeToString(got) != c.want {
			t.Errorf("%+v is %x, want %s", c.f, got, c.want)
		}
		read, err := readFrame(bufio.NewReader(bytes.NewReader(got)))
		if err != nil || read.text != c.f.text || read.id != c.f.id || read.cmd != c.f.cmd || !slices.Equal(read.texts(), c.f.texts()) {
			t.Errorf("%x reads as %+v, %v", got, read, err)
		}
	}
	for _, wrong := range []string{"", "02", "0208", "020a05", "030801"} {
		body, _ := hex.DecodeString(wrong)
		if _, err := readFrame(bufio.NewReader(bytes.NewReader(body))); err == nil {
			t.Errorf("%s is read", wrong)
		}
	}
	if f, err := parseFrame([]byte{0x82, 0x01, 0x01, 'x'}); err != nil {
		t.Errorf("a field of a larger number is not skipped: %+v, %v", f, err)
	}
}

// TestClientBreaks lets come what the original breaks on.
func TestClientBreaks(t *testing.T) {
	for name, f := range map[string]frame{
		"another cmd":  {cmd: 9, properties: map[string]string{"receiveUserId": "7"}},
		"no receiver":  {cmd: cmdMessage, properties: map[string]string{"sendUserId": "7"}},
		"misdelivered": {cmd: cmdMessage, properties: map[string]string{"receiveUserId": "8"}},
	} {
		c := &Client{id: 7}
		if err := c.take(f); err == nil || c.Broken() != err {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStrictReader reads answers with and without members that it knows.
func TestStrictReader(t *testing.T) {
	for body, ok := range map[string]bool{
		`{"code":"9000","message":"m","reqNo":null,"dataBody":null}`:            true,
		`{"code":"9000","message":"m","reqNo":null,"dataBody":{}}`:              true,
		`{"code":"9000","message":"m","reqNo":null,"dataBody":{"x":1}}`:         false,
		`{"code":"9000","message":"m","reqNo":null,"dataBody":null,"more":1}`:   false,
		`{"code":9000,"message":"m","reqNo":null,"dataBody":null}`:              false,
		`{"code":"9000","message":"m","reqNo":null,"dataBody":null}{"code":""}`: false,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
		c := newCaller()
		if _, err := c.post(t.Context(), server.URL, struct{}{}, nil); (err == nil) != ok {
			t.Errorf("%s: %v", body, err)
		}
		c.close()
		server.Close()
	}
}

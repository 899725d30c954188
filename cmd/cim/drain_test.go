package main

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"cim/proto"
)

// TestServerDrain ends a server that has neither ZooKeeper nor a route, and
// clients of each dialect that neither read nor close: it exits with 0 in time.
func TestServerDrain(t *testing.T) {
	t.Parallel()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close() // nothing listens there now
	const drain = 8 * time.Second
	s, err := startService("server", "--cim-port", "0", "--http-port", "0", "--link-port", "0", "--admin-port", "0",
		"--zk", nobody.Addr().String(), "--login", "open", "--drain", drain.String())
	if err != nil {
		t.Fatal(err)
	}
	const users = 150
	for i := range users {
		conn, err := net.Dial("tcp", s.CIM)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(waitMax))
		user := proto.User{ID: proto.UserID(i + 1), Name: "u"}
		login := proto.AppendLogin(nil, user, proto.DialectV2, proto.Ticket{})
		switch i % 3 {
		case 1:
			login = proto.AppendV1Login(nil, user)
		case 2:
			login = proto.AppendLogin(nil, user, proto.DialectCIM, proto.Ticket{})
		}
		if i%3 == 0 {
			login = append(login, proto.Ping...)
		} else if i%3 == 1 {
			login = proto.AppendV1Ping(login, user.ID)
		}
		if _, err := conn.Write(login); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil { // it is logged in
			t.Fatal(err)
		}
	}
	begin := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > drain {
		t.Errorf("the drain took %v", took)
	}
	for _, want := range []string{"asked=50 ended=100 late=false", "not deregistered", "msg=stopped"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, s.log)
		}
	}
}

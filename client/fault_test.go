package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"cim/proto"
)

// TestUnanswered says of a route that does not answer which it is and why, as a
// person would.
func TestUnanswered(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close()
	}))
	defer silent.Close()
	down := "http://" + unused(t)
	for route, why := range map[string]string{
		down: "connection refused: is it running there?", silent.URL: "it closed the connection",
		strings.Replace(silent.URL, "http", "https", 1): "http: server gave HTTP response to HTTPS client",
	} {
		_, err := Dial(t.Context(), Config{Routes: []string{route}, Name: ann.Name})
		if want := "client: the route " + route + " does not answer: " + why; err == nil || err.Error() != want {
			t.Errorf("Dial: %v, want %q", err, want)
		}
	}
	for want, err := range map[string]error{
		"invalid port":             &url.Error{Op: "Get", URL: "http://x", Err: &net.OpError{Op: "dial", Err: errors.New("invalid port")}},
		"no such host":             &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "x", Server: "192.0.2.1"}},
		"it took too long":         &url.Error{Op: "Post", URL: "http://x", Err: context.DeadlineExceeded},
		"context canceled":         &url.Error{Op: "Post", URL: "http://x", Err: context.Canceled},
		"something is wrong":       errors.New("something is wrong"),
		"connection reset by peer": &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)},
	} {
		fault := noAnswerError{"the route http://x", err}
		if got := fault.Error(); got != "the route http://x does not answer: "+want || !errors.Is(fault, err) {
			t.Errorf("%v: %s", err, got)
		}
	}
}

// TestFinalReasons compares the reasons after which the client logs in again with the protocol's.
func TestFinalReasons(t *testing.T) {
	for reason := range proto.Reason(proto.ReasonCount) {
		if final(&Ended{reason}) == reason.Returns() {
			t.Errorf("final(%s) = %t", reason, !reason.Returns())
		}
	}
	for code, want := range map[proto.Code]bool{
		proto.CodeRepeatLogin: true, proto.CodeAccountMismatch: true, proto.CodeInvalid: true,
		proto.CodeNoServer: false, proto.CodeLimit: false, proto.CodeFailure: false,
	} {
		if final(&Refusal{Code: code}) != want {
			t.Errorf("final(code %s) = %t", code, !want)
		}
	}
}

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"cim/proto"
)

// padded is the JSON of m with white space behind it, size bytes in all.
func padded(t *testing.T, m members, size int) []byte {
	t.Helper()
	b := m.json(t)
	return append(b, bytes.Repeat([]byte(" "), size-len(b))...)
}

// TestHTTPShapes sends what is no request of the API. Every refusal has the
// same JSON shape.
func TestHTTPShapes(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	name := members{"userName": "nina"}
	cases := []struct {
		name, method, path string
		body               []byte
		status             int
		code               proto.Code
	}{
		{"well", "POST", "/registerAccount", name.json(t), 200, proto.CodeSuccess},
		{"unknown member", "POST", "/registerAccount", members{"userName": "nina", "x": 1}.json(t), 200, proto.CodeSuccess},
		{"body at the bound", "POST", "/registerAccount", padded(t, name, bodyMax), 200, proto.CodeSuccess},
		{"body past the bound", "POST", "/registerAccount", padded(t, name, bodyMax+1), 413, proto.CodeInvalid},
		{"POST onlineUser", "POST", "/onlineUser", nil, 200, proto.CodeSuccess},
		{"no such path", "POST", "/nowhere", name.json(t), 404, proto.CodeInvalid},
		{"root", "GET", "/", nil, 404, proto.CodeInvalid},
		{"GET login", "GET", "/login", nil, 405, proto.CodeInvalid},
		{"DELETE onlineUser", "DELETE", "/onlineUser", nil, 405, proto.CodeInvalid},
		{"empty", "POST", "/registerAccount", nil, 400, proto.CodeInvalid},
		{"no JSON", "POST", "/registerAccount", []byte("userName=nina"), 400, proto.CodeInvalid},
		{"an array", "POST", "/registerAccount", []byte(`["nina"]`), 400, proto.CodeInvalid},
		{"half an object", "POST", "/registerAccount", []byte(`{"userName":"nina"`), 400, proto.CodeInvalid},
		{"not UTF-8", "POST", "/registerAccount", []byte("{\"userName\":\"\xff\"}"), 400, proto.CodeInvalid},
		{"a member twice", "POST", "/registerAccount", []byte(`{"userName":"nina","userName":"nino"}`), 400, proto.CodeInvalid},
		{"wrong type", "POST", "/registerAccount", []byte(`{"userName":{}}`), 200, proto.CodeInvalid},
		{"a number for a text", "POST", "/registerAccount", []byte(`{"userName":5}`), 200, proto.CodeSuccess},
	}
	for _, c := range cases {
		a, err := roundTrip(sys.client, c.method, sys.routes[0], c.path, c.body)
		if err != nil || a.status != c.status || a.code != c.code {
			t.Errorf("%s: HTTP %d, code %s, %v, want HTTP %d, %s", c.name, a.status, a.code, err, c.status, c.code)
		}
		want := map[string]string{"GET login": "POST", "DELETE onlineUser": "GET, HEAD, POST"}[c.name]
		if got := a.header.Get("Allow"); got != want {
			t.Errorf("%s: Allow %q, want %q", c.name, got, want)
		}
	}
}

// raw sends bytes to an HTTP listener as they are and reads the answer.
func raw(url, request string) (answer, error) {
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(url, "http://"), waitMax)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(waitMax)); err != nil {
		return answer{}, err
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		return answer{}, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{}, err
	}
	return readAnswer("raw", response)
}

// TestHTTPRaw sends what no HTTP client sends, and requests that never end.
func TestHTTPRaw(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	head := "POST /registerAccount HTTP/1.1\r\nHost: h\r\n"
	cases := []struct {
		name, request string
		status        int
		code          proto.Code
		slow          bool
	}{
		{"no HTTP", "\x0d\x0a\x08zhangsan\r\n\r\n", 400, proto.CodeInvalid, false},
		{"announced past the bound", head + fmt.Sprintf("Content-Length: %d\r\n\r\n", bodyMax+1), 413, proto.CodeInvalid, false},
		{"chunks past the bound", head + "Transfer-Encoding: chunked\r\n\r\n11000\r\n" + strings.Repeat(" ", 0x11000) + "\r\n0\r\n\r\n", 413, proto.CodeInvalid, false},
		{"half a header", head, 408, proto.CodeFailure, true},
		{"half a body", head + "Content-Length: 20\r\n\r\n{", 408, proto.CodeFailure, true},
	}
	var work []func() error
	for _, c := range cases {
		work = append(work, func() error {
			began := time.Now()
			a, err := raw(sys.routes[0], c.request)
			if err != nil || a.status != c.status || a.code != c.code {
				return fmt.Errorf("%s: HTTP %d, code %s, %v, want HTTP %d, %s", c.name, a.status, a.code, err, c.status, c.code)
			}
			if took := time.Since(began); c.slow && (took < 4500*time.Millisecond || took > 15*time.Second) {
				return fmt.Errorf("%s: refused after %v, want about 5 s", c.name, took)
			}
			return nil
		})
	}
	together(t, work...)
}

// TestHTTPConnections opens as many connections to a route as it takes, and
// one more, which takes the place of the first. All others are served.
func TestHTTPConnections(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	ada := sys.ours("ada")
	onAda := ada.logIn()
	sys.client.CloseIdleConnections()
	sys.wantGauge("cim_route_http_connections", 0)
	address := strings.TrimPrefix(sys.routes[0], "http://")
	all := gather(t, address, httpConnsMax)
	sys.wantGauge("cim_route_http_connections", httpConnsMax)
	request := "GET /onlineUser HTTP/1.1\r\nHost: h\r\n\r\n"
	if a, err := raw(sys.routes[0], request); err != nil || a.status != http.StatusOK || a.code != proto.CodeSuccess {
		t.Errorf("one connection more: HTTP %d, code %s, %v, want 200 and 9000", a.status, a.code, err)
	}
	if n, err := all.conns[0].Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the connection that has idled longest: %d bytes, %v, want its end", n, err)
	}
	onAda.wantSend(proto.OutcomeDelivered, ada, "meanwhile")
	if _, err := all.conns[httpConnsMax-1].Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(all.conns[httpConnsMax-1]), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := readAnswer(proto.PathOnlineUser, response); err != nil || a.code != proto.CodeSuccess {
		t.Errorf("a connection within the bound: %+v, %v", a, err)
	}
	all.scatter()
	sys.wantGauge("cim_route_http_connections", 0)
	onAda.wantExactly(from(ada, "meanwhile")...)
}

// wantGauge waits until the first route's metrics have a value.
func (s *system) wantGauge(name string, want int) {
	s.t.Helper()
	line := fmt.Sprintf("\n%s %d\n", name, want)
	eventually(s.t, strings.TrimSpace(line), func() bool {
		status, text := s.admin("/metrics")
		return status == http.StatusOK && strings.Contains("\n"+text, line)
	})
}

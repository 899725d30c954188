package httpserve

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"cim/proto"
)

func statusText(status int) string { return strconv.Itoa(status) }

// exchange sends a request on a connection of its own and reads the answer, with
// the code of the API, "" if there is no body.
func (s *stand) exchange(request string) (response *http.Response, code, message string) {
	s.Helper()
	conn := s.dial(request)
	defer conn.Close()
	method, _, _ := strings.Cut(strings.TrimLeft(request, "\r\n"), " ")
	reader := bufio.NewReader(conn)
	for {
		response, err := http.ReadResponse(reader, &http.Request{Method: method})
		if err != nil {
			s.Fatalf("%.60q: %v", request, err)
		}
		if response.StatusCode == http.StatusContinue {
			continue
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			s.Fatal(err)
		}
		if len(body) == 0 {
			return response, "", ""
		}
		a, err := proto.ParseAnswer(body)
		if err != nil || response.Header.Get("Content-Type") != "application/json" {
			s.Errorf("%.60q: %s (%v)", request, body, err)
		}
		return response, fmt.Sprint(int64(a.Code)), a.Message
	}
}

// TestForms: the forms of requests that proxies and libraries send.
func TestForms(t *testing.T) {
	s := start(t, 10, 100)
	for _, c := range []struct {
		request string
		status  int
		message string // the number of bytes in the body, or the error
	}{
		{"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 200, "2"},
		{"POST /x?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 200, "2"},
		{"POST http://host:80/x HTTP/1.1\r\nHost: host\r\nContent-Length: 2\r\n\r\n{}", 200, "2"},
		{"POST /x HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}", 200, "2"},
		{"\r\nPOST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 200, "2"},
		{"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n3;a=b\r\n   \r\n0\r\nX-Trailer: y\r\n\r\n", 200, "5"},
		{"POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n{}", 200, "2"},
		{"POST /x HTTP/1.1\r\nHost: x\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", 200, "2"},
		{"POST /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQBAAAAAAIAAAAA\r\nContent-Length: 2\r\n\r\n{}", 200, "2"},
		{"POST /x HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", 415, `the body has Content-Encoding "gzip"`},
		{"POST /x HTTP/1.1\r\nHost: x\r\nContent-Encoding: identity\r\nContent-Encoding: BR\r\nContent-Length: 2\r\n\r\n{}", 415, `the body has Content-Encoding "BR"`},
		{"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, ""},
		{"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\n\n\n\n", 200, "4"},
		{"POST /x HTTP/1.1\nHost: x\r\nContent-Length: 4\r\n\r\n\n\n\n\n", 200, "4"},
		{"POST /x HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}", 400, "the lines of the header end in LF"},
		{"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", 400, ""},
		{"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 501, "the body has a Transfer-Encoding"},
	} {
		response, _, message := s.exchange(c.request)
		if response.StatusCode != c.status || !strings.HasPrefix(message, c.message) {
			t.Errorf("%.70q: HTTP %d %q, want %d %q", c.request, response.StatusCode, message, c.status, c.message)
		}
	}
	s.drain()
}

// TestRefusalsQuoteNoToken: an unreadable request may have a token in its path or
// header.
func TestRefusalsQuoteNoToken(t *testing.T) {
	s := start(t, 10, 100)
	const token = "eyJhbGciOiJIUzI1NiJ9"
	for _, request := range []string{
		"POST /t/" + token + " /login HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /t/" + token + "/\x01login HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST http://[/t/" + token + "/login HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nAuthorization Bearer " + token + "\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\x01\r\n\r\n",
		"Bearer-" + token + "\r\n\r\n",
	} {
		response, _, message := s.exchange(request)
		if response.StatusCode != 400 || !strings.HasPrefix(message, "this is no HTTP request: ") || strings.Contains(message, token[:8]) {
			t.Errorf("%.70q: HTTP %d %q, want 400 without the token", request, response.StatusCode, message)
		}
	}
	s.drain()
}

// TestTwoLengths: a request whose end a proxy may see elsewhere is the last one of
// its connection.
func TestTwoLengths(t *testing.T) {
	s := start(t, 10, 100)
	conn := s.dial("POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n0\r\n\r\n" + post("/", 0))
	answers, err := io.ReadAll(conn)
	if err != nil || strings.Count(string(answers), "HTTP/1.1 ") != 1 {
		t.Errorf("%q, %v, want one answer and the end", answers, err)
	}
	conn.Close()
	s.drain()
}

// TestHead: HEAD is answered without a body, of the length that GET has.
func TestHead(t *testing.T) {
	s := start(t, 10, 100)
	response, _, _ := s.exchange("HEAD /no HTTP/1.1\r\nHost: x\r\n\r\n")
	if response.StatusCode != 404 || response.ContentLength <= 0 {
		t.Errorf("HTTP %d, length %d", response.StatusCode, response.ContentLength)
	}
	s.drain()
}

// TestHeaderMax: a head at the bound is read, one byte more and far more are
// refused with a message.
func TestHeaderMax(t *testing.T) {
	s := start(t, 10, 100)
	for _, c := range []struct{ bytes, status int }{
		{8 << 10, 200}, {HeaderMax, 200}, {HeaderMax + 1, 431}, {10 * HeaderMax, 431},
	} {
		head, end := "GET / HTTP/1.1\r\nHost: x\r\nCookie: a=", "\r\n\r\n"
		response, _, message := s.exchange(head + strings.Repeat("c", c.bytes-len(head)-len(end)) + end)
		if response.StatusCode != c.status || c.status == 431 && message != "the header is longer than 16384 bytes" {
			t.Errorf("head of %d bytes: HTTP %d %q, want %d", c.bytes, response.StatusCode, message, c.status)
		}
	}
	s.drain()
}

// TestKeptAlive: a connection survives refusals that leave it readable, and
// pipelined requests are answered in order.
func TestKeptAlive(t *testing.T) {
	s := start(t, 10, 100)
	gzip := "POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
	conn := s.dial(post("/no", 5) + gzip + post("/", 7) + "HEAD /no HTTP/1.1\r\nHost: x\r\n\r\n" + post("/", 9))
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for _, want := range []string{"404 there is no such path", "415 the body has", "200 7", "404", "200 9"} {
		method := "POST"
		if want == "404" {
			method = "HEAD"
		}
		response, err := http.ReadResponse(reader, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		body, _ := io.ReadAll(response.Body)
		a, _ := proto.ParseAnswer(body)
		if got := statusText(response.StatusCode) + " " + a.Message; !strings.HasPrefix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	s.drain()
}

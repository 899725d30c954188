package httpserve

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"cim/proto"
)

// FuzzRequest: whatever a stranger sends, the answer is HTTP with a documented
// status and the JSON of the API, and the server goes on.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"", "\r\n\r\n", "nonsense", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", post("/no", 5) + post("/", 3), post("/", 101),
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nfffffffffffffffff\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"POST http://x:y/ HTTP/1.0\r\nContent-Encoding: gzip\r\n\r\n", "POST /%zz?%%% HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	s := startFor(f, func(s *Server, ctx *fasthttp.RequestCtx) { s.Answer(ctx, proto.CodeSuccess, "", "") })
	statuses := []int{200, 400, 404, 408, 413, 415, 429, 431, 501, 503}
	f.Fuzz(func(t *testing.T, request []byte) {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Write(request); err != nil || conn.(*net.TCPConn).CloseWrite() != nil {
			return // the server has ended the connection
		}
		head := strings.Contains(string(request), "HEAD")
		for reader := bufio.NewReader(conn); ; {
			if _, err := reader.Peek(1); err != nil {
				return
			}
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				if head {
					return // the answer to a HEAD has no body, which the reader does not know
				}
				t.Fatal(err)
			}
			if response.StatusCode == http.StatusContinue {
				continue
			}
			body, err := io.ReadAll(response.Body)
			if head {
				return
			}
			if _, bad := proto.ParseAnswer(body); err != nil || bad != nil || !slices.Contains(statuses, response.StatusCode) {
				t.Fatalf("HTTP %d %q, %v, %v", response.StatusCode, body, err, bad)
			}
		}
	})
}

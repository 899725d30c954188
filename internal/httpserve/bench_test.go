package httpserve

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/valyala/fasthttp"

	"cim/internal/admission"
	"cim/proto"
)

// BenchmarkRequest is the cost of a request on a kept connection: both ends of the
// socket, and the test's reader.
func BenchmarkRequest(b *testing.B) {
	benchmark(b, func(server *Server, ctx *fasthttp.RequestCtx) { server.Answer(ctx, proto.CodeSuccess, "", "") })
}

// BenchmarkLater is the same with an answer that is given later.
func BenchmarkLater(b *testing.B) {
	benchmark(b, func(server *Server, ctx *fasthttp.RequestCtx) {
		server.Later(ctx, OverlapKey{}).Answer(proto.CodeSuccess, "", "")
	})
}

func benchmark(b *testing.B, answer func(*Server, *fasthttp.RequestCtx)) {
	server := startFor(b, answer)
	conn, err := net.Dial("tcp", server.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	request := post("/p2pRoute", 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.WriteString(conn, request); err != nil {
			b.Fatal(err)
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			b.Fatal(err)
		}
	}
	conn.Close()
}

// startFor starts a server whose handler calls answer, until the end of tb.
func startFor(tb testing.TB, answer func(*Server, *fasthttp.RequestCtx)) *Server {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var server *Server
	server = New(listener, Config{
		ConnsMax: 100, BodyMax: 100, Addresses: admission.DefaultPolicy(), IdleTimeout: patience,
		Log: slog.New(slog.DiscardHandler), Refused: func(int, net.Addr) {}, Evicted: func(net.Addr) {},
		Handler: func(ctx *fasthttp.RequestCtx) {
			if _, ok := server.Body(ctx); ok {
				answer(server, ctx)
			}
		},
	})
	ended := make(chan error, 1)
	go func() { ended <- server.Run() }()
	tb.Cleanup(func() {
		server.Drain(context.Background())
		if err := <-ended; err != nil {
			tb.Error(err)
		}
	})
	return server
}

package route

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"cim/proto"
)

// benchWorld is a route with one server and two users there. The receiver keeps no texts.
func benchWorld(b *testing.B) (w *world, body string) {
	w = newWorld(b, 1)
	from, to := w.online("from", false), w.online("to", false)
	w.servers[1].forget()
	return w, privateRequest(from.ID, to.ID, strings.Repeat("x", 128))
}

// forget answers all pushes without keeping a note of anything.
func (f *fakeServer) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgetful = true
}

// BenchmarkPrivate is the route's own part of a private message: the request
// is in memory, the server's answer comes over a link.
func BenchmarkPrivate(b *testing.B) {
	w, body := benchWorld(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.SetMethod(http.MethodPost)
		ctx.Request.SetRequestURI(proto.PathPrivate)
		ctx.Request.SetBodyString(body)
		for pb.Next() {
			ctx.Response.Reset()
			w.route.serveRequest(&ctx)
			if ctx.Response.StatusCode() != http.StatusOK {
				b.Error(ctx.Response.StatusCode())
			}
		}
	})
}

// BenchmarkPrivateHTTP is the same over 64 connections.
func BenchmarkPrivateHTTP(b *testing.B) {
	w, body := benchWorld(b)
	url := fmt.Sprintf("http://%s%s", w.route.Addr(), proto.PathPrivate)
	b.SetParallelism(32) // times two processors
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			response, err := w.http.Post(url, "application/json", strings.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := io.Copy(io.Discard, response.Body); err != nil {
				b.Error(err)
			}
			response.Body.Close()
		}
	})
}

// BenchmarkGroup is the route's own part of a group message.
func BenchmarkGroup(b *testing.B) {
	w, _ := benchWorld(b)
	from := w.account("from")
	body := groupRequest(from.ID, strings.Repeat("x", 128))
	b.ReportAllocs()
	var ctx fasthttp.RequestCtx
	ctx.Request.Header.SetMethod(http.MethodPost)
	ctx.Request.SetRequestURI(proto.PathGroup)
	ctx.Request.SetBodyString(body)
	for b.Loop() {
		ctx.Response.Reset()
		w.route.serveRequest(&ctx)
	}
}

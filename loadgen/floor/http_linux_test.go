package floor

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"cim/loadgen"
)

// startHTTP runs such a floor until the test has ended.
func startHTTP(t *testing.T) *HTTPServer {
	t.Helper()
	s, err := ListenHTTP()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		run.Wait()
	})
	return s
}

// TestHTTP drives it with each load that it knows: everything arrives, once and
// in order.
func TestHTTP(t *testing.T) {
	s := startHTTP(t)
	for name, load := range map[string]func(*loadgen.Config){
		"window": func(c *loadgen.Config) { c.Windows = []int{1, 8} },
		"rate":   func(c *loadgen.Config) { c.Rates = []int{1000} },
		"storm":  func(c *loadgen.Config) { c.Mode, c.LoginURL = loadgen.Storm, "http://"+s.HTTP },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := loadgen.Defaults()
			cfg.System, cfg.Via, cfg.Mode, cfg.Verify = At(s.Addr), loadgen.ViaHTTP, loadgen.Private, true
			cfg.Routes, cfg.Conns, cfg.HTTPConns = []string{"http://" + s.HTTP}, []int{40}, 8
			cfg.Warmup, cfg.Duration = 0, 300*time.Millisecond
			load(&cfg)
			report, err := loadgen.Run(t.Context(), cfg, io.Discard)
			if err != nil || report.Failed() != nil {
				t.Fatal(err, report.Failed())
			}
			if got := report.Trials[0]; cfg.Mode == loadgen.Private && (got.Received == 0 || got.Received != got.Delivered || got.Outcome.Count == 0) {
				t.Errorf("received %d of %d, %d answers", got.Received, got.Delivered, got.Outcome.Count)
			}
		})
	}
}

// TestHTTPRefusesGroup: the HTTP floor has no group messages, and says so before any client
// connects.
func TestHTTPRefusesGroup(t *testing.T) {
	cfg := loadgen.Defaults()
	cfg.System, cfg.Via, cfg.Mode, cfg.Windows = At("127.0.0.1:1"), loadgen.ViaHTTP, loadgen.Group, []int{1}
	cfg.Routes, cfg.Conns = []string{"http://127.0.0.1:1"}, []int{4}
	if _, err := loadgen.Run(t.Context(), cfg, io.Discard); err == nil || !strings.Contains(err.Error(), "--mode private") {
		t.Errorf("error %v", err)
	}
}

// TestHTTPAnswers posts what is no frame, a frame to no receiver, and one to a connected receiver,
// which gets it and nothing else.
func TestHTTPAnswers(t *testing.T) {
	s := startHTTP(t)
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sendFrame(t, conn, appendFrame(nil, 7, nil))
	hear(t, conn, appendFrame(nil, 7, nil))
	defer http.DefaultClient.CloseIdleConnections()
	whole := appendFrame(nil, 7, []byte("text"))
	for _, c := range []struct {
		body []byte
		want int
	}{
		{nil, http.StatusOK},
		{whole[:len(whole)-1], http.StatusBadRequest},
		{append(bytes.Clone(whole), 0), http.StatusBadRequest},
		{appendFrame(nil, allReceivers, []byte("text")), http.StatusBadRequest},
		{appendFrame(nil, receiversMax, []byte("text")), http.StatusBadRequest},
		{appendFrame(nil, 8, []byte("text")), http.StatusNotFound},
		{whole, http.StatusOK},
	} {
		answer, err := http.Post("http://"+s.HTTP, "application/octet-stream", bytes.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil || answer.StatusCode != c.want {
			t.Errorf("%q: status %d, %v, want %d", c.body, answer.StatusCode, err, c.want)
		}
	}
	hear(t, conn, whole)
}

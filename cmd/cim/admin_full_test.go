package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"cim/internal/admission"
	"cim/internal/httpserve"
	"cim/internal/metrics"
)

// TestHealthBesideStrangers: health and metrics are answered while strangers hold
// more connections than there are places, idle, half sent, and with requests in
// progress.
func TestHealthBesideStrangers(t *testing.T) {
	a, err := startAdmin("127.0.0.1", 0, adminDeps{
		ready: func() []notReady { return nil }, metrics: metrics.NewSet(), log: slog.New(slog.DiscardHandler),
		addresses: admission.DefaultPolicy(), idle: httpserve.IdleTimeoutDefault,
	})
	if err != nil {
		t.Fatal(err)
	}
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			conn.Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), waitMax)
		defer cancel()
		if err := a.close(ctx); err != nil {
			t.Error(err)
		}
	}()
	ask := func(path string) {
		t.Helper()
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: waitMax}
		response, err := client.Get("http://" + a.address() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if _, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s: HTTP %d, %v", path, response.StatusCode, err)
		}
	}
	for _, sent := range []string{"", "GET /livez HT", "GET " + pathProfiles + "mutex?seconds=60 HTTP/1.1\r\nHost: x\r\n\r\n"} {
		for range 2 * adminConnsMax {
			conn, err := net.Dial("tcp", a.address())
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, conn)
			if _, err := io.Copy(conn, strings.NewReader(sent)); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		for _, path := range []string{pathLive, pathReady, "/metrics", pathLive} {
			ask(path)
		}
		t.Logf("after %q: %v", sent, time.Since(began))
	}
}

package main

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"cim/client"
)

// TestSendBatchFailed: if a route fails on a batch, some of it may be stored, so it is not sent a
// second time. A batch that was refused because of one line goes line by line.
func TestSendBatchFailed(t *testing.T) {
	for code, asked := range map[string]int{"4000": 1, "9200": 3} {
		f := &flaky{answers: []string{code}}
		route := httptest.NewServer(f)
		defer route.Close()
		api, err := client.NewAPI([]string{route.URL}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer api.Close()
		c := lineSender{api: api, sender: 7, receiver: 8, report: &sendReport{out: io.Discard, stderr: io.Discard}, ours: true}
		lines := readLines(t.Context(), strings.NewReader("a\nb\n"))
		batch := append(lines.batch(t.Context(), 1), lines.batch(t.Context(), 1)...)
		if err := c.send(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if f.asked != asked || c.report.undelivered != 2 {
			t.Errorf("answered %s it asked %d times, want %d, and %d failed, want 2", code, f.asked, asked, c.report.undelivered)
		}
	}
}

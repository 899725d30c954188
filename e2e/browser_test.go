package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// testMax bounds what a test does in the browser.
const testMax = 3 * time.Minute

// install says how to get what is missing.
const install = "no chromium found; on Debian: apt-get install -y --no-install-recommends chromium"

// browser is a tab without a network. It notes whatever a sealed page must not
// do.
type browser struct {
	context.Context

	mu     sync.Mutex
	faults []string
}

// newBrowser opens the file of that path. What the page must not have done is
// a fault of the test at its end.
func newBrowser(t *testing.T, path string) *browser {
	t.Helper()
	b := open(t, path)
	t.Cleanup(func() {
		for _, fault := range b.noted() {
			t.Error(fault)
		}
	})
	return b
}

func open(t *testing.T, path string) *browser {
	t.Helper()
	url := "file://" + path
	b := &browser{}
	ctx, cancel := context.WithTimeout(t.Context(), testMax)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(func(event any) { b.look(event, url) }),
		chromedp.WithAllocatorOptions(chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.WindowSize(1400, 900), chromedp.WSURLReadTimeout(testMax),
			chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND")))
	t.Cleanup(cancel)
	b.Context = ctx
	b.do(t, call(network.Enable, network.EnableParams{}), call(log.Enable, cdp.Empty{}),
		chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
			_, err := cdp.Call(ctx, tab, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
				MatchedNetworkConditions: []*network.Conditions{{Offline: true, DownloadThroughput: -1, UploadThroughput: -1}},
			})
			return err
		}),
		chromedp.Navigate(url), chromedp.WaitReady(chromedp.CSS("body")))
	return b
}

// noted is what was noted until now.
func (b *browser) noted() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.faults)
}

func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal(install)
	return ""
}

// look notes requests, complaints, exceptions and dialogs.
func (b *browser) look(event any, url string) {
	fault := ""
	switch event := event.(type) {
	case *network.EventRequestWillBeSent:
		if event.Request.URL != url {
			fault = "request for " + event.Request.URL
		}
	case *log.EventEntryAdded:
		fault = "complaint: " + event.Entry.Text
	case *runtime.EventExceptionThrown:
		fault = "exception: " + event.ExceptionDetails.Text
	case *page.EventJavascriptDialogOpening:
		fault = "dialog: " + event.Message
	}
	if fault != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.faults = append(b.faults, fault)
	}
}

// call is a command of the browser's protocol that answers nothing.
func call[P any](command cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, command, params)
		return err
	})
}

func (b *browser) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b, actions...); err != nil {
		t.Fatal(err)
	}
}

// ask is what a script says, as JSON.
func ask[T any](t *testing.T, b *browser, script string) T {
	t.Helper()
	answer, err := chromedp.Run(b, chromedp.Evaluate[T](script))
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return answer
}

// newPage makes the page of folders of results with cim bench report.
func newPage(t *testing.T, folders ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "page.html")
	args := append([]string{"run", "./cmd/cim", "bench", "report", "--out", out}, folders...)
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = ".."
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cim bench report: %v\n%s", err, text)
	}
	return out
}

func example(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "bench", "report", "testdata", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

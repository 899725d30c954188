package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"cim/loadgen"
)

func page(t *testing.T, runs ...Run) string {
	t.Helper()
	b, err := Page(runs)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPageNumbers finds the numbers of the report in the tables, exact and as
// people read them: of several runs the medians.
func TestPageNumbers(t *testing.T) {
	run := example(t, "example-a")
	text := page(t, run)
	for _, o := range run.Outcomes {
		for n := range o.Report.Trials {
			over := load{again: o.again(n)}.over
			for _, v := range []float64{
				over(deliveriesOf), over(cpuOf), over(p50Of) / 1000, over(func(t loadgen.Trial) float64 { return t.Latency.P9999 }) / 1000, over(memoryOf),
			} {
				c := figure(v)
				if v != 0 && !strings.Contains(text, `data-value="`+c.Value+`">`+c.Text) {
					t.Errorf("%s: the page lacks %v", o.Name, v)
				}
			}
		}
	}
}

// TestPageSealed: the page asks for nothing from outside, and its policy lets
// exactly its own scripts and styles run.
func TestPageSealed(t *testing.T) {
	text := page(t, example(t, "example-a"))
	policy := regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(text)
	if policy == nil || !strings.HasPrefix(policy[1], "default-src &#39;none&#39;; script-src") || strings.Contains(policy[1], "unsafe") {
		t.Fatalf("policy %q", policy)
	}
	for _, element := range []string{"script", "style"} {
		found := regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllStringSubmatch(text, -1)
		if len(found) < 2 {
			t.Errorf("%d elements %s", len(found), element)
		}
		for _, one := range found {
			sum := sha256.Sum256([]byte(one[1]))
			hash := strings.ReplaceAll(base64.StdEncoding.EncodeToString(sum[:]), "+", "&#43;")
			if !strings.Contains(policy[1], "sha256-"+hash) {
				t.Errorf("the policy refuses the page's own %s: %.60q", element, one[1])
			}
		}
	}
	for _, outside := range []string{` src=`, ` href=`, "@import", "url(", "fetch(", "XMLHttpRequest", "WebSocket", "<link"} {
		if strings.Contains(text, outside) {
			t.Errorf("the page has %q", outside)
		}
	}
}

// hostile is what a name must not be able to do.
const hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\x00\n\u2028{{.}}"

func hostileRun(t *testing.T) Run {
	t.Helper()
	run := example(t, "example-a")
	run.Label = hostile
	run.Manifest.Commit, run.Manifest.CPU, run.Manifest.Programs = hostile, hostile, map[string]string{hostile: hostile}
	for i := range run.Outcomes {
		o := &run.Outcomes[i]
		o.System, o.Guarantee, o.Failure = o.System+hostile, hostile, hostile
		o.Name += hostile
		o.Report.Mode, o.Report.Via = loadgen.Mode(hostile), hostile
		for j := range o.Results {
			o.Results[j].Name, o.Results[j].Unit, o.Results[j].Bound = hostile, hostile, hostile
		}
	}
	return run
}

// TestHostileNames: a name is data wherever it is used.
func TestHostileNames(t *testing.T) {
	run := hostileRun(t)
	text := page(t, run)
	if strings.Contains(text, "<img") || strings.Contains(text, "alert(1)</script>") {
		t.Error("a name became an element of the page")
	}
	plainScripts := strings.Count(page(t, example(t, "example-a")), "<script")
	if got := strings.Count(text, "<script"); got != plainScripts {
		t.Errorf("%d scripts, want %d", got, plainScripts)
	}
	data := regexp.MustCompile(`(?s)id="data">(.*?)</script>`).FindStringSubmatch(text)
	var read chartData
	if err := json.Unmarshal([]byte(data[1]), &read); err != nil || read.Runs[0] != hostile {
		t.Errorf("the data: %v, run %q", err, read.Runs)
	}
	files, err := Files(run)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !regexp.MustCompile(`^[a-z0-9/.-]+$`).MatchString(f.Path) || strings.Contains(f.Path, "..") {
			t.Errorf("a name became a path: %q", f.Path)
		}
		if strings.HasSuffix(f.Path, ".svg") && bytes.Contains(f.Bytes, []byte("<img")) {
			t.Errorf("%s: a name became an element", f.Path)
		}
		if f.Path == "report.txt" && bytes.ContainsAny(f.Bytes, "\x00\u2028") {
			t.Errorf("report.txt has what breaks a line: %q", f.Bytes)
		}
	}
}

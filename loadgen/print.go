package loadgen

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// notMeasured stands in the table for a number that there is not.
const notMeasured = "-"

// tableWidth is what a row takes, in characters. A narrower terminal gets it in
// two, one below the other.
const tableWidth = 132

// Print writes r as a table for a terminal of that width in characters; 0: any width.
func (r Report) Print(w io.Writer, width int) error {
	p := printer{w: w, narrow: width > 0 && width < tableWidth, width: width, want: r.Want}
	p.line("mode %s via %s, dialect %s, texts of %s bytes, warm-up %g s, measured %g s",
		r.Mode, r.Via, r.Dialect, r.Size, r.WarmupS, r.DurationS)
	p.line("CPU is for each delivery; p50 to max are from the due time of a message to its arrival, in µs")
	p.row("conns", "window", "rate 1/s", "deliveries/s", "server CPU µs", "own CPU µs", "logins s",
		"p50", "p90", "p99", "p99.9", "p99.99", "max")
	for _, t := range r.Trials {
		p.trial(t)
	}
	if r.Stopped != "" {
		p.line("stopped early: %s", r.Stopped)
	}
	return p.err
}

// printer writes lines until the first error.
type printer struct {
	w      io.Writer
	narrow bool
	width  int // if narrow: lines are broken there
	want   int // of the messages
	err    error
}

func (p *printer) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.narrow {
		indent := text[:len(text)-len(strings.TrimLeft(text, " "))]
		text = indent + strings.Join(Wrapped(text, p.width-len(indent)), "\n"+indent)
	}
	p.write(text)
}

func (p *printer) write(line string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, line+"\n")
	}
}

// row takes what a trial was and did, and then its latencies.
func (p *printer) row(cells ...any) {
	between := " "
	if p.narrow {
		between = "\n" + strings.Repeat(" ", 7)
	}
	p.write(fmt.Sprintf("%8s %7s %8s %12s %13s %10s %8s"+between+"%9s %9s %9s %9s %9s %9s", cells...))
}

// Wrapped breaks a text between its words so that each line has width
// characters at most; 0: as many as it has. A longer word has a line of its own.
func Wrapped(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && width > 0 && utf8.RuneCountInString(line+" "+word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func (p *printer) trial(t Trial) {
	p.row(integer(t.Conns), integer(t.Window), integer(t.Rate), decimal(t.DeliveriesPerSecond, 0),
		decimal(t.ServerCPUus, 2), decimal(t.OwnCPUus, 2), decimal(t.LoginS, 2),
		t.latency(t.Latency.P50), t.latency(t.Latency.P90), t.latency(t.Latency.P99),
		t.rare(t.Latency.P999, 1e3), t.rare(t.Latency.P9999, 1e4), t.latency(t.Latency.Max))
	for _, warning := range t.Warnings {
		p.line("%8s warning: %s", "", warning)
	}
	if t.Partial {
		p.line("%8s partial: %.2f s were measured", "", t.MeasuredS)
	}
	if len(t.Processes) > 1 {
		p.processes(t)
	}
	if t.idle() {
		p.line("%8s idle: %s bytes of the server's memory a connection", "", decimal(t.IdleBytes, 0))
		return
	}
	if t.Phase != "" {
		p.logins(t)
		return
	}
	p.line("%8s with the warm-up: delivered %d, stored %d, refused %d; lost %d, doubled %d, reordered %d, misdelivered %d",
		"", t.Delivered, t.Stored, t.Refused, t.Lost, t.Doubled, t.Reordered, t.Misdelivered)
	if p.want > 0 {
		p.line("%8s want %d: received %d, stored %d, delivered %d; duplicates recognised %d",
			"", p.want, t.OutcomeReceived, t.Stored, t.Delivered, t.Duplicates)
	}
	p.others(t)
	if t.Foreign > 0 {
		p.line("%8s group messages of another run: %d deliveries", "", t.Foreign)
	}
	if t.Moved > 0 {
		p.line("%8s the server drains: it asked %d clients to log in elsewhere", "", t.Moved)
	}
	if t.Ended > 0 {
		p.line("%8s ended connections %d, not delivered to them %d", "", t.Ended, t.Undelivered)
	}
}

func (p *printer) logins(t Trial) {
	l := t.Logins
	p.line("%8s %s: %d logins, %.0f a second, each p50 %.0f, p90 %.0f, p99 %.0f, max %.0f µs; server CPU %s µs a login; tried again %d", "", t.Phase,
		l.Count, t.LoginsPerSecond, l.P50, l.P90, l.P99, l.Max, decimal(t.LoginCPUus, 0), t.LoginRetries)
}

// others are the times beside the latency, and counts that are usually 0.
func (p *printer) others(t Trial) {
	if t.Rate > 0 && t.Service.Count > 0 {
		p.line("%8s from the actual send: p50 %.0f, p99 %.0f, p99.9 %.0f, max %.0f µs", "", t.Service.P50, t.Service.P99, t.Service.P999, t.Service.Max)
	}
	if t.Outcome.Count > 0 {
		p.line("%8s until the sender was answered: p50 %.0f, p99 %.0f, p99.9 %.0f, max %.0f µs", "", t.Outcome.P50, t.Outcome.P99, t.Outcome.P999, t.Outcome.Max)
	}
	if t.Skew.Count > 0 {
		p.line("%8s from a message's first receiver to its last: p50 %.0f, p99 %.0f, max %.0f µs, of %d messages", "", t.Skew.P50, t.Skew.P99, t.Skew.Max, t.Skew.Count)
	}
	if t.Unfollowed > 0 {
		p.line("%8s messages not followed to their last receiver: %d", "", t.Unfollowed)
	}
	if t.Credit.Count > 0 {
		p.line("%8s its sender got the receipt through another process, p50 %.0f, p99 %.0f, max %.0f µs later: in no latency", "", t.Credit.P50, t.Credit.P99, t.Credit.Max)
	}
	if n := t.WrongSender + t.Corrupt + t.FailedDelivered; n > 0 {
		p.line("%8s wrong sender named %d, corrupt %d, failed yet delivered %d", "", t.WrongSender, t.Corrupt, t.FailedDelivered)
	}
	for _, example := range t.Examples {
		p.line("%8s %s", "", example)
	}
}

// processes says each one's part of what the columns sum up.
func (p *printer) processes(t Trial) {
	for _, one := range t.Processes {
		if t.idle() {
			p.line("%8s process %d: %s bytes a connection", "", one.PID, decimal(one.IdleBytes, 0))
		} else {
			p.line("%8s process %d: CPU %s µs", "", one.PID, decimal(one.CPUus, 2))
		}
	}
}

func (t Trial) latency(us float64) string {
	if t.Latency.Count == 0 {
		return notMeasured
	}
	return fmt.Sprintf("%.0f", us)
}

// rare is a percentile that one of oneIn deliveries exceeds: fewer deliveries have none.
func (t Trial) rare(us float64, oneIn int64) string {
	if t.Latency.Count < oneIn {
		return notMeasured
	}
	return t.latency(us)
}

// integer and decimal show 0 as not measured: in none of the columns it is a result.
func integer(n int) string {
	if n == 0 {
		return notMeasured
	}
	return fmt.Sprint(n)
}

func decimal(v float64, places int) string {
	if v == 0 {
		return notMeasured
	}
	return fmt.Sprintf("%.*f", places, v)
}

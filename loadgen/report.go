package loadgen

import (
	"errors"
	"fmt"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is what a run of Config measured: one Trial for each number of
// connections and window.
type Report struct {
	System    string `json:"system"`    // under test, "cim" for ours
	Guarantee string `json:"guarantee"` // of a message that was taken
	Mode      Mode   `json:"mode"`
	Via       Via    `json:"via"`
	Dialect   string `json:"dialect"`
	TextBytes int    `json:"text_bytes"` // of the longest text
	Size      string `json:"size"`       // of the texts: "128", "64-1024" or "exp:200"
	HTTPConns int    `json:"http_conns"`
	Loops     int    `json:"loops"`
	Procs     int    `json:"procs"`          // worker processes; 1: the process itself
	Want      int    `json:"want,omitempty"` // of the private messages
	Verified  bool   `json:"verified"`       // refused messages were accounted for, and the online users checked
	Seed      uint64 `json:"seed"`
	// Began is when, in RFC 3339; Commit is of the load generator's own build.
	Began        string   `json:"began"`
	Commit       string   `json:"commit"`
	Arrivals     Arrivals `json:"arrivals,omitempty"` // of an open loop
	Mix          string   `json:"mix,omitempty"`      // of mode mixed: "group=1,private=99"
	ThinkS       float64  `json:"think_s,omitempty"`  // of a window: how long a sender waits before its next message
	Ramp         int      `json:"ramp,omitempty"`     // logins that start in a second; 0: as many as possible
	LoginsAtOnce int      `json:"logins_at_once"`
	WarmupS      float64  `json:"warmup_s"`
	DurationS    float64  `json:"duration_s"`
	Trials       []Trial  `json:"trials"`
	Stopped      string   `json:"stopped,omitempty"` // why the run ended before all was measured
}

// Trial is one measured run. Counts are of the whole trial, its warm-up
// included, unless the name says otherwise.
type Trial struct {
	Conns  int `json:"conns"`
	Window int `json:"window,omitempty"` // 0: open loop
	Rate   int `json:"rate,omitempty"`   // messages a second; 0: closed loop
	// Phase is of trials without messages: "login" and "back" of mode Storm, "churn" of mode Churn.
	Phase  string  `json:"phase,omitempty"`
	LoginS float64 `json:"login_s"` // of the whole fleet
	// LoginRetries is how often a login was refused for the moment.
	LoginRetries int `json:"login_retries,omitempty"`
	// Logins is of each login, from its first request until its session is
	// ready: those of the fleet, or in modes Storm and Churn those of the trial.
	Logins          Quantiles `json:"logins"`
	LoginsPerSecond float64   `json:"logins_per_s"`
	// LoginCPUus is what a login cost the processes under test, of modes Storm and
	// Churn. In mode Storm not measured with worker processes.
	LoginCPUus float64 `json:"login_cpu_us,omitempty"`

	MeasuredS           float64 `json:"measured_s"`
	Partial             bool    `json:"partial,omitempty"` // MeasuredS is less than was asked for
	Deliveries          int     `json:"deliveries"`        // that arrived within the measured time
	DeliveriesPerSecond float64 `json:"deliveries_per_s"`
	ServerCPUus         float64 `json:"server_cpu_us"` // a delivery, of all processes under test; 0 without a pid
	OwnCPUus            float64 `json:"own_cpu_us"`    // a delivery
	// Latency is from the due time to the arrival, of messages due within the
	// measured time; Service is of the same from the actual send, which leaves
	// out what a slow system made wait. Late is how late the sends left.
	Latency Quantiles `json:"latency"`
	Service Quantiles `json:"service"`
	Late    Quantiles `json:"late"`
	// Skew is of group messages, from the first receiver to the last. Unfollowed are the owed ones
	// of the whole trial that were not followed to their last receiver.
	Skew       Quantiles `json:"skew"`
	Unfollowed int       `json:"unfollowed,omitempty"`
	// Credit is of a window of group messages over several worker processes: the time from a
	// message's last arrival until its sender knew. Latency is without it.
	Credit Quantiles `json:"credit"`
	Series []Second  `json:"series,omitempty"`
	// Histogram is of Latency: HdrHistogram V2, compressed, base64, in ns.
	Histogram string `json:"histogram,omitempty"`
	// Warnings say why the load generator itself may limit the figures.
	Warnings []string `json:"warnings,omitempty"`

	Delivered int `json:"delivered"` // messages answered so
	// OutcomeReceived are messages answered as received: their receiver is done
	// with them. Only with a Want.
	OutcomeReceived int `json:"outcome_received,omitempty"`
	// Outcome is from the due time until the sender was answered, by the outcome of
	// its SEND or by the answer to its request, of messages due within the measured
	// time. Only of systems that answer.
	Outcome  Quantiles `json:"outcome,omitzero"`
	Stored   int       `json:"stored"`
	Refused  int       `json:"refused"` // for load; not an error, and not owed
	Received int       `json:"received"`
	Offline  int       `json:"offline"` // of Received, how many came as OFFLINE
	// Foreign are deliveries of group messages of another run.
	Foreign int `json:"foreign,omitempty"`
	// Moved are clients that the server asked to log in elsewhere, since it
	// drains. They stay until it ends their connections.
	Moved int `json:"moved,omitempty"`

	Lost        int `json:"lost"`        // deliveries to clients still connected
	Ended       int `json:"ended"`       // clients of the fleet whose connection ended
	Undelivered int `json:"undelivered"` // deliveries owed to them
	Doubled     int `json:"doubled"`
	// Duplicates are second copies of a text that came under its id, which a
	// client that acknowledges drops: they are no doubles.
	Duplicates   int `json:"duplicates,omitempty"`
	Reordered    int `json:"reordered"`
	Misdelivered int `json:"misdelivered"`
	// WrongSender are deliveries that named another sender than their text does.
	WrongSender int `json:"wrong_sender"`
	// Corrupt are texts whose CRC shows a change, or that are not of this load generator.
	Corrupt int `json:"corrupt"`
	// FailedDelivered are deliveries of messages that were refused.
	FailedDelivered int `json:"failed_delivered"`
	// Ghosts are users of the run that the system still names as online though
	// their connection has ended. Only looked at in a run that is verified.
	Ghosts int `json:"ghosts"`
	// Examples show some of the faults counted above.
	Examples   []string `json:"examples,omitempty"`
	Unknown    int      `json:"unknown"`    // messages answered by an error or by silence
	Unanswered int      `json:"unanswered"` // SENDs without an outcome
	Unsent     int      `json:"unsent"`     // messages whose queue was full, or that were not sent within Drain after the end
	FaultCount int      `json:"fault_count"`
	Faults     []string `json:"faults,omitempty"` // the first of them

	// Mode Idle only: by how much the memory of all processes under test has grown
	// since before the run's first request, for each connection, in bytes.
	IdleBytes float64 `json:"idle_bytes,omitempty"`

	Processes []Process `json:"processes,omitempty"`

	kept *histograms // what the quantiles are of
}

// Process is the part of one process under test.
type Process struct {
	PID       int     `json:"pid"`
	CPUus     float64 `json:"cpu_us"` // a delivery
	IdleBytes float64 `json:"idle_bytes,omitempty"`
}

// Quantiles of a histogram, in µs.
type Quantiles struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_us"`
	P90   float64 `json:"p90_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p999_us"`
	P9999 float64 `json:"p9999_us"`
	Max   float64 `json:"max_us"`
}

func quantilesOf(h *hdrhistogram.Histogram) Quantiles {
	us := func(ns int64) float64 { return float64(ns) / 1000 }
	return Quantiles{
		Count: h.TotalCount(),
		P50:   us(h.ValueAtQuantile(50)), P90: us(h.ValueAtQuantile(90)),
		P99: us(h.ValueAtQuantile(99)), P999: us(h.ValueAtQuantile(99.9)), P9999: us(h.ValueAtQuantile(99.99)),
		Max: us(h.Max()),
	}
}

// Failed reports everything that must not happen and did, or nil.
func (r Report) Failed() error { return r.FailedBut(nil) }

// FailedBut is Failed without the counts that slo has a term about.
func (r Report) FailedBut(slo SLO) error {
	var failures []error
	for _, t := range r.Trials {
		failures = append(failures, t.failedBut(slo))
	}
	if r.Stopped != "" {
		failures = append(failures, fmt.Errorf("loadgen: stopped early: %s", r.Stopped))
	}
	return errors.Join(failures...)
}

// Failed reports what must not happen in a trial and did, or nil: a line of
// counts, and one for each fault that was kept.
func (t Trial) Failed() error { return t.failedBut(nil) }

func (t Trial) failedBut(slo SLO) error {
	bad := t.wrong(slo)
	switch {
	case len(bad) > 0:
		return fmt.Errorf("loadgen: %s: %s%s", t.name(), strings.Join(bad, ", "), t.quoted())
	case !t.quiet() && t.Deliveries == 0:
		return fmt.Errorf("loadgen: %s: nothing was delivered within the measured time", t.name())
	}
	return nil
}

// wrong names each count that should be 0 and is not, but for those that slo
// judges.
func (t Trial) wrong(slo SLO) (bad []string) {
	for _, c := range []struct {
		name  string
		term  string // of an SLO
		count int
	}{
		{"lost", "lost", t.Lost},
		{"ended connections", "ended", t.Ended},
		{"not delivered to ended connections", "undelivered", t.Undelivered},
		{"doubled", "doubled", t.Doubled},
		{"reordered", "reordered", t.Reordered},
		{"misdelivered", "misdelivered", t.Misdelivered},
		{"wrong sender named", "wrong_sender", t.WrongSender},
		{"corrupt", "corrupt", t.Corrupt},
		{"failed yet delivered", "failed_delivered", t.FailedDelivered},
		{"ghosts", "ghosts", t.Ghosts},
		{"unknown", "unknown", t.Unknown},
		{"unanswered", "unanswered", t.Unanswered},
		{"unsent", "unsent", t.Unsent},
		{"faults", "faults", t.FaultCount},
	} {
		if c.count > 0 && !slo.names(c.term) {
			bad = append(bad, fmt.Sprintf("%s %d", c.name, c.count))
		}
	}
	return bad
}

func (t Trial) quoted() string {
	var lines strings.Builder
	for _, fault := range t.Faults {
		lines.WriteString("\n  " + fault)
	}
	if more := t.FaultCount - len(t.Faults); more > 0 {
		fmt.Fprintf(&lines, "\n  and %d more", more)
	}
	return lines.String()
}

func (t Trial) idle() bool { return t.Rate == 0 && t.Window == 0 && t.Phase == "" }

func (t Trial) quiet() bool { return t.idle() || t.Phase != "" }

func (t Trial) name() string {
	switch {
	case t.idle():
		return fmt.Sprintf("%d connections, idle", t.Conns)
	case t.Phase != "":
		return fmt.Sprintf("%d connections, %s", t.Conns, t.Phase)
	case t.Window > 0:
		return fmt.Sprintf("%d connections, window %d", t.Conns, t.Window)
	}
	return fmt.Sprintf("%d connections, %d/s", t.Conns, t.Rate)
}

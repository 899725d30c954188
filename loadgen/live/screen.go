package live

import (
	"fmt"
	"os"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"cim/loadgen"
	_ "cim/loadgen/live/background" // before bubbletea
)

// screen is a view that is drawn anew. What the run says of itself scrolls by
// above it.
type screen struct {
	program *tea.Program
	ended   chan error // capacity 1: why the program ended
}

func openScreen(out *os.File, color bool) *screen {
	s := &screen{
		program: tea.NewProgram(
			model{color: color}, tea.WithOutput(out), tea.WithInput(nil), tea.WithoutSignalHandler(), tea.WithoutBracketedPaste(),
		),
		ended: make(chan error, 1),
	}
	go func() {
		_, err := s.program.Run()
		s.ended <- err
	}()
	return s
}

// Write implements View.
func (s *screen) Write(b []byte) (int, error) {
	// A terminal that shows ^C has moved the cursor.
	s.program.Println("\r" + strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

// Second implements View.
func (s *screen) Second(m loadgen.Moment) { s.program.Send(m) }

// Close implements View.
func (s *screen) Close() error {
	s.program.Send(closing{})
	return <-s.ended
}

// closing ends the screen and clears it: the report follows.
type closing struct{}

// historyMax is how many seconds the bars show.
const historyMax = 40

// model is what the screen shows. It is a value: Update returns the next one.
type model struct {
	color   bool
	now     loadgen.Moment
	history []int // deliveries of the last seconds, the newest last
	errors  int   // of the trial so far
	started bool
	width   int // of the terminal in characters; 0: unknown
}

// Init implements tea.Model. The cursor stays visible: a process that ends at once, at a second
// signal, could not restore it.
func (model) Init() tea.Cmd { return tea.ShowCursor }

// Update implements tea.Model.
func (m model) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case tea.WindowSizeMsg:
		m.width = message.Width
	case closing:
		m.started = false
		return m, tea.Quit
	case loadgen.Moment:
		return m.shown(message), nil
	}
	return m, nil
}

// shown adds one more moment.
func (m model) shown(moment loadgen.Moment) model {
	if moment.Stage != "" {
		m.now, m.started, m.history, m.errors = moment, true, nil, 0
		return m
	}
	if moment.Second.Second == 0 { // of another trial
		m.history, m.errors = nil, 0
	}
	m.now, m.started = moment, true
	m.errors += moment.Second.Errors
	m.history = append(m.history[max(0, len(m.history)-historyMax+1):len(m.history):len(m.history)], moment.Second.Deliveries+moment.Second.Logins)
	return m
}

// View implements tea.Model.
func (m model) View() string {
	if !m.started {
		return ""
	}
	if m.now.Stage != "" {
		return strings.Join(m.stage(), "\n") + "\n"
	}
	s := m.now.Second
	rows := []string{
		m.paint(bold, fmt.Sprintf("%d clients, %s", m.now.Conns, m.now.Load)),
		fmt.Sprintf("%s %s", progress(m.now.Elapsed.Seconds()/m.now.Duration.Seconds()), elapsed(m.now)),
	}
	if s.Logins > 0 {
		rows = append(rows, fmt.Sprintf("logins      %9d a second  %s", s.Logins, bars(m.history)))
	} else {
		rows = append(
			rows,
			fmt.Sprintf("deliveries  %9d a second  %s", s.Deliveries, bars(m.history)),
			fmt.Sprintf("sent        %9d a second", s.Sent),
			fmt.Sprintf("latency     p50 %s  p99 %s  max %s", span(s.P50), span(s.P99), span(s.Max)),
		)
	}
	rows = append(rows, "CPU         "+used(s))
	errors := fmt.Sprintf("errors      %9d", m.errors)
	if m.errors > 0 {
		errors = m.paint(red, errors)
	}
	rows = append(rows, errors)
	for _, warning := range m.now.Warnings {
		for _, row := range loadgen.Wrapped("warning: "+warning, m.width) {
			rows = append(rows, m.paint(yellow, row))
		}
	}
	return strings.Join(rows, "\n") + "\n"
}

// used is the CPU time of a second. Without a process to look at there is none
// of the server.
func used(s loadgen.Second) string {
	if s.ServerCPU == 0 {
		return fmt.Sprintf("own %.2f cores", s.OwnCPU)
	}
	return fmt.Sprintf("server %.2f  own %.2f cores", s.ServerCPU, s.OwnCPU)
}

// stage is the view while nothing is measured.
func (m model) stage() []string {
	rows := []string{m.paint(bold, fmt.Sprintf("%d clients, %s", m.now.Conns, m.now.Stage))}
	if m.now.Of > 0 {
		rows = append(rows, fmt.Sprintf("%s %d of %d", progress(float64(m.now.Done)/float64(m.now.Of)), m.now.Done, m.now.Of))
	}
	return append(rows, fmt.Sprintf("%.0f s", m.now.Elapsed.Seconds()))
}

// Escape sequences in front of a text.
const (
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

func (m model) paint(how, text string) string {
	if !m.color {
		return text
	}
	return how + text + plain
}

// progressWidth is in characters.
const progressWidth = 30

// progress is a bar that is filled up to part, 0 to 1.
func progress(part float64) string {
	full := int(min(max(part, 0), 1) * progressWidth)
	return "[" + strings.Repeat("#", full) + strings.Repeat("-", progressWidth-full) + "]"
}

// bars shows counts as columns, the largest one full.
func bars(counts []int) string {
	const steps = "▁▂▃▄▅▆▇█"
	runes := []rune(steps)
	most := 1
	for _, n := range counts {
		most = max(most, n)
	}
	var b strings.Builder
	for _, n := range counts {
		b.WriteRune(runes[(len(runes)-1)*max(0, n)/most])
	}
	return b.String()
}

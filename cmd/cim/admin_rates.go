package main

import (
	"fmt"
	"math"
	"time"

	"cim/client/terminal"
	"cim/route"
	"cim/server"
)

// processRow is what cim admin top shows of a process: its present state, and rates a second since
// the state before.
type processRow struct {
	Listener string   `json:"listener"`
	Error    string   `json:"error,omitempty"` // why it has not answered; then the other fields are zero
	Kind     string   `json:"kind,omitempty"`
	NotReady []string `json:"notReady,omitempty"`

	UptimeSeconds   float64 `json:"uptimeSeconds"`
	ResidentBytes   uint64  `json:"residentBytes"`
	Sessions        int     `json:"sessions"`
	BytesPerSession float64 `json:"residentBytesPerSession,omitempty"` // of the whole process
	Queued          int     `json:"queued"`                            // letters, SENDs, asks and catch-ups that wait
	LinkBytes       int     `json:"linkBytes"`                         // that wait on links
	Links           int     `json:"links"`                             // that are up
	Suspect         int     `json:"suspect"`                           // of them, as a route sees its servers

	Rates *rates `json:"rates,omitempty"` // nil: there was no state before
}

// rates are of a second.
type rates struct {
	CPU        float64 `json:"cpu"` // processors
	Logins     float64 `json:"logins"`
	Messages   float64 `json:"messages"` // that clients sent, over their connections or by HTTP
	Deliveries float64 `json:"deliveries"`
}

// totals are what rates are made of.
type totals struct {
	started                      time.Time // of the process that counts
	uptime, cpu                  float64
	logins, messages, deliveries uint64
}

// totalsOf has the logins of a server where there is one: those of its route
// are the same ones.
func totalsOf(s processState) totals {
	c := totals{started: s.Started, uptime: s.UptimeSeconds, cpu: s.CPUSeconds}
	if s.Route != nil {
		c.logins, c.messages = s.Route.Logins, s.Route.Messages
	}
	if s.Server != nil {
		c.logins, c.deliveries = s.Server.Logins, s.Server.Deliveries
		c.messages += s.Server.Sends
	}
	return c
}

// since returns the rates between two totals of one process, or nil.
func (c totals) since(before totals) *rates {
	passed := c.uptime - before.uptime
	if !c.started.Equal(before.started) || passed <= 0 {
		return nil
	}
	rate := func(now, then uint64) float64 { return math.Round(10*float64(now-then)/passed) / 10 }
	return &rates{
		CPU: math.Round(100*(c.cpu-before.cpu)/passed) / 100, Logins: rate(c.logins, before.logins),
		Messages: rate(c.messages, before.messages), Deliveries: rate(c.deliveries, before.deliveries),
	}
}

// processRows makes a row of each answer; before has the totals of the answers
// before, by listener, and gets those of these.
func processRows(all []listenerAnswer, before map[string]totals) []processRow {
	rows := make([]processRow, len(all))
	for i, t := range all {
		rows[i] = rowOf(t)
		if t.err != nil {
			delete(before, t.from.url)
			continue
		}
		now := totalsOf(t.state)
		if then, known := before[t.from.url]; known {
			rows[i].Rates = now.since(then)
		}
		before[t.from.url] = now
	}
	return rows
}

func rowOf(t listenerAnswer) processRow {
	row := processRow{Listener: t.from.url}
	if t.err != nil {
		row.Error = terminal.Harmless(t.err.Error())
		return row
	}
	s := t.state
	row.Kind, row.NotReady, row.UptimeSeconds, row.ResidentBytes = s.Kind, s.NotReady, s.UptimeSeconds, s.ResidentBytes
	if s.Route != nil {
		row.addRoute(s.Route)
	}
	if s.Server != nil {
		row.addServer(s.Server)
	}
	if row.Sessions > 0 {
		row.BytesPerSession = math.Round(float64(s.ResidentBytes) / float64(row.Sessions))
	}
	return row
}

func (row *processRow) addRoute(s *route.State) {
	row.Links, row.Suspect = linksOf(s)
	row.Queued += s.SendsWaiting + s.CatchupsWaiting
	for _, m := range s.Members {
		row.Queued += m.Asks
		row.LinkBytes += m.WaitingBytes
	}
}

func (row *processRow) addServer(s *server.State) {
	row.Sessions, row.Links = s.Sessions, len(s.Links)
	for _, l := range s.Loops {
		row.Queued += l.Letters
	}
	for _, l := range s.Links {
		row.LinkBytes += l.WaitingBytes
	}
}

// topHead names the columns of processText.
const topHead = "PROCESS\tREADY\tUP\tCPU\tRSS\tSESSIONS\tRSS/SESSION\tLOGINS/S\tMESSAGES/S\tDELIVERIES/S\tQUEUED\tLINKS\tLINK QUEUE\tLISTENER"

func processText(row processRow) string {
	if row.Error != "" {
		return cells("silent", "no", "", "", "", "", "", "", "", "", "", "", "", row.Listener+": "+row.Error)
	}
	each, cpu, logins, messages, deliveries := "", "", "", "", ""
	if row.BytesPerSession > 0 {
		each = size(row.BytesPerSession)
	}
	if r := row.Rates; r != nil {
		cpu = fmt.Sprintf("%.0f%%", 100*r.CPU)
		logins, messages, deliveries = decimal(r.Logins), decimal(r.Messages), decimal(r.Deliveries)
	}
	links := fmt.Sprint(row.Links)
	if row.Suspect > 0 {
		links += fmt.Sprintf(" (%d suspect)", row.Suspect)
	}
	return cells(row.Kind, readiness(row.NotReady), span(row.UptimeSeconds), cpu, size(float64(row.ResidentBytes)), row.Sessions, each,
		logins, messages, deliveries, row.Queued, links, size(float64(row.LinkBytes)), row.Listener)
}

// decimal is a rate for people: tenths where they say something.
func decimal(rate float64) string {
	if rate < 10 {
		return fmt.Sprintf("%.1f", rate)
	}
	return fmt.Sprintf("%.0f", rate)
}

// totalText sums the processes up. The logins are those of servers, where one
// has answered: each is counted at its route as well.
func totalText(rows []processRow) string {
	var sum rates
	sessions, queued, linkBytes, answered, servers := 0, 0, 0, 0, 0
	resident, routeLogins := 0.0, 0.0
	for _, row := range rows {
		if row.Error != "" {
			continue
		}
		answered++
		sessions, queued, linkBytes = sessions+row.Sessions, queued+row.Queued, linkBytes+row.LinkBytes
		resident += float64(row.ResidentBytes)
		r := row.Rates
		if r == nil {
			r = &rates{}
		}
		sum.CPU, sum.Messages, sum.Deliveries = sum.CPU+r.CPU, sum.Messages+r.Messages, sum.Deliveries+r.Deliveries
		if row.Kind == "route" {
			routeLogins += r.Logins
			continue
		}
		servers++
		sum.Logins += r.Logins
	}
	if servers == 0 {
		sum.Logins = routeLogins
	}
	return fmt.Sprintf("%d of %d processes, %d sessions; a second: %s logins, %s messages, %s deliveries; cpu %.0f%%, rss %s; queued %d, on links %s",
		answered, len(rows), sessions, decimal(sum.Logins), decimal(sum.Messages), decimal(sum.Deliveries), 100*sum.CPU, size(resident), queued, size(float64(linkBytes)))
}

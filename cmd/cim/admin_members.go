package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cim/proto"
	"cim/route"
)

// memberRow is a member as one route has it, and what its server says of itself
// if that was asked too.
type memberRow struct {
	route.MemberState
	Route    string `json:"route"`              // the listener of the route that reports this
	Sessions *int   `json:"sessions,omitempty"` // nil: its server was not asked, or has not answered
}

func newMembersCommand(a *adminCommand) *cobra.Command {
	return stateCommand(a, "members", "List the members that the routes know, and how they stand to each",
		`Lists what the registry holds, as each route sees it. A member is linked; or
unlinked: the route dials it; suspect: it does not answer; leaving: it has said
that it goes down; vanished: it is not in the registry any more; of another
version, which takes no link; or a server of the original. SESSIONS is known
of those whose own listener is asked too.`,
		"MEMBER\tSTATE\tSESSIONS\tLINK\tWAITING\tASKS\tDOWN FOR\tEPOCH\tROUTE", memberRows, memberText)
}

func memberRows(all []listenerAnswer) []memberRow {
	sessions := map[proto.Epoch]*int{}
	for _, t := range all {
		if s := t.state.Server; s != nil {
			sessions[s.Epoch] = &s.Sessions
		}
	}
	rows := []memberRow{}
	for _, t := range all {
		if t.state.Route == nil {
			continue
		}
		for _, m := range t.state.Route.Members {
			rows = append(rows, memberRow{m, t.from.url, sessions[m.Epoch]})
		}
	}
	return rows
}

func memberText(m memberRow) string {
	sessions, down, epoch := "-", "-", "-"
	if m.Sessions != nil {
		sessions = fmt.Sprint(*m.Sessions)
	}
	if m.UnlinkedSeconds > 0 {
		down = span(m.UnlinkedSeconds)
	}
	if m.Epoch != 0 {
		epoch = fmt.Sprint(m.Epoch)
	}
	return cells(m.Name, m.State, sessions, m.Link, size(float64(m.WaitingBytes)), m.Asks, down, epoch, m.Route)
}

// routeRow is a route.
type routeRow struct {
	route.State
	Listener string   `json:"listener"`
	NotReady []string `json:"notReady"`
}

func newRoutesCommand(a *adminCommand) *cobra.Command {
	return stateCommand(a, "routes", "List the routes: their links, catch-ups and faults of the store",
		`Lists the routes. LINKS is how many are up, of how many members, and how many
of those are suspect; QUEUED what waits for a worker or on a link; CATCH-UPS
how many run and wait. The counts are since the process started.`,
		"ROUTE\tREADY\tLINKS\tSUSPECT\tQUEUED\tCATCH-UPS\tHTTP\tREQUESTS\tSTORED\tSTORE FAULTS\tLISTENER", routeRows, routeText)
}

func routeRows(all []listenerAnswer) []routeRow {
	rows := []routeRow{}
	for _, t := range all {
		if t.state.Route != nil {
			rows = append(rows, routeRow{*t.state.Route, t.from.url, t.state.NotReady})
		}
	}
	return rows
}

func routeText(r routeRow) string {
	up, suspect := linksOf(&r.State)
	waiting := 0
	for _, m := range r.Members {
		waiting += m.WaitingBytes
	}
	return cells(r.Address, readiness(r.NotReady), fmt.Sprintf("%d/%d", up, len(r.Members)), suspect,
		fmt.Sprintf("%d, %s", r.SendsWaiting, size(float64(waiting))), fmt.Sprintf("%d+%d", r.CatchupsRunning, r.CatchupsWaiting),
		r.HTTPConnections, r.Requests, r.Stored, faultsText(r.StoreFaults), r.Listener)
}

// linksOf is how many of a route's links are up, and how many of those suspect.
func linksOf(r *route.State) (up, suspect int) {
	for _, m := range r.Members {
		switch m.State {
		case route.MemberSuspect:
			suspect++
			up++
		case route.MemberLinked, route.MemberLeaving, route.MemberVanished:
			up++
		}
	}
	return up, suspect
}

func faultsText(faults map[string]uint64) string {
	var words []string
	for _, kind := range slices.Sorted(maps.Keys(faults)) {
		words = append(words, fmt.Sprintf("%s %d", kind, faults[kind]))
	}
	return strings.Join(words, ", ")
}

func readiness(notReady []string) string {
	if len(notReady) == 0 {
		return "yes"
	}
	return "no"
}

// size is bytes for people.
func size(bytes float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if bytes < 1024 || unit == "GiB" {
			if unit == "B" || bytes >= 100 {
				return fmt.Sprintf("%.0f %s", bytes, unit)
			}
			return fmt.Sprintf("%.1f %s", bytes, unit)
		}
		bytes /= 1024
	}
	panic("cim: a size beyond units")
}

// span is a time in seconds for people.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

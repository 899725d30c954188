package loadgen

import "fmt"

// load is what one trial does to the system.
type load struct {
	window int // messages kept outstanding; 0: open loop
	rate   int // messages a second, or in mode Churn logins; 0: closed loop
}

func (l load) String() string {
	if l.window > 0 {
		return fmt.Sprintf("window %d", l.window)
	}
	return fmt.Sprintf("%d a second", l.rate)
}

// loads are the trials of a fleet.
func (c Config) loads() []load {
	if c.Mode == Idle || c.Mode == Storm {
		return nil
	}
	var all []load
	for _, rate := range c.Rates {
		all = append(all, load{rate: rate})
	}
	for _, window := range c.Windows {
		all = append(all, load{window: window})
	}
	return all
}

// Mix is the shares of the messages of mode Mixed.
type Mix struct{ Group, Private int }

func (m Mix) String() string { return fmt.Sprintf("group=%d,private=%d", m.Group, m.Private) }

// isGroup reports whether message i of a run is a group message.
func (m Mix) isGroup(seed uint64, i int) bool {
	return int(mix(seed<<32^uint64(i))%uint64(m.Group+m.Private)) < m.Group
}

// senders are the numbers of slots of a trial: of those with group messages, and of those with
// private ones.
func (c Config) senders(conns int, l load) (groups, privates int) {
	switch {
	case c.quiet(), c.Mode == Group && c.follows():
		return 0, 0
	case l.window > 0:
		return c.windowSenders(l.window)
	case c.Mode == Mixed && !c.follows():
		return c.mixedSenders(conns)
	case c.Mode == Group:
		return min(conns, c.HTTPConns), 0
	case c.Via == ViaConn:
		return 0, conns / 2
	}
	return 0, conns
}

// groupSendersShare is how many clients there are for each sender of group messages in mode Mixed
// with a rate: the other clients send private messages.
const groupSendersShare = 10

func (c Config) mixedSenders(conns int) (groups, privates int) {
	groups = min(max(1, conns/groupSendersShare), c.HTTPConns)
	if c.Via == ViaConn {
		return groups, conns/2 - groups
	}
	return groups, conns - groups
}

// windowSenders are the senders of a window. If workers share it, the first worker has all senders
// of group messages, and each worker a part of the others.
func (c Config) windowSenders(window int) (groups, privates int) {
	groups = c.groupMessages(window)
	privates = window - groups
	if c.worker != nil && c.Mode == Mixed {
		privates = shareOf(privates, c.worker.number, c.worker.of)
	}
	if c.follows() {
		groups = 0
	}
	return groups, privates
}

// groupMessages is how many messages of a window are group messages.
func (c Config) groupMessages(window int) int {
	switch c.Mode {
	case Group:
		return window
	case Mixed:
		return min(max(1, window*c.Mix.Group/(c.Mix.Group+c.Mix.Private)), window-1)
	}
	return 0
}

// talkers is how many clients, from the first on, must speak our dialect since
// they send over their own connections.
func (c Config) talkers(conns int) int {
	if c.Via != ViaConn || c.quiet() {
		return 0
	}
	most := 0
	for _, l := range c.loads() {
		groups, privates := c.senders(conns, l)
		most = max(most, groups+privates)
	}
	return most
}

package main

import (
	"cim/internal/httpserve"
	"cim/server"
)

const (
	// httpShare is the part of the descriptors that the route's HTTP connections may take, and
	// again those of /sendMsg: one in httpShare, up to the defaults.
	httpShare = 16
	// routeConnsMax bounds the route's HTTP connections where descriptors are
	// plenty.
	routeConnsMax = 1024
	// adminConnsMax bounds the connections of the admin listener. One more replaces an idle or slow
	// one; there are never as many with a request in progress.
	adminConnsMax = adminProfilesMax + adminRequestsMax + 16
	// filesKept are for the durable file, the log and the listeners.
	filesKept = 32
)

// share divides the descriptors of the process among the listeners that share
// it: out of descriptors, the event loops would end. The sessions get what the
// others leave.
func (c *standaloneConfig) share(descriptors int) {
	c.system.Route.HTTPConnsMax = max(1, min(routeConnsMax, descriptors/httpShare))
	c.system.Server.HTTPConnsMax = max(1, min(c.system.Server.HTTPConnsMax, descriptors/httpShare))
	c.system.Server.DescriptorsKept = c.system.Route.HTTPConnsMax + httpserve.SurplusMax + adminConnsMax + filesKept
}

// descriptorLimit is how many descriptors the process may have open. The
// server finds out again whether they are enough.
func descriptorLimit() int {
	limit, err := server.DescriptorLimit()
	if err != nil {
		return 0
	}
	return limit
}

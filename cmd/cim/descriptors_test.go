package main

import "testing"

// TestShare divides few and many descriptors.
func TestShare(t *testing.T) {
	for _, c := range []struct{ descriptors, route, intake int }{
		{20000, 1024, 512}, {16 * 1024, 1024, 512}, {16*1024 - 1, 1023, 512}, {600, 37, 37}, {0, 1, 1},
	} {
		config := defaultStandalone()
		config.share(c.descriptors)
		if config.system.Route.HTTPConnsMax != c.route || config.system.Server.HTTPConnsMax != c.intake ||
			config.system.Server.DescriptorsKept != c.route+64+adminConnsMax+filesKept {
			t.Errorf("%d descriptors: route %d, /sendMsg %d, kept %d", c.descriptors,
				config.system.Route.HTTPConnsMax, config.system.Server.HTTPConnsMax, config.system.Server.DescriptorsKept)
		}
	}
}

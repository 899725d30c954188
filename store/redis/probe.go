package redis

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

const (
	// probeKey is written to find out whether Redis takes writes. No user's name
	// begins as it does.
	probeKey = "cim-probe"
	// probeLife is how long it stays.
	probeLife = 10 * time.Second
	// probeMax bounds one probe.
	probeMax = time.Second
	// clusterSlots is the number of slots of a Redis Cluster, which is probed
	// at clusterProbes of them, evenly spread: each of up to so many shards that
	// have equal parts gets one.
	clusterSlots  = 16384
	clusterProbes = 64
)

// probe writes through client as any call does, but is not sent again.
func probe(ctx context.Context, client rueidis.Client) error {
	keys := []string{probeKey}
	if client.Mode() == rueidis.ClientModeCluster {
		keys = spreadKeys()
	}
	commands := make(rueidis.Commands, len(keys))
	for i, key := range keys {
		commands[i] = client.B().Set().Key(key).Value("1").Px(probeLife).Build()
	}
	return firstError(client.DoMulti(ctx, commands...))
}

// spreadKeys are probe keys, one in each part of the slots.
var spreadKeys = sync.OnceValue(func() []string {
	keys := make([]string, clusterProbes)
	for n, left := 0, clusterProbes; left > 0; n++ {
		tag := probeKey + ":" + strconv.Itoa(n)
		if part := slotOf(tag) / (clusterSlots / clusterProbes); keys[part] == "" {
			keys[part] = "{" + tag + "}"
			left--
		}
	}
	return keys
})

// slotOf is the slot of a key in a Redis Cluster: its CRC-16 (XMODEM).
func slotOf(key string) int {
	crc := uint16(0)
	for _, b := range []byte(key) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % clusterSlots
}

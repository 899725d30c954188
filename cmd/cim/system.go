package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"cim/loadgen"
	"cim/loadgen/floor"
	"cim/loadgen/peer"
)

// systemName is what --system names.
type systemName string

// The systems that the load generator can meet.
const (
	systemCIM       systemName = "cim"
	systemNATS      systemName = "nats"
	systemJetStream systemName = "nats-jetstream"
	systemRedis     systemName = "redis"
	systemMosquitto systemName = "mosquitto"
	systemStreams   systemName = "redis-streams"
	systemQoS1      systemName = "mosquitto-qos1"
	systemFloor     systemName = "floor"
	systemPair      systemName = "bare-pair" // the floor, with clients as bare as the floor
)

var systemNames = []systemName{systemCIM, systemNATS, systemJetStream, systemRedis, systemMosquitto, systemStreams, systemQoS1, systemFloor, systemPair}

var adapters = map[systemName]func(address string) loadgen.NewSystem{
	systemNATS:      peer.NATS,
	systemJetStream: peer.JetStream,
	systemRedis:     peer.Redis,
	systemMosquitto: peer.Mosquitto,
	systemStreams:   peer.RedisStreams,
	systemQoS1:      peer.MosquittoQoS1,
	systemFloor:     floor.At,
	systemPair:      floor.At,
}

// checkSystem completes the load with its system. The ways of others are their
// connections only, but the floor's: that takes messages over HTTP if asked to.
func (c *loadgenConfig) checkSystem(viaByDefault bool) error {
	adapter, other := adapters[c.system]
	if !other {
		if c.address != "" {
			return errors.New("address is of a system that is not cim: give --system")
		}
		return nil
	}
	if _, _, err := net.SplitHostPort(c.address); err != nil {
		return fmt.Errorf("address %q is not host:port, which --system %s needs: %w", c.address, c.system, err)
	}
	c.load.System = adapter(c.address)
	if viaByDefault || c.system != systemFloor {
		c.load.Via = loadgen.ViaConn
	}
	return nil
}

// measure runs the load by the clients that the system is met with.
func (c *loadgenConfig) measure(ctx context.Context, progress io.Writer) (loadgen.Report, error) {
	if c.system == systemPair {
		return floor.Pair(ctx, c.load, c.address)
	}
	return loadgen.Run(ctx, c.load, progress)
}

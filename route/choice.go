package route

import (
	"crypto/md5"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"

	"cim/proto"
)

// choice orders the servers for a login: the first is tried first, then the
// next one.
type choice struct {
	kind ServerChoice
	turn atomic.Uint64 // of round robin
}

// order returns the servers that are open to logins, best first.
func (c *choice) order(s *servers, user proto.UserID) []*server {
	switch c.kind {
	case ChoiceRoundRobin:
		return rotated(s.open(), c.turn.Add(1)-1)
	case ChoiceRandom:
		up := s.open()
		rand.Shuffle(len(up), func(i, j int) { up[i], up[j] = up[j], up[i] })
		return up
	}
	return s.ring.order(user)
}

func rotated(up []*server, turn uint64) []*server {
	if len(up) == 0 {
		return up
	}
	first := int(turn % uint64(len(up)))
	return slices.Concat(up[first:], up[:first])
}

// ring is the consistent hash of the contract, so that all routes send a user to
// the same server.
type ring []ringNode // in the order of their hashes

type ringNode struct {
	hash   uint32
	server *server
}

// virtualNodes is how many nodes a server has beside its own.
const virtualNodes = 2

func newRing(all []*server) ring {
	at := make(map[uint32]*server, len(all)*(1+virtualNodes))
	for _, s := range all {
		hash := ringHash(s.member.Name())
		for i := range virtualNodes {
			at[ringHash("vir"+strconv.FormatUint(uint64(hash), 10)+strconv.Itoa(i))] = s
		}
		at[hash] = s
	}
	r := make(ring, 0, len(at))
	for hash, s := range at {
		r = append(r, ringNode{hash, s})
	}
	slices.SortFunc(r, func(a, b ringNode) int {
		if a.hash < b.hash {
			return -1
		}
		return 1 // hashes differ: they were a map's keys
	})
	return r
}

// ringHash is the first four bytes of the MD5, little endian.
func ringHash(key string) uint32 {
	sum := md5.Sum([]byte(key))
	return binary.LittleEndian.Uint32(sum[:])
}

// order returns the open servers as a walk around the ring meets them,
// beginning with the first node at or after user's hash.
func (r ring) order(user proto.UserID) []*server {
	key := ringHash(strconv.FormatInt(int64(user), 10))
	first, _ := slices.BinarySearchFunc(r, key, func(n ringNode, key uint32) int {
		if n.hash < key {
			return -1
		}
		return 1
	})
	var met []*server
	for i := range r {
		s := r[(first+i)%len(r)].server
		if s.open() && !slices.Contains(met, s) {
			met = append(met, s)
		}
	}
	return met
}

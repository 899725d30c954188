package standin

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"slices"
)

// hash is the first four bytes of the MD5, as a little-endian number.
func hash(key string) uint32 {
	sum := md5.Sum([]byte(key))
	return binary.LittleEndian.Uint32(sum[:4])
}

// pick is the consistent hash of a user's id among servers: each stands at its
// own hash and at two virtual ones, and the first at or after the user's takes
// him.
func pick(servers []string, user int64) string {
	at := map[uint32]string{}
	for _, name := range servers {
		own := hash(name)
		at[own] = name
		for i := range 2 {
			at[hash(fmt.Sprintf("vir%d%d", own, i))] = name
		}
	}
	places := make([]uint32, 0, len(at))
	for place := range at {
		places = append(places, place)
	}
	slices.Sort(places)
	key := hash(fmt.Sprint(user))
	for _, place := range places {
		if place >= key {
			return at[place]
		}
	}
	return at[places[0]]
}

package redis

import (
	"strconv"
	"strings"

	"cim/proto"
	"cim/store"
)

const (
	routePrefix = "cim-route:"
	// generationMax is the largest number that a script counts exactly. No
	// user logs in so often.
	generationMax = proto.Generation(1) << 53
)

func routeKey(user proto.UserID) string { return routePrefix + userText(user) }

// besideRoute is a key in the Cluster slot of the user's record.
func besideRoute(user proto.UserID, what string) string {
	return "{" + routePrefix + userText(user) + "}:" + what
}

func generationKey(user proto.UserID) string { return besideRoute(user, "generation") }

func connectedKey(user proto.UserID) string { return besideRoute(user, "connected") }

func generationText(g proto.Generation) string { return strconv.FormatUint(uint64(g), 10) }

// placeText is the value of a record.
func placeText(place store.Place, generation proto.Generation) string {
	return strings.Join([]string{
		place.Host, strconv.Itoa(place.CIMPort), strconv.Itoa(place.HTTPPort),
		strconv.FormatUint(uint64(place.Epoch), 10), generationText(generation),
	}, ":")
}

// recordText is the value that record is read from, "" for the zero Record. One
// without epoch and generation has three parts: other systems write such.
func recordText(record store.Record) string {
	switch place := record.Place; {
	case record == store.Record{}:
		return ""
	case place.Epoch == 0 && record.Generation == 0:
		return strings.Join([]string{place.Host, strconv.Itoa(place.CIMPort), strconv.Itoa(place.HTTPPort)}, ":")
	}
	return placeText(record.Place, record.Generation)
}

// parseRecord reads the value of a user's record, and mark, the value of its
// connected key, of which "" is none. A record of three parts is connected.
func parseRecord(user proto.UserID, value, mark string) (store.Record, error) {
	parts := strings.Split(value, ":")
	numbers := make([]uint64, 0, 4)
	for i, bits := range []int{16, 16, 64, 64} {
		if len(parts) == 3 && i == 2 {
			break
		}
		if i+1 >= len(parts) {
			return store.Record{}, recordError(user)
		}
		n, err := strconv.ParseUint(parts[i+1], 10, bits)
		if err != nil {
			return store.Record{}, recordError(user)
		}
		numbers = append(numbers, n)
	}
	record := store.Record{Place: store.Place{Host: parts[0], CIMPort: int(numbers[0]), HTTPPort: int(numbers[1])}}
	if len(parts) == 3 {
		record.Connected = true
		return record, nil
	}
	record.Place.Epoch, record.Generation = proto.Epoch(numbers[2]), proto.Generation(numbers[3])
	record.Connected = record.Generation == 0 || mark == generationText(record.Generation)
	return record, nil
}

func recordError(user proto.UserID) error {
	return &valueError{key: routeKey(user), want: "host:cimPort:httpPort:epoch:generation"}
}

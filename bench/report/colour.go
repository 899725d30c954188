package report

import "strings"

// Colours are the same in all charts of all runs, so that a reader learns them once. They can be
// distinguished on white and on black.
const (
	ourColour   = "#2f81f7"
	floorColour = "#8c959f"
)

// colours are those of the systems that the benchmark knows; a system in a
// second form has a darker shade of the first one's.
var colours = map[string]string{
	Floor:                   floorColour,
	BarePair:                "#b1bac4",
	"cim, want 1":           "#54aeff",
	"cim, want 2":           "#0a58ca",
	"nats":                  "#2da44e",
	"redis pubsub":          "#e5534b",
	"redis streams":         "#b62324",
	"redis streams, synced": "#8f3a3a",
	"mosquitto":             "#d29922",
	"mosquitto qos 1":       "#9a6700",
}

// spare are the colours of unknown systems, by their names.
var spare = []string{"#a371f7", "#db61a2", "#1b9e9e", "#bc4c00", "#57606a"}

// colourOf is the system's.
func colourOf(system string) string {
	if known, is := colours[strings.ToLower(system)]; is {
		return known
	}
	if (Outcome{System: system}).ours() {
		return ourColour
	}
	sum := 0
	for _, b := range []byte(system) {
		sum += int(b)
	}
	return spare[sum%len(spare)]
}

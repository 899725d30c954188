package main

import "strings"

// closestMax bounds the letters of a word for which similar words are searched.
const closestMax = 64

// closest is the word that another one was most likely meant to be: it differs
// by a third of its letters at most, and by three. "" if there is none.
func closest(word string, among []string) string {
	if len(word) > closestMax {
		return ""
	}
	bare := bareWord(word)
	best, least := "", 0
	for _, candidate := range among {
		if len(candidate) > closestMax {
			continue
		}
		other := bareWord(candidate)
		d := distance([]rune(bare), []rune(other))
		if strings.TrimPrefix(bare, "cim") == strings.TrimPrefix(other, "cim") {
			d = min(d, 1) // cim-port is easily taken for CIM_PORT
		}
		if most := min(3, max(1, min(len(bare), len(other))/3)); d <= most && (best == "" || d < least) {
			best, least = candidate, d
		}
	}
	return best
}

// bareWord is a word without what is often written in another way.
func bareWord(word string) string {
	return strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(strings.ToLower(word))
}

// distance is how many letters must be added, taken away, changed or swapped
// with their neighbour to make a into b.
func distance(a, b []rune) int {
	two, one := make([]int, len(b)+1), make([]int, len(b)+1) // the rows above
	for j := range one {
		one[j] = j
	}
	for i := range a {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range b {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			row[j+1] = min(one[j+1]+1, row[j]+1, one[j]+change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], two[j-1]+1)
			}
		}
		two, one = one, row
	}
	return one[len(b)]
}

// didYouMean adds the word that was probably meant to a fault.
func didYouMean(word string, among []string) string {
	if meant := closest(word, among); meant != "" {
		return "; did you mean " + meant + "?"
	}
	return ""
}

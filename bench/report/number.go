package report

import (
	"strconv"
	"strings"
)

// notMeasured stands in a table for a number that there is not.
const notMeasured = "–"

// Number has three digits that matter, or all before the point, in groups of
// three.
func Number(v float64) string {
	if v >= 100 || v <= -100 {
		return grouped(strconv.FormatFloat(v, 'f', 0, 64))
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// grouped puts a comma between each three digits of a whole number.
func grouped(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return sign + digits
}

// slugMax bounds a name that became part of a file's.
const slugMax = 120

// slug makes a part of a file's name of any text: small letters, digits, and
// one "-" for each run of all else.
func slug(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case b.Len() >= slugMax:
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.TrimSuffix(b.String(), "-")
}

// Package report turns what runs of the benchmark left behind into what people
// read: a table, a page that opens without a network, charts, histograms and
// series as text. It holds the shape of report.json and manifest.json, too.
//
// All of it is pure: the same runs give the same bytes. It reads no file,
// asks no clock and measures nothing. Names within the data may hold anything.
package report

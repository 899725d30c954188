// Package e2e opens what people see in a real browser: the page that cim bench
// makes of its results. It is a module of its own, so that nobody who uses cim
// carries a browser's driver.
package e2e

//go:build !linux

package main

// clockKept cannot be asked on this system.
func clockKept() (kept, known bool) { return false, false }

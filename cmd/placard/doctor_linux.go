package main

import "syscall"

// clockKept asks the kernel whether something keeps its clock right: adjtimex(2)
// reports TIME_ERROR, 5, where nothing does.
func clockKept() (kept, known bool) {
	state, err := syscall.Adjtimex(&syscall.Timex{})
	return state != 5, err == nil
}

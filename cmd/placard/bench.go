package main

import "errors"

type benchCommand struct{}

func (benchCommand) Run(*env) error { return errors.New("later") }

package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"placard/linking"
)

type staffCommand struct {
	Invite staffInvite `cmd:"" help:"Invite a person: the link is shown once, and works once, within a week. Without a person's id, somebody new."`
	List   staffList   `cmd:"" help:"List a merchant's people."`
	End    staffEnd    `cmd:"" help:"Shut a person out."`
}

// operator is whoever has the store in his hands, in the name of a merchant.
func operator(m linking.MerchantID) linking.Caller {
	return linking.Caller{Merchant: m, Role: linking.Owner, By: "operator"}
}

type staffInvite struct {
	storeFlags `embed:""`
	Merchant   string `arg:"" help:"The merchant's id."`
	Name       string `arg:"" help:"The person's name, or the id of one who lost link or password."`
	Role       string `help:"owner, manager, cashier, agent or viewer." enum:"owner,manager,cashier,agent,viewer" default:"owner"`
	Outlet     string `help:"Bind the person to this outlet." placeholder:"ID"`
	PublicURL  string `help:"Where people reach the gateway; without it, the link's path alone is shown." placeholder:"URL"`
	JSON       bool   `help:"As JSON." name:"json"`
}

func (c *staffInvite) Run(e *env) error {
	id, err := merchantArg(c.Merchant)
	if err != nil {
		return err
	}
	in := linking.NewStaff{Name: c.Name, Role: linking.Role(c.Role)}
	if c.Outlet != "" {
		outlet, ok := linking.ParseOutletID(c.Outlet)
		if !ok {
			return usageError("--outlet takes the 14 characters of an outlet's id")
		}
		in.Outlet = outlet
	}
	svc, _, shut, err := c.office(e)
	if err != nil {
		return err
	}
	defer shut()
	if _, err := svc.Merchant(e.ctx, id); err != nil {
		return err
	}
	var p *linking.Staff
	var secret string
	if known, ok := linking.ParseStaffID(c.Name); ok && known.Shard() == id.Shard() {
		p, secret, err = svc.InviteAgain(e.ctx, operator(id), known)
	} else {
		p, secret, err = svc.Invite(e.ctx, operator(id), in)
	}
	if err != nil {
		return err
	}
	link := strings.TrimSuffix(c.PublicURL, "/") + "/join/" + secret
	if c.JSON {
		return writeJSON(e.out, map[string]any{"id": p.ID, "name": p.Name, "role": p.Role, "invite": link})
	}
	fmt.Fprintln(e.out, link)
	return nil
}

type staffList struct {
	storeFlags `embed:""`
	Merchant   string `arg:"" help:"The merchant's id."`
	JSON       bool   `help:"As JSON lines." name:"json"`
}

func (c *staffList) Run(e *env) error {
	id, err := merchantArg(c.Merchant)
	if err != nil {
		return err
	}
	svc, _, shut, err := c.office(e)
	if err != nil {
		return err
	}
	defer shut()
	people, err := svc.StaffOf(e.ctx, operator(id))
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
	defer w.Flush()
	for _, p := range people {
		if c.JSON {
			if err := writeJSON(e.out, map[string]any{"id": p.ID, "name": p.Name, "role": p.Role, "outlet": p.Outlet, "user": p.User}); err != nil {
				return err
			}
			continue
		}
		user := p.User
		if user == "" {
			user = "(invited)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.ID, p.Role, user, p.Name)
	}
	return nil
}

type staffEnd struct {
	storeFlags `embed:""`
	Merchant   string `arg:"" help:"The merchant's id."`
	Person     string `arg:"" help:"The person's id."`
}

func (c *staffEnd) Run(e *env) error {
	id, err := merchantArg(c.Merchant)
	if err != nil {
		return err
	}
	person, ok := linking.ParseStaffID(c.Person)
	if !ok {
		return usageError("a person's id has 14 characters, as `placard staff list` shows it")
	}
	svc, _, shut, err := c.office(e)
	if err != nil {
		return err
	}
	defer shut()
	_, err = svc.EndStaff(e.ctx, operator(id), person)
	return err
}

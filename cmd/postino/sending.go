package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/app"
)

// limit is a number of recipients, "none" or "default".
type limit int

// UnmarshalText reads a limit of sending.
func (l *limit) UnmarshalText(b []byte) error {
	switch string(b) {
	case "none":
		*l = -1
	case "default":
		*l = 0
	default:
		n, err := strconv.Atoi(string(b))
		if err != nil || n <= 0 {
			return fmt.Errorf("%q is no limit; give a number, none or default", b)
		}
		*l = limit(n)
	}
	return nil
}

type userLimitsCmd struct {
	store
	listFlags
	Address string `arg:"" help:"Address of the user."`
	Hour    *limit `help:"Recipients in any 60 minutes: a number, none or default." placeholder:"N"`
	Day     *limit `help:"Recipients in any 24 hours: a number, none or default." placeholder:"N"`
}

// Help is shown below the flags.
func (*userLimitsCmd) Help() string {
	return "Example: postino user limits newsletter@example.org --hour 5000 --day 20000"
}

func (c *userLimitsCmd) Run(e *env) error {
	var out app.SendLimits
	args := app.SendLimits{Address: c.Address, Hour: (*int)(c.Hour), Day: (*int)(c.Day)}
	if err := c.call(e, "user.limits", args, &out); err != nil {
		return err
	}
	text := func(n *int) string {
		if n == nil || *n < 0 {
			return "none"
		}
		return strconv.Itoa(*n)
	}
	return c.table(e, out, "USER\tPERIOD\tRECIPIENTS\tLIMIT", func(w io.Writer) {
		fmt.Fprintf(w, "%s\thour\t%d\t%s\n", out.Address, out.SentHour, text(out.Hour))
		fmt.Fprintf(w, "%s\tday\t%d\t%s\n", out.Address, out.SentDay, text(out.Day))
	})
}

type userDelegateCmd struct {
	store
	listFlags
	Owner    string `arg:"" help:"User whose addresses are sent as."`
	Delegate string `arg:"" optional:"" help:"User who may send; without one the delegates are listed."`
	Remove   bool   `help:"Take the right away."`
}

// Help is shown below the flags.
func (*userDelegateCmd) Help() string {
	return "Example: postino user delegate boss@example.org secretary@example.org"
}

func (c *userDelegateCmd) Run(e *env) error {
	if c.Remove && c.Delegate == "" {
		return postino.E(postino.Invalid, "set delegate", c.Owner, fmt.Errorf("whose right is to be taken away?"))
	}
	out := []string{}
	if err := c.call(e, "user.delegate", app.Delegation{Owner: c.Owner, Delegate: c.Delegate, Remove: c.Remove}, &out); err != nil {
		return err
	}
	return c.table(e, out, "DELEGATE", func(w io.Writer) {
		for _, a := range out {
			fmt.Fprintln(w, a)
		}
	})
}

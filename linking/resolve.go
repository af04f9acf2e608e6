package linking

import "time"

// Resolution is what a scan yields: a payable request, or an honest no.
type Resolution string

const (
	Payable    Resolution = "payable"     // the only one that takes money
	Waiting    Resolution = "waiting"     // a counter code that shows nothing yet
	Valueless  Resolution = "unvalued"    // a bill without an amount yet
	NothingDue Resolution = "nothing_due" // an account between bills
	Updating   Resolution = "updating"    // the bank has not confirmed the amount
	Busy       Resolution = "busy"        // somebody else is paying here
	InFlight   Resolution = "processing"  // this scan is paying: do not pay again
	PaidHere   Resolution = "paid"        // this scan paid
	Settled    Resolution = "settled"     // a bill that was paid
	Ended      Resolution = "ended"       // this scan's sale is over
	OutOfUse   Resolution = "out_of_use"  // void, lost or retired
	Superseded Resolution = "replaced"    // a newer code took over
	NoSuchCode Resolution = "unknown"     // not ours
	NoAnswer   Resolution = "unavailable" // the store does not answer
)

// StallAfter is how long preparing may take before payer and till are told that
// something is wrong.
const StallAfter = 30 * time.Second

// Seen is what one scan yields at one moment.
type Seen struct {
	Resolution Resolution
	// Scan is the scan as it goes on: a new one, the same one, or one that adopted
	// the next epoch.
	Scan Scan
	// Pressed says that this scan pressed pay on the request it is shown.
	Pressed bool
	// Request is set for payable, processing and paid only: nobody else learns
	// amount or reference.
	Request *SeenRequest
	// Slow says that updating has taken longer than StallAfter.
	Slow bool
	// Reason says why a bill ended.
	Reason EndReason
	// On is the day a bill was settled.
	On time.Time
}

// SeenRequest is what a payer may know of a request.
type SeenRequest struct {
	ID        RequestID
	Epoch     uint64 // of the link, for the pairing
	Revision  int
	Money     Money
	Reference string
	ExpiresAt time.Time
	Methods   []string
	PaidAt    time.Time
	Lines     []Line
	VATExtra  bool
	FiscalURL string
	PayOrigin string // where the pay click leads
}

// Resolve says what a scan of code yields at now. It is the one place that
// decides what a payer sees, and it asks nobody.
//
// status is the code's own, or that of its batch's range where that wins. scan is
// nil for a first scan. links are what is known of the links of the scan's epoch
// and of the one after it; nil entries are fine.
func Resolve(c *Code, status CodeStatus, scan *Scan, links [2]*Link, now time.Time) Seen {
	switch status {
	case CodeReplaced:
		return Seen{Resolution: Superseded}
	case CodeVoid, CodeLost, CodeRetired:
		return Seen{Resolution: OutOfUse}
	}

	shown, epoch := c.Shown, c.Epoch
	if shown != nil && c.Kind.detachesItself() && gone(shown.StatusAt(now)) {
		// Ended by the clock alone: the detach is not written yet, but it is true.
		shown, epoch = nil, epoch+1
	}

	if scan == nil {
		return seeing(c, shown, NewScan(epoch), nil, now)
	}
	at := *scan
	if shown != nil && c.Free && at.Epoch+1 == epoch {
		at.Epoch = epoch // it waited for this very sale
	}
	link := pressedLink(links, at)
	if at.Epoch == epoch {
		return seeing(c, shown, at, link, now)
	}
	seen := Seen{Resolution: Ended, Scan: at}
	if link != nil {
		switch link.Pressed.StatusAt(now) {
		case Paid:
			seen.press(PaidHere, link)
		case Processing, Review, Closing:
			seen.press(InFlight, link)
		}
	}
	return seen
}

// gone reports whether a counter or account code stops showing a request in s.
func gone(s Status) bool { return s == Closing || s.Final() }

// pressedLink finds the link in which the scan pressed pay.
func pressedLink(links [2]*Link, s Scan) *Link {
	for _, l := range links {
		if l == nil || l.Pressed == nil {
			continue
		}
		for _, n := range l.Pressed.Nonces {
			if n == s.Nonce {
				return l
			}
		}
	}
	return nil
}

// seeing is the table "What a scan yields" of the design, for a scan of the
// present epoch.
func seeing(c *Code, shown *Face, s Scan, link *Link, now time.Time) Seen {
	seen := Seen{Scan: s}
	if shown == nil {
		seen.Resolution = empty(c.Kind)
		return seen
	}
	switch st := shown.StatusAt(now); st {
	case Unvalued, Draft:
		seen.Resolution = Valueless
	case Preparing:
		seen.Resolution = Updating
		seen.Slow = now.Sub(shown.Stalled) > StallAfter
	case Active:
		if !c.AtBank() {
			seen.Resolution = Updating // what is printed leads to the bank, which may show something else
			return seen
		}
		seen.Resolution = Payable
		seen.Pressed = link != nil
		seen.Request = &SeenRequest{
			ID: shown.Request, Epoch: c.Epoch, Revision: shown.Revision,
			Money: Money{shown.Amount, shown.Currency}, Reference: shown.Reference,
			ExpiresAt: shown.ExpiresAt, Methods: shown.Methods, PayOrigin: shown.PayOrigin,
			Lines: shown.Lines, VATExtra: shown.VATExtra,
		}
	case Processing, Review:
		if link == nil {
			seen.Resolution = Busy
		} else {
			seen.press(InFlight, link)
		}
	case Paid:
		switch {
		case link != nil:
			seen.press(PaidHere, link)
		case c.Kind == Bill:
			seen.Resolution, seen.On = Settled, shown.PaidAt
		default:
			seen.Resolution = empty(c.Kind)
		}
	case Closing, Expired, Cancelled: // only a bill still shows one
		switch {
		case link != nil && st == Closing:
			seen.press(InFlight, link)
		case st == Cancelled && shown.EndReason == ByOtherMeans:
			seen.Resolution = Settled
		default:
			seen.Resolution, seen.Reason = Ended, shown.EndReason
			if st == Closing && shown.EndReason == "" {
				seen.Reason = ByExpiry
			}
		}
	}
	return seen
}

func empty(k CodeKind) Resolution {
	switch k {
	case Bill:
		return Valueless
	case Account:
		return NothingDue
	}
	return Waiting
}

// press fills in what the scan that pressed pay may know.
func (s *Seen) press(r Resolution, l *Link) {
	f := l.Pressed
	s.Resolution, s.Pressed = r, true
	s.Request = &SeenRequest{
		ID: l.Request, Epoch: l.Epoch, Revision: f.Revision,
		Money: Money{f.Amount, f.Currency}, Reference: f.Reference,
		Lines: f.Lines, VATExtra: f.VATExtra, FiscalURL: f.FiscalURL,
	}
	if r == PaidHere {
		s.Request.PaidAt = f.PaidAt
	}
}

package linking

import (
	"math/rand/v2"
	"time"
)

// Timing of dealings with the bank.
const (
	opLife      = 30 * time.Second // a call under way is given up for dead after this
	trustAbsent = 20 * time.Second // a put may still be on its way so long: "absent" proves nothing before
	pollEach    = 25 * time.Second
	deniedEach  = 30 * time.Second
	refundEach  = 30 * time.Second
)

// pollsAfterPress are the delays of the questions after a pay click, each counted
// from the one before.
var pollsAfterPress = []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second}

// retryDelay is how long to wait after the n-th failure in a row, n from 1.
func retryDelay(n int) time.Duration {
	steps := []time.Duration{time.Second, 3 * time.Second, 10 * time.Second, 30 * time.Second}
	if n <= len(steps) {
		return steps[n-1]
	}
	return time.Duration(float64(time.Minute) * (0.8 + 0.4*rand.Float64()))
}

// step is what is to be done at the bank about r, and from when on. NoStep: nothing
// until something else happens. It does not look at a call under way.
func (r *Request) step(now time.Time) (StepKind, time.Time) {
	b := &r.Bank
	if b.Connection == "" {
		return NoStep, time.Time{}
	}
	if b.Unsure {
		return StepGet, b.NextAt
	}
	for i := range r.Refunds {
		if r.Refunds[i].Status == RefundPending {
			return StepRefund, b.NextAt
		}
	}
	switch r.Status {
	case Preparing:
		if r.After == "" && !b.Refused && !r.expiresBy(now) && (b.Link == nil || b.LinkReady) {
			return StepPut, b.NextAt
		}
	case Active:
		if b.Link != nil && !b.LinkSeen {
			return StepLook, b.NextAt
		}
	case Paid, Expired, Cancelled:
		if b.LinkHeld {
			return StepUnlink, b.NextAt
		}
	case Review:
		if b.LinkHeld && b.State == BankPaid { // a person decides about the money; nobody can pay once more
			return StepUnlink, b.NextAt
		}
	case Closing:
		if b.Sent && b.State != BankPaid { // paid: it ends when the money went back
			return StepClose, b.NextAt
		}
	case Processing:
		if b.State == BankAuthorised && (r.EndAsked || b.Capture) {
			if r.EndAsked {
				return StepClose, b.NextAt
			}
			return StepCapture, b.NextAt
		}
	}
	if !b.PollAt.IsZero() && b.Sent {
		return StepGet, b.PollAt // also of one that ended: money may have come late
	}
	return NoStep, time.Time{}
}

// due is when background work wants to see r next; zero: never.
func (r *Request) due(now time.Time) time.Time {
	var due time.Time
	sooner := func(t time.Time) {
		if due.IsZero() || t.Before(due) {
			due = t
		}
	}
	if r.Bank.Op.Kind != NoStep {
		sooner(r.Bank.Op.Until)
	} else if k, from := r.step(now); k != NoStep {
		if from.IsZero() {
			from = now
		}
		sooner(from)
	}
	switch r.Status {
	case Draft, Unvalued, Preparing, Active:
		if !r.Content.ExpiresAt.IsZero() {
			sooner(r.Content.ExpiresAt)
		}
	}
	if r.Status == Preparing && !r.Stalled {
		sooner(r.Since.Add(StallAfter))
	}
	return due
}

// claim marks the step that is due as under way, so that nobody else takes it.
// It returns nil if there is none now, or one is under way.
func (r *Request) claim(now time.Time) *BankOp {
	b := &r.Bank
	if b.Op.Kind != NoStep {
		return nil
	}
	k, from := r.step(now)
	if k == NoStep || now.Before(from) {
		return nil
	}
	op := BankOp{Kind: k, ID: rand.Uint64()>>1 | 1, Until: now.Add(opLife)}
	switch k {
	case StepPut:
		op.Revision, op.First = r.Revision, !b.Sent
		b.Sent, b.PutAt = true, now
		op.Linked = b.Link != nil
		b.LinkHeld = b.LinkHeld || op.Linked
		b.LinkSeen = b.LinkSeen && !op.Linked // what was seen there was an older revision
	case StepGet:
		r.polled(now)
	case StepRefund:
		for i := range r.Refunds {
			if f := &r.Refunds[i]; f.Status == RefundPending {
				op.Refund, f.Sent = f.ID, true
				break
			}
		}
	}
	b.Op = op
	return &op
}

// giveUp ends a call whose process must have died: what it did is unknown.
func (r *Request) giveUp(now time.Time) {
	op := r.Bank.Op
	if op.Kind == NoStep || now.Before(op.Until) {
		return
	}
	r.Bank.Op = BankOp{}
	r.Bank.NextAt = time.Time{}
	switch op.Kind {
	case StepGet:
		r.askAgain(now, 0)
	case StepRefund, StepLook, StepUnlink: // once more changes nothing
	default:
		r.Bank.Unsure = true
	}
}

// pressed starts the questions that follow a pay click: what no callback tells is
// found by them.
func (r *Request) pressed(now time.Time) {
	r.PressedAt = now
	r.Bank.Polls = 0
	r.Bank.PollAt = now.Add(pollsAfterPress[0])
}

// polled plans the question after this one.
func (r *Request) polled(now time.Time) {
	b := &r.Bank
	if b.PollAt.IsZero() && !b.Alone {
		return
	}
	b.Polls++
	switch {
	case r.Status.Final():
		b.PollAt = time.Time{}
	case !r.PressedAt.IsZero() && b.Polls < len(pollsAfterPress):
		b.PollAt = now.Add(pollsAfterPress[b.Polls])
	case b.Alone || r.Status == Processing:
		b.PollAt = now.Add(pollEach)
	default:
		b.PollAt = time.Time{} // the connection's list finds it from here on
	}
}

package linking

import (
	"testing"
	"time"
)

// The table "What a scan yields", cell by cell: by the attached request's status,
// for a code of each kind, for a stranger's scan and for the one that pressed pay.
func TestResolutionTable(t *testing.T) {
	type row struct {
		status           Status
		counter, bill    Resolution
		account, pressed Resolution // pressed: on a bill, which shows every status
	}
	for _, tt := range []row{
		{"", Waiting, Valueless, NothingDue, Valueless},
		{Unvalued, Valueless, Valueless, Valueless, Valueless},
		{Draft, Valueless, Valueless, Valueless, Valueless},
		{Preparing, Updating, Updating, Updating, Updating},
		{Active, Payable, Payable, Payable, Payable},
		{Processing, Busy, Busy, Busy, InFlight},
		{Review, Busy, Busy, Busy, InFlight},
		{Closing, Waiting, Ended, NothingDue, InFlight},
		{Expired, Waiting, Ended, NothingDue, Ended},
		{Cancelled, Waiting, Ended, NothingDue, Ended},
		{Paid, Waiting, Settled, NothingDue, PaidHere},
	} {
		for _, c := range []struct {
			kind CodeKind
			want Resolution
		}{{Counter, tt.counter}, {Bill, tt.bill}, {Account, tt.account}} {
			code := showing(c.kind, tt.status)
			seen := Resolve(code, CodeActive, nil, [2]*Link{}, noon)
			if seen.Resolution != c.want {
				t.Errorf("%s code, %q: %s, want %s", c.kind, tt.status, seen.Resolution, c.want)
			}
			if told := seen.Request != nil; told != (c.want == Payable) {
				t.Errorf("%s code, %q: %s tells a stranger of a request: %v", c.kind, tt.status, c.want, told)
			}
		}
		code := showing(Bill, tt.status)
		scan := NewScan(code.Epoch)
		seen := Resolve(code, CodeActive, &scan, [2]*Link{linkPressed(code, scan, tt.status)}, noon)
		if seen.Resolution != tt.pressed {
			t.Errorf("pressed, %q: %s, want %s", tt.status, seen.Resolution, tt.pressed)
		}
		if told := seen.Request != nil; told != (tt.pressed == Payable || tt.pressed == InFlight || tt.pressed == PaidHere) {
			t.Errorf("pressed, %q: %s tells of a request: %v", tt.status, tt.pressed, told)
		}
	}
}

func showing(k CodeKind, s Status) *Code {
	c := &Code{Token: "T", Kind: k, Status: CodeActive, Epoch: 7}
	if s != "" {
		c.Shown = &Face{Request: "R", Status: s, Revision: 3, Amount: 1250, Currency: "EUR", Reference: "ref", Stalled: noon, ExpiresAt: noon.Add(time.Minute), PaidAt: noon}
	}
	return c
}

func linkPressed(c *Code, s Scan, st Status) *Link {
	return &Link{Token: c.Token, Epoch: c.Epoch, Request: "R", Pressed: &PressedFace{
		Nonces: []ScanNonce{s.Nonce}, Status: st, Amount: 1250, Currency: "EUR", PaidAt: noon}}
}

func TestPaidOtherwiseIsSettled(t *testing.T) {
	code := showing(Bill, Cancelled)
	code.Shown.EndReason = ByOtherMeans
	if seen := Resolve(code, CodeActive, nil, [2]*Link{}, noon); seen.Resolution != Settled {
		t.Error(seen.Resolution)
	}
}

func TestCodesOutOfUse(t *testing.T) {
	for st, want := range map[CodeStatus]Resolution{CodeVoid: OutOfUse, CodeLost: OutOfUse, CodeRetired: OutOfUse, CodeReplaced: Superseded, CodeActive: Payable} {
		seen := Resolve(showing(Counter, Active), st, nil, [2]*Link{}, noon)
		if seen.Resolution != want || (seen.Request != nil) != (want == Payable) {
			t.Errorf("%s: %+v", st, seen)
		}
	}
}

func TestD3PayableIsWhatTheFaceHolds(t *testing.T) {
	code := showing(Counter, Active)
	seen := Resolve(code, CodeActive, nil, [2]*Link{}, noon)
	r := seen.Request
	if r.Money != (Money{1250, "EUR"}) || r.Revision != 3 || r.Reference != "ref" || r.Epoch != 7 || seen.Scan.Epoch != 7 {
		t.Errorf("%+v", r)
	}
}

func TestSlowUpdatingSaysSo(t *testing.T) {
	code := showing(Counter, Preparing)
	code.Shown.ExpiresAt = time.Time{}
	if seen := Resolve(code, CodeActive, nil, [2]*Link{}, noon.Add(StallAfter)); seen.Slow {
		t.Error("slow at 30 seconds")
	}
	if seen := Resolve(code, CodeActive, nil, [2]*Link{}, noon.Add(StallAfter+1)); !seen.Slow {
		t.Error("not slow after 30 seconds")
	}
}

// A page opened in one sale never slides on to the next customer's bill.
func TestD13ScanLease(t *testing.T) {
	r := func(id RequestID) *Request {
		return &Request{ID: id, Status: Active, Revision: 1, Content: Content{Amount: 5, Currency: "EUR", ExpiresAt: noon.Add(time.Minute)}}
	}
	code := &Code{Token: "T", Kind: Counter, Status: CodeActive}
	see := func(s Scan, links ...*Link) Seen {
		var two [2]*Link
		copy(two[:], links)
		return Resolve(code, CodeActive, &s, two, noon)
	}
	waiting := NewScan(code.Epoch)
	if seen := see(waiting); seen.Resolution != Waiting || seen.Scan != waiting {
		t.Fatalf("before the sale: %+v", seen)
	}

	code.attach(r("A"), "", noon)
	adopted := see(waiting)
	if adopted.Resolution != Payable || adopted.Scan.Epoch != code.Epoch || adopted.Scan.Nonce != waiting.Nonce {
		t.Fatalf("who waited adopts the sale: %+v", adopted)
	}
	inA := NewScan(code.Epoch)

	code.attach(r("B"), "", noon) // a swap
	for name, s := range map[string]Scan{"waited before A": waiting, "adopted A": adopted.Scan, "opened in A": inA} {
		if seen := see(s); seen.Resolution != Ended || seen.Request != nil {
			t.Errorf("%s, after the swap: %+v", name, seen)
		}
	}
	if seen := Resolve(code, CodeActive, nil, [2]*Link{}, noon); seen.Resolution != Payable || seen.Request.ID != "B" {
		t.Errorf("a new scan after the swap: %+v", seen)
	}

	inB := NewScan(code.Epoch)
	code.detach(false, noon)
	if seen := see(inB); seen.Resolution != Ended {
		t.Errorf("after the detach: %+v", seen)
	}
	between := NewScan(code.Epoch)
	if seen := see(between); seen.Resolution != Waiting {
		t.Errorf("between the sales: %+v", seen)
	}
	code.attach(r("C"), "", noon)
	if seen := see(between); seen.Resolution != Payable || seen.Request.ID != "C" {
		t.Errorf("waited for C: %+v", seen)
	}
	if seen := see(inB); seen.Resolution != Ended {
		t.Errorf("B's page, while C is shown: %+v", seen)
	}
	code.detach(true, noon)
	if seen := see(between); seen.Resolution != Ended {
		t.Errorf("waiting serves one sale: %+v", seen)
	}
	code.setStatus(CodeVoid)
	code.setStatus(CodeActive)
	code.attach(r("D"), "", noon)
	if seen := see(between); seen.Resolution != Ended {
		t.Errorf("an old page after void and back: %+v", seen)
	}
}

// The clock ends a sale before anybody has written it down.
func TestD13ComputedExpiryStartsTheNextEpoch(t *testing.T) {
	code := showing(Counter, Active)
	inSale := NewScan(code.Epoch)
	later := noon.Add(time.Minute) // the instant of expiry
	first := Resolve(code, CodeActive, nil, [2]*Link{}, later)
	if first.Resolution != Waiting || first.Scan.Epoch != code.Epoch+1 {
		t.Fatalf("a new scan after expiry: %+v", first)
	}
	if seen := Resolve(code, CodeActive, &inSale, [2]*Link{}, later); seen.Resolution != Ended {
		t.Fatalf("the sale's own page after expiry: %+v", seen)
	}
	if seen := Resolve(code, CodeActive, &inSale, [2]*Link{linkPressedUntil(code, inSale, Active, noon.Add(time.Minute))}, later); seen.Resolution != InFlight {
		t.Fatalf("who pressed pay before expiry is told to wait: %+v", seen)
	}
	again := Resolve(code, CodeActive, &first.Scan, [2]*Link{}, later)
	if again.Resolution != Waiting {
		t.Fatalf("the new scan once more: %+v", again)
	}
	code.detach(true, later)
	code.attach(&Request{ID: "N", Status: Active, Content: Content{ExpiresAt: later.Add(time.Hour)}}, "", later)
	if code.Epoch != 9 {
		t.Fatalf("epoch %d: detach and attach are two steps", code.Epoch)
	}
	if seen := Resolve(code, CodeActive, &first.Scan, [2]*Link{}, later); seen.Resolution != Payable || seen.Request.ID != "N" {
		t.Fatalf("who waited since the expiry: %+v", seen)
	}
	bill := showing(Bill, Active)
	if seen := Resolve(bill, CodeActive, nil, [2]*Link{}, later); seen.Resolution != Ended || seen.Reason != ByExpiry || seen.Scan.Epoch != bill.Epoch {
		t.Fatalf("a bill past its time: %+v", seen)
	}
}

func linkPressedUntil(c *Code, s Scan, st Status, until time.Time) *Link {
	l := linkPressed(c, s, st)
	l.Pressed.ExpiresAt = until
	return l
}

// Who pressed pay learns the end of his own sale, also when the code serves the next.
func TestPressedScansOutliveTheirLink(t *testing.T) {
	code := showing(Counter, "")
	code.Epoch = 12
	mine := NewScan(9)
	for st, want := range map[Status]Resolution{
		Paid: PaidHere, Processing: InFlight, Review: InFlight, Closing: InFlight,
		Active: Ended, Preparing: Ended, Expired: Ended, Cancelled: Ended,
	} {
		l := &Link{Token: "T", Epoch: 9, Request: "R", Pressed: &PressedFace{Nonces: []ScanNonce{mine.Nonce}, Status: st, Amount: 7, Currency: "EUR", PaidAt: noon}}
		seen := Resolve(code, CodeActive, &mine, [2]*Link{l}, noon)
		if seen.Resolution != want {
			t.Errorf("%s: %s, want %s", st, seen.Resolution, want)
		}
		other := NewScan(9)
		if seen := Resolve(code, CodeActive, &other, [2]*Link{l}, noon); seen.Resolution != Ended || seen.Request != nil {
			t.Errorf("%s: another scan of that sale learns %+v", st, seen)
		}
	}
}

package linking

import (
	"testing"
	"time"
)

// A business day is the merchant's: in his time zone, until his day ends, with 23 to 25
// hours where the clock is changed.
func TestBusinessDays(t *testing.T) {
	m := &Merchant{TimeZone: "Europe/Lisbon", DayEndsAt: "04:00"}
	for _, c := range []struct{ at, day string }{
		{"2026-03-02T03:59:59Z", "2026-03-01"}, {"2026-03-02T04:00:00Z", "2026-03-02"}, {"2026-07-02T02:59:59Z", "2026-07-01"}, {"2026-07-02T03:00:00Z", "2026-07-02"},
		{"2026-03-29T02:59:59Z", "2026-03-28"}, {"2026-03-29T03:00:00Z", "2026-03-29"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.BusinessDay(at); got != c.day {
			t.Errorf("%s is of %s, want %s", c.at, got, c.day)
		}
	}
	for day, hours := range map[string]int{"2026-03-28": 23, "2026-03-29": 24, "2026-10-24": 25} {
		from, to, ok := m.DaySpan(day)
		if !ok || to.Sub(from) != time.Duration(hours)*time.Hour {
			t.Errorf("%s: %s to %s", day, from, to)
		}
	}
	for _, day := range []string{"", "2026-02-30", "02.03.2026", "1999-01-01"} {
		if _, _, ok := m.DaySpan(day); ok {
			t.Errorf("%q is a day", day)
		}
	}
}

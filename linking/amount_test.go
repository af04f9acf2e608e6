package linking

import "testing"

func TestAmountsAsFilesWriteThem(t *testing.T) {
	for _, c := range []struct {
		currency Currency
		text     string
		mark     byte
		want     Amount
		ok       bool
	}{
		{"EUR", "43.21", '.', 4321, true}, {"EUR", "43,21", ',', 4321, true}, {"EUR", "1.234,5", ',', 123450, true}, {"EUR", "-1,234.00000", '.', -123400, true},
		{"EUR", "+7", '.', 700, true}, {"EUR", " 12 345,00", ',', 1234500, true}, {"JPY", "1250", '.', 1250, true}, {"JPY", "1250.00", '.', 1250, true},
		{"BHD", "1.5", '.', 1500, true}, {"EUR", "1.5", ',', 0, false}, {"EUR", "1.234", '.', 0, false}, {"EUR", "", '.', 0, false}, {"EUR", "-", '.', 0, false},
		{"EUR", "1e5", '.', 0, false}, {"EUR", ".50", '.', 0, false}, {"EUR", "1,2345.00", '.', 0, false}, {"EUR", "--5", '.', 0, false}, {"EUR", "99999999999999999999", '.', 0, false},
	} {
		if got, ok := c.currency.ParseWritten(c.text, c.mark); ok != c.ok || got != c.want {
			t.Errorf("%s %q: %d, %v; want %d, %v", c.currency, c.text, got, ok, c.want, c.ok)
		}
	}
}

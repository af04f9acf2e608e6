package pix_test

import (
	"fmt"
	"strings"
	"testing"

	"placard/bankapi/pix"
)

// vectors are codes in circulation and from the Banco Central's own texts: the
// OpenAPI file of API Pix 2.9.0 (recResponse3, 6 and 7), the manual of initiation
// (2.6.3 and 2.7.2), the manual of the BR Code, and the README of a reader.
var vectors = map[string]struct {
	text string
	code pix.BRCode
	says string // of the refusal; empty: it is read
}{
	"OpenAPIChargeAndRecurrence": {
		"00020101021226760014br.gov.bcb.pix2554pix.example.com/qr/v2/8b3da2f39a4140d1a91abd93113bd4415204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***80800014br.gov.bcb.pix2558pix.example.com/qr/v2/rec/94ed2badcbc04c15b0bb7fa35319489063047741",
		pix.BRCode{URL: "pix.example.com/qr/v2/8b3da2f39a4140d1a91abd93113bd441", Name: "Fulano de Tal", City: "BRASILIA", Once: true,
			Recurring: "pix.example.com/qr/v2/rec/94ed2badcbc04c15b0bb7fa353194890"}, "",
	},
	"OpenAPIDueDateAndRecurrence": {
		"00020101021226810014br.gov.bcb.pix2559pix.example.com/qr/v2/cobv/1e6c54d3ec9449b7a7fc53b6b0f998e75204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***80800014br.gov.bcb.pix2558pix.example.com/qr/v2/rec/3ffa640fa4f14080adccb949fa2dc0d06304A441",
		pix.BRCode{URL: "pix.example.com/qr/v2/cobv/1e6c54d3ec9449b7a7fc53b6b0f998e7", Name: "Fulano de Tal", City: "BRASILIA", Once: true,
			Recurring: "pix.example.com/qr/v2/rec/3ffa640fa4f14080adccb949fa2dc0d0"}, "",
	},
	"OpenAPIRecurrenceAlone": {
		"00020126180014br.gov.bcb.pix5204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***80800014br.gov.bcb.pix2558pix.example.com/qr/v2/rec/2353c790eefb11eaadc10242ac120002630462C9",
		pix.BRCode{Name: "Fulano de Tal", City: "BRASILIA", Recurring: "pix.example.com/qr/v2/rec/2353c790eefb11eaadc10242ac120002"}, "",
	},
	"ManualDynamic": {
		"00020101021226700014br.gov.bcb.pix2548pix.example.com/8b3da2f39a4140d1a91abd93113bd4415204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***630464E4",
		pix.BRCode{URL: "pix.example.com/8b3da2f39a4140d1a91abd93113bd441", Name: "Fulano de Tal", City: "BRASILIA", Once: true}, "",
	},
	"ManualStatic": {
		"00020126580014br.gov.bcb.pix0136123e4567-e12b-12d1-a456-4266554400005204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***63041D3D",
		pix.BRCode{Key: "123e4567-e12b-12d1-a456-426655440000", Name: "Fulano de Tal", City: "BRASILIA"}, "",
	},
	"BankInCapitals": {
		"00020101021226830014BR.GOV.BCB.PIX2561qrcodespix.sejaefi.com.br/v2/ff719c748dc244a294adee9174ace3795204000053039865802BR5905EFISA6008SAOPAULO62070503***6304BAC4",
		pix.BRCode{URL: "qrcodespix.sejaefi.com.br/v2/ff719c748dc244a294adee9174ace379", Name: "EFISA", City: "SAOPAULO", Once: true}, "",
	},
	"ManualTwoAccounts": { // its txid has a hyphen, which API Pix has not allowed since
		"00020104141234567890123426580014BR.GOV.BCB.PIX0136123e4567-e12b-12d1-a456-42665544000027300012BR.COM.OUTRO011001234567895204000053039865406123.455802BR5917NOME DO RECEBEDOR6008BRASILIA61087007490062190515RP12345678-201980390012BR.COM.OUTRO01190123.ABCD.3456.WXYZ6304AD38",
		pix.BRCode{Key: "123e4567-e12b-12d1-a456-426655440000", Amount: 12345, TxID: "RP12345678-2019", Name: "NOME DO RECEBEDOR", City: "BRASILIA", Postal: "70074900"}, "",
	},
	"WrongLengthUnderARightChecksum": {
		"00020126360014BR.GOV.BCB.PIX0114+5511943214321520400005303986540566.665802BR5907EMPRESA6008BRASILIA62080503***6304170E",
		pix.BRCode{}, "broken",
	},
	"AdditionalDataThatIsNone": { // as one library writes it; another accepts it
		"00020101021226450014br.gov.bcb.pix2523pix.example.com/qr/v2/1520400005303986540510.205802BR5913Fulano de Tal6008BRASILIA6203***6304DB72",
		pix.BRCode{}, "broken",
	},
}

// golden is the manual's own dynamic code.
var golden = vectors["ManualDynamic"].text

func TestDecodeReadsWhatIsInCirculation(t *testing.T) {
	for name, v := range vectors {
		t.Run(name, func(t *testing.T) {
			got, err := pix.DecodeBRCode(v.text)
			switch {
			case v.says != "" && (err == nil || !strings.Contains(err.Error(), v.says)):
				t.Fatalf("%+v, %v; want a refusal that says %q", got, err, v.says)
			case v.says == "" && (err != nil || got != v.code):
				t.Fatalf("%+v, %v\nwant %+v", got, err, v.code)
			}
		})
	}
}

func TestEncodeIsTheManualsOwnCode(t *testing.T) {
	for _, name := range []string{"ManualDynamic", "ManualStatic"} {
		got, err := vectors[name].code.Encode()
		if err != nil || got != vectors[name].text {
			t.Errorf("%s:\n%s, %v\nwant %s", name, got, err, vectors[name].text)
		}
	}
}

// Every slip of the finger or of a scanner is found: one character for another, two
// beside each other swapped, one lost.
func TestEverySlipIsFound(t *testing.T) {
	tried := 0
	try := func(s string) {
		t.Helper()
		if strings.EqualFold(s, golden) && !strings.EqualFold(s[:len(s)-4], golden[:len(golden)-4]) || s == golden {
			return
		}
		tried++
		if got, err := pix.DecodeBRCode(s); err == nil && got != vectors["ManualDynamic"].code {
			t.Fatalf("%q was read as %+v", s, got)
		}
	}
	for i := range golden {
		for c := byte(' '); c <= '~'; c++ {
			try(golden[:i] + string(c) + golden[i+1:])
		}
		try(golden[:i] + golden[i+1:])
		if i+1 < len(golden) {
			try(golden[:i] + golden[i+1:i+2] + golden[i:i+1] + golden[i+2:])
		}
	}
	if tried < 10_000 {
		t.Fatalf("only %d slips were tried", tried)
	}
}

// sealed puts the checksum, computed here bit by bit, after a text.
func sealed(s string) string {
	s += "6304"
	crc := uint32(0xFFFF)
	for _, b := range []byte(s) {
		for bit := 7; bit >= 0; bit-- {
			top := crc>>15&1 ^ uint32(b)>>bit&1
			crc = crc << 1 & 0xFFFF
			if top == 1 {
				crc ^= 0x1021
			}
		}
	}
	return fmt.Sprintf("%s%04X", s, crc)
}

func TestDecodeRefusesWhatTwoReadersCouldReadDifferently(t *testing.T) {
	head, tail := "000201010212", "5204000053039865802BR5905LOJA16008BRASILIA62070503***"
	account := "26440014br.gov.bcb.pix2522pix.example.com/qr/123"
	if _, err := pix.DecodeBRCode(sealed(head + account + tail)); err != nil {
		t.Fatalf("what the others are made from: %v", err)
	}
	for name, text := range map[string]string{
		"nothing":                  "",
		"no code at all":           "https://pix.example.com/qr/123",
		"two accounts":             sealed(head + account + "27" + account[2:] + tail),
		"a field twice":            sealed(head + account + tail + "5905LOJA2"),
		"an account's field twice": sealed(head + "26700014br.gov.bcb.pix2522pix.example.com/qr/1232522pix.example.com/qr/124" + tail),
		"location and key":         sealed(head + "26550014br.gov.bcb.pix0107123456+2522pix.example.com/qr/123" + tail),
		"a scheme":                 sealed(head + "26520014br.gov.bcb.pix2530https://pix.example.com/qr/123" + tail),
		"a user":                   sealed(head + "26480014br.gov.bcb.pix2526bob@pix.example.com/qr/123" + tail),
		"a query":                  sealed(head + "26480014br.gov.bcb.pix2526pix.example.com/qr/123?a=b" + tail),
		"no path":                  sealed(head + "26370014br.gov.bcb.pix2515pix.example.com" + tail),
		"dollars":                  sealed(head + account + "5204000053038405802BR5905LOJA16008BRASILIA62070503***"),
		"another scheme alone":     sealed(head + "26300012BR.COM.OUTRO01100123456789" + tail),
		"an initiation of 13":      sealed("000201010213" + account + tail),
		"no version":               sealed("010212" + account + tail),
		"a version of 02":          sealed("000202010212" + account + tail),
		"something after the end":  golden + "5905LOJA1",
		"no checksum":              head + account + tail,
		"control characters":       sealed(head + account + "5204000053039865802BR5905LO\x00A16008BRASILIA62070503***"),
		"a length that is none":    sealed(head + account + "59+5LOJA1" + tail),
		"longer than any":          sealed(head + account + tail + strings.Repeat("6499"+strings.Repeat("x", 99), 12)),
		"an amount of two points":  sealed("00020126330014br.gov.bcb.pix0111123456789015204000053039865406 1.2.35802BR5905LOJA16008BRASILIA62070503***"),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := pix.DecodeBRCode(text); err == nil {
				t.Fatalf("%q was read as %+v", text, got)
			}
		})
	}
}

func TestEncodeFoldsCutsAndRefuses(t *testing.T) {
	url := "pix.example.com/qr/v2/8b3da2f39a4140d1a91abd93113bd441"
	c := pix.BRCode{URL: url, Name: "Confeitaria São José dos Ausentes Ltda", City: "São José dos Ausentes", Once: true}
	text, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := pix.DecodeBRCode(text)
	if err != nil || got.Name != "Confeitaria Sao Jose dos" || got.City != "Sao Jose dos Au" || got.URL != url {
		t.Fatalf("%+v, %v", got, err)
	}
	longest := "pix.example.com/" + strings.Repeat("a", pix.MaxLocation-len("pix.example.com/"))
	full, err := pix.BRCode{URL: longest, Name: strings.Repeat("N", 30), City: strings.Repeat("C", 30), Once: true}.Encode()
	if err != nil || len(full) != pix.MaxPayload {
		t.Fatalf("the longest is %d characters, not %d: %v", len(full), pix.MaxPayload, err)
	}
	for name, c := range map[string]pix.BRCode{
		"no name":             {URL: url, City: "X"},
		"a name without any":  {URL: url, Name: "漢字", City: "X"},
		"no city":             {URL: url, Name: "X"},
		"neither":             {Name: "X", City: "X"},
		"both":                {URL: url, Key: "k", Name: "X", City: "X"},
		"a location too long": {URL: longest + "a", Name: "X", City: "X"},
		"a scheme":            {URL: "https://" + url, Name: "X", City: "X"},
		"an amount beside it": {URL: url, Amount: 1, Name: "X", City: "X"},
		"a txid beside it":    {URL: url, TxID: "A", Name: "X", City: "X"},
		"a key too long":      {Key: strings.Repeat("k", 78), Name: "X", City: "X"},
		"an amount below":     {Key: "k", Amount: -1, Name: "X", City: "X"},
		"an amount above":     {Key: "k", Amount: 1_000_000_000_000, Name: "X", City: "X"},
		"a txid with a blank": {Key: "k", TxID: "A B", Name: "X", City: "X"},
		"a txid too long":     {Key: "k", TxID: strings.Repeat("A", 26), Name: "X", City: "X"},
	} {
		if text, err := c.Encode(); err == nil {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// What can be read can be written, and says the same again; nothing panics. A code
// that was read with two names for one thing would show here.
func FuzzBRCode(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.text)
		f.Add(v.text[:len(v.text)-8]) // without checksum: put on below
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, text := range []string{s, sealed(s)} {
			c, err := pix.DecodeBRCode(text)
			if err != nil {
				continue
			}
			if c.URL != "" && c.Key != "" || len(c.URL) > pix.MaxLocation || c.Amount < 0 {
				t.Fatalf("%q was read as %+v", text, c)
			}
			again, err := c.Encode()
			if err != nil {
				continue // it says what we do not write, such as two schemes or a recurrence alone
			}
			got, err := pix.DecodeBRCode(again)
			c.Recurring = ""
			c.Name, c.City = pix.Fold(c.Name, 25), pix.Fold(c.City, 15)
			c.Text = got.Text // cut to what fits
			if err != nil || got != c {
				t.Fatalf("%q was read as %+v, written as %q and read as %+v, %v", text, c, again, got, err)
			}
		}
	})
}

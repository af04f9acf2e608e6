package simulator

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"

	qrcode "github.com/skip2/go-qrcode"

	"placard/bankapi/pix"
	"placard/linking"
)

// emv writes the text of a code: a BR Code in Brazil, PayNow's in Singapore and
// FPS's in Hong Kong. A Brazilian request that was unlinked has none.
func (a jpmAsk) emv(country, endToEnd, merchant string, link *jpmLink) (string, error) {
	name, city := cmp.Or(pix.Fold(cmp.Or(a.Creditor.Name, merchant), 25), "SHOP"), cmp.Or(pix.Fold(a.Creditor.Address.City, 15), "SAO PAULO")
	if country == "BR" {
		if link == nil {
			return "", nil
		}
		_, location, _ := strings.Cut(link.url, "://")
		text, err := pix.BRCode{URL: location, Name: name, City: city, Once: true}.Encode()
		if err != nil {
			return "", jpmBad("13000", "", "The code cannot be made: "+err.Error()+".")
		}
		return text, nil
	}
	account := a.Creditor.Account
	field := func(id, value string) string { return fmt.Sprintf("%s%02d%s", id, len(value), value) }
	var payee, place string
	switch country {
	case "SG":
		payee = field("00", "SG.PAYNOW") + field("01", "2") + field("02", account.AlternateAccountIdentifier) +
			field("03", "0") + field("04", a.ends.Format("20060102150405"))
		place = "Singapore"
	default:
		of := map[string]string{"SVID": "02", "MOBN": "03", "EMAL": "04"}[account.SchemeName.Proprietary]
		payee = field("00", "hk.com.hkicl") + field(of, account.AlternateAccountIdentifier)
		place = "HK"
	}
	number := map[linking.Currency]string{"SGD": "702", "HKD": "344", "CNY": "156"}[a.currency]
	text := field("00", "01") + field("01", "12") + field("26", payee) + field("52", "0000") + field("53", number) +
		field("54", a.currency.Decimal(a.amount)) + field("58", country) + field("59", name) + field("60", place) +
		field("62", field("01", endToEnd[:min(len(endToEnd), 25)])) + "6304"
	return fmt.Sprintf("%s%04X", text, ccitt(text)), nil
}

// ccitt is the CRC that EMV codes end with: CRC-16/CCITT-FALSE.
func ccitt(s string) uint16 {
	crc := uint16(0xffff)
	for _, b := range []byte(s) {
		crc ^= uint16(b) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			crc <<= 1
			if carry {
				crc ^= 0x1021
			}
		}
	}
	return crc
}

var jpmLevels = map[string]qrcode.RecoveryLevel{"LOW": qrcode.Low, "QUARTILE": qrcode.High, "HIGH": qrcode.Highest}

func (rev *jpmRevision) width() int { return cmp.Or(rev.method.ImageWidth, 400) }

// draw makes the picture of the code, where one is asked for: a PNG of one bit a pixel.
func (rev *jpmRevision) draw() error {
	if rev.text == "" || rev.method.ContentType == "TEXT_ONLY" {
		return nil
	}
	width := rev.width()
	level, ok := jpmLevels[rev.method.CorrectionLevel]
	if !ok {
		level = qrcode.Medium
	}
	q, err := qrcode.New(rev.text, level)
	if err != nil {
		return err
	}
	bits := q.Bitmap()
	picture := image.NewPaletted(image.Rect(0, 0, width, width), color.Palette{color.White, color.Black})
	drawn := -1 // the row of modules that the last line shows
	for y := range width {
		line := picture.Pix[y*picture.Stride:][:width]
		row := y * len(bits) / width
		if row == drawn {
			copy(line, picture.Pix[(y-1)*picture.Stride:])
			continue
		}
		drawn = row
		for x := range line {
			if bits[row][x*len(bits)/width] {
				line[x] = 1
			}
		}
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&out, picture); err != nil {
		return err
	}
	rev.image = out.Bytes()
	return nil
}

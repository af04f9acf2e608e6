package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"golang.org/x/sys/unix"
)

// TestTheTerminalShowsTheCode: the bytes that the demo writes to a real terminal are
// drawn as that terminal would, read by a decoder that shares nothing with the
// encoder, and what it reads is opened as it is.
func TestTheTerminalShowsTheCode(t *testing.T) {
	t.Parallel()
	screen, keyboard := openTerminal(t)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { runWith(ctx, []string{"demo", "--listen", "127.0.0.1:0"}, keyboard, keyboard, hooks{}) })
	defer running.Wait()
	defer stop()
	var out bytes.Buffer
	buf := make([]byte, 4096)
	screen.SetReadDeadline(time.Now().Add(30 * time.Second))
	for !strings.Contains(out.String(), "Ctrl-C ends it.") {
		n, err := screen.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, out.String())
		}
		out.Write(buf[:n])
	}
	text := strings.ReplaceAll(out.String(), "\r\n", "\n")
	cells := regexp.MustCompile("(?m)^\x1b\\[38;5;16;48;5;231m([ ▄▀█]+)\x1b\\[0m$").FindAllStringSubmatch(text, -1)
	if len(cells) == 0 {
		t.Fatalf("no code is drawn: %q", text)
	}
	var rows [][]rune
	for _, c := range cells {
		rows = append(rows, []rune(c[1]))
	}
	payload := readCells(t, rows)
	page := regexp.MustCompile(`What a phone opens +(\S+)`).FindStringSubmatch(text)
	if page == nil || !strings.EqualFold(payload, page[1]) || payload != strings.ToUpper(payload) {
		t.Fatalf("the code reads %q, and the page is %q", payload, page)
	}
	// A phone opens the payload as it is: scheme and host mean the same in any case.
	phone := &client{t: t, base: payload}
	token := payload[strings.LastIndex(payload, "/")+1:]
	if r := phone.get("", "Accept", "application/json").is(200); r.str("token") != token || r.str("resolution") != "waiting" {
		t.Errorf("%s is not the code's page: %s", payload, r.Body)
	}
	if r := phone.get("", "Accept", "text/html").is(200); !bytes.Contains(r.Body, []byte("Café Aurora")) {
		t.Errorf("%s is not the shop's page", payload)
	}
}

// readCells decodes a code drawn in half blocks: ink on paper, two modules a cell.
func readCells(t *testing.T, rows [][]rune) string {
	t.Helper()
	const module = 8
	img := image.NewGray(image.Rect(0, 0, len(rows[0])*module, 2*len(rows)*module))
	for y, row := range rows {
		for x, c := range row {
			for half, ink := range []bool{c == '▀' || c == '█', c == '▄' || c == '█'} {
				shade := color.Gray{255}
				if ink {
					shade = color.Gray{0}
				}
				for i := range module * module {
					img.SetGray(x*module+i%module, (2*y+half)*module+i/module, shade)
				}
			}
		}
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		t.Fatal(err)
	}
	got, err := qrcode.NewQRCodeReader().Decode(bitmap, nil)
	if err != nil {
		t.Fatalf("no decoder reads what the terminal shows: %v", err)
	}
	return got.GetText()
}

// openTerminal opens a pseudo terminal: what is written to its keyboard's side
// appears on its screen.
func openTerminal(t *testing.T) (screen, keyboard *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("no terminal is to be had: %v", err)
	}
	screen = os.NewFile(uintptr(fd), "screen")
	t.Cleanup(func() { screen.Close() })
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	keyboard, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	return screen, keyboard
}

package gateway

import (
	"compress/gzip"
	"io"
	"strings"
	"testing"
	"testing/fstest"
)

func TestAssets(t *testing.T) {
	style := strings.Repeat("body { color: black }\n", 200)
	files := fstest.MapFS{
		"style.css":        {Data: []byte(style)},
		"icons/kite.svg":   {Data: []byte("<svg xmlns='http://www.w3.org/2000/svg'/>")},
		"sw.js":            {Data: []byte(strings.Repeat("  // worker\n\n\twork(\"  // 1\")\n", 100))},
		"logo.png":         {Data: []byte(strings.Repeat("\x89PNG", 1000))},
		"app.webmanifest":  {Data: []byte(`{"name":"Placard"}`)},
		"sounds/paid.mp3":  {Data: []byte("ID3")},
		"fonts/text.woff2": {Data: []byte("wOF2")},
	}
	a, err := newAssets(files)
	if err != nil {
		t.Fatal(err)
	}
	g := startGateway(t, Config{}, func(s *Server) {
		s.app.Get(assetRoot+":file", a.serve)
		s.app.Get("/sw.js", a.fixed("sw.js"))
	})
	for name, contentType := range map[string]string{
		"style.css": "text/css; charset=utf-8", "icons/kite.svg": "image/svg+xml", "sw.js": "text/javascript; charset=utf-8",
		"logo.png": "image/png", "app.webmanifest": "application/manifest+json", "sounds/paid.mp3": "audio/mpeg", "fonts/text.woff2": "font/woff2",
	} {
		resp, body := do(t, "GET", g.url+a.url(name), "")
		want := string(files[name].Data)
		if name == "sw.js" { // no indents, no comments
			want = strings.Repeat("work(\"  // 1\")\n", 100)
		}
		if resp.StatusCode != 200 || body != want || resp.Header.Get("Content-Type") != contentType || resp.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
		}
		if resp.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", name, resp.Header)
		}
	}

	// Packed for those who say so, and only where it is a gain.
	for accept, packed := range map[string]bool{"gzip": true, "br, gzip;q=0.5": true, "GZIP": true, "*": true, "gzip;q=0": false, "gzip; q=0.0": false, "br": false, "": false, "xgzip": false} {
		resp, body := do(t, "GET", g.url+a.url("style.css"), "", "Accept-Encoding", accept)
		if got := resp.Header.Get("Content-Encoding") == "gzip"; got != packed || resp.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: packed %v, Vary %q", accept, got, resp.Header.Get("Vary"))
		}
		if !packed {
			continue
		}
		z, err := gzip.NewReader(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := io.ReadAll(z); err != nil || string(plain) != style || len(body) > len(style)/5 {
			t.Errorf("%d bytes unpack to %d, %v", len(body), len(plain), err)
		}
	}
	if resp, _ := do(t, "GET", g.url+a.url("logo.png"), "", "Accept-Encoding", "gzip"); resp.Header.Get("Content-Encoding") != "" || resp.Header.Get("Vary") != "" {
		t.Error("a picture is packed twice")
	}

	// Who has it hears so: for each form its own tag.
	plain, _ := do(t, "GET", g.url+a.url("style.css"), "")
	packed, _ := do(t, "GET", g.url+a.url("style.css"), "", "Accept-Encoding", "gzip")
	if plain.Header.Get("ETag") == packed.Header.Get("ETag") {
		t.Error("two forms have one ETag")
	}
	for _, tt := range []struct {
		none, accept string
		status       int
	}{
		{plain.Header.Get("ETag"), "", 304},
		{`"other", W/` + plain.Header.Get("ETag"), "", 304},
		{"*", "", 304},
		{packed.Header.Get("ETag"), "gzip", 304},
		{packed.Header.Get("ETag"), "", 200},
		{`"other"`, "", 200},
	} {
		resp, body := do(t, "GET", g.url+a.url("style.css"), "", "If-None-Match", tt.none, "Accept-Encoding", tt.accept)
		if resp.StatusCode != tt.status || tt.status == 304 && (body != "" || resp.Header.Get("ETag") == "" || resp.Header.Get("Content-Encoding") != "") {
			t.Errorf("%+v: %d %v", tt, resp.StatusCode, resp.Header)
		}
	}

	// A fixed address is asked for each time.
	resp, _ := do(t, "GET", g.url+"/sw.js", "")
	if resp.StatusCode != 200 || resp.Header.Get("Cache-Control") != "no-cache" || resp.Header.Get("ETag") == "" {
		t.Errorf("sw.js: %d %v", resp.StatusCode, resp.Header)
	}

	// There are no other names, and no way to the disk.
	for _, path := range []string{"style.css", "style.000000000000.css", "..%2fserver.go", "%2e%2e/server.go", "../server.go", "", "style.css/", "..", "%00"} {
		resp, body := do(t, "GET", g.url+assetRoot+path, "")
		mustBeProblem(t, resp, body, 404, "not_found")
		if strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: its absence is kept for ever", path)
		}
	}
	if resp, body := do(t, "HEAD", g.url+a.url("style.css"), ""); resp.StatusCode != 200 || body != "" || resp.ContentLength != int64(len(style)) {
		t.Errorf("HEAD: %d, %d bytes", resp.StatusCode, resp.ContentLength)
	}
}

func TestAssetAddresses(t *testing.T) {
	of := func(content string) string {
		a, err := newAssets(fstest.MapFS{"a/b.css": {Data: []byte(content)}})
		if err != nil {
			t.Fatal(err)
		}
		return a.url("a/b.css")
	}
	x, again, y := of("x"), of("x"), of("y")
	if x != again || x == y || !strings.HasPrefix(x, "/assets/a-b.") || !strings.HasSuffix(x, ".css") {
		t.Errorf("%s, %s, %s", x, again, y)
	}
	if _, err := newAssets(fstest.MapFS{"notes.docx": {}}); err == nil {
		t.Error("a kind nobody knows was taken")
	}
	defer func() {
		if recover() == nil {
			t.Error("a page may name an asset that is not there")
		}
	}()
	a, _ := newAssets(fstest.MapFS{})
	a.url("missing.css")
}

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestShots takes the pictures of the pages: PLACARD_SHOTS names the folder.
// docs/img holds the two that the README shows.
func TestShots(t *testing.T) {
	dir := os.Getenv("PLACARD_SHOTS")
	if dir == "" {
		t.Skip("no pictures are asked for: PLACARD_SHOTS=FOLDER takes them")
	}
	dir, err := filepath.Abs(filepath.Join("..", "..", dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := launch(t, hooks{}, "demo", "--json", "--listen", "127.0.0.1:0")
	var f demoFacts
	if err := json.Unmarshal([]byte(d.until(`(?s)^(\{.*\}\n)`)[1]), &f); err != nil {
		t.Fatal(err)
	}
	var code struct{ Token string }
	if err := json.Unmarshal(f.Codes[0], &code); err != nil {
		t.Fatal(err)
	}
	till := &client{t: t, base: f.URL, key: f.APIKey}
	till.call("PUT", "/v1/codes/"+code.Token+"/link", m{"request": m{"amount": 1250, "reference": "Table 4"}}).is(200)
	phone := openTab(t, tabOptions{width: 360, height: 640, scale: 1.5})
	phone.goTo(f.URL + "/q/" + code.Token)
	phone.shows("Table 4")
	phone.shoot(filepath.Join(dir, "payer.png"))
	desk := openTab(t, tabOptions{width: 1180, height: 820})
	desk.goTo(f.URL + "/demo")
	time.Sleep(3 * time.Second) // frames within frames tell nobody when they are done
	desk.shoot(filepath.Join(dir, "demo.png"))
}

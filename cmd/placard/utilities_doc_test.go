package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The commands of docs/utilities.md are run as those of docs/tills.md are, with the
// program itself beside curl.
func TestTheGuideForUtilitiesRuns(t *testing.T) {
	t.Parallel()
	program, err := theProgram()
	if err != nil {
		t.Fatal(err)
	}
	f, _, _, _ := openDemo(t)
	runGuide(t, "docs/utilities.md", 30, 25, "URL="+f.URL, "BANK="+f.BankURL, "KEY="+f.Utility.APIKey,
		"PLACARD_GATEWAY="+f.URL, "PLACARD_API_KEY="+f.Utility.APIKey, "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"))
}

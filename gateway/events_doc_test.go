package gateway

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"placard/linking"
)

// docs/events.md is held against the types there are, the members an event has, and
// whether anything in the sources tells a type at all.
func TestEveryEventIsDocumented(t *testing.T) {
	raw, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	const untold = "No part of this version tells it yet."
	var documented []string
	mute := map[string]bool{}
	for section := range strings.SplitSeq(string(raw), "\n### ") {
		name, text, ok := strings.Cut(section, "\n")
		if !ok || !regexp.MustCompile(`^[a-z]+\.[a-z]+$`).MatchString(name) {
			continue
		}
		documented = append(documented, name)
		mute[name] = strings.Contains(text, untold)
		if len(strings.TrimSpace(strings.ReplaceAll(text, untold, ""))) < 15 {
			t.Errorf("docs/events.md says nothing of %s", name)
		}
	}
	for _, e := range linking.EventTypes {
		if !slices.Contains(documented, string(e)) {
			t.Errorf("docs/events.md has no section %q: say when it is told, and \"Always with:\" and \"Sometimes with:\" which further members", "### "+string(e))
		}
	}
	for _, name := range documented {
		if !slices.Contains(linking.EventTypes, linking.EventType(name)) {
			t.Errorf("docs/events.md has a section %q, and there is no such type", name)
		}
	}

	src, err := os.ReadFile("../linking/event.go")
	if err != nil {
		t.Fatal(err)
	}
	_, all := sources(t)
	uses := map[string]bool{}
	notInWords := func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	for word := range strings.FieldsFuncSeq(strings.ReplaceAll(all, string(src), ""), notInWords) {
		uses[word] = true
	}
	_, byStatus, _ := strings.Cut(string(src), "var statusEvent = ")
	byStatus, _, _ = strings.Cut(byStatus, "\n}")
	constants := regexp.MustCompile(`(?m)^\s(\w+) +EventType = "([a-z.]+)"`).FindAllStringSubmatch(string(src), -1)
	if len(constants) != len(linking.EventTypes) {
		t.Fatalf("%d of %d types were found in event.go", len(constants), len(linking.EventTypes))
	}
	for _, c := range constants {
		told := uses[c[1]] || regexp.MustCompile(`\b`+c[1]+`\b`).MatchString(byStatus)
		if told == mute[c[2]] {
			t.Errorf("%s: the sources tell it: %v; docs/events.md says %q: %v", c[2], told, untold, mute[c[2]])
		}
	}

	members := regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(string(raw), -1)
	named := map[string]bool{}
	for _, m := range members {
		named[m[1]] = true
	}
	for _, of := range []any{eventView{}, eventRequestView{}} {
		for f := range fieldsOf(reflect.TypeOf(of)) {
			if !named[f] {
				t.Errorf("docs/events.md does not speak of the member %s of %T", f, of)
			}
		}
	}
}

package gateway

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"html/template"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
	"github.com/gofiber/fiber/v2"
)

// OpenAPI is the description of everything the gateway answers: OpenAPI 3.1. The
// tests hold it against the routes, the roles, the views and every answer.
//
//go:embed openapi.yaml
var OpenAPI []byte

// openapi answers with the description as it is written.
func (a *api) openapi(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentType, "application/yaml")
	c.Set(fiber.HeaderCacheControl, "no-cache")
	return c.Send(OpenAPI)
}

// docsPolicy: the reference is text and one stylesheet.
var docsPolicy = pagePolicy{
	content:     "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	permissions: newPagePolicy(nil).permissions,
}

// docs answers with the description for reading.
func (a *api) docs(c *fiber.Ctx) error {
	reference, err := readReference()
	if err != nil {
		return err
	}
	return a.render(c, "docs.html", docsPolicy, fiber.StatusOK, reference)
}

// reference is what the page shows of the description.
type reference struct {
	Title, Version string
	Intro          template.HTML
	Groups         []referenceGroup
	Roles          []string
	Schemas        []referenceSchema
	Problems       []referenceProblem
	FieldCodes     []referencePair
}

type referenceGroup struct {
	Name, Description string
	Operations        []referenceOperation
}

type referenceOperation struct {
	ID, Method, Path, Summary string
	Description               template.HTML
	Public                    bool
	Allowed                   map[string]bool // by role
	Parameters                []referenceField
	Body                      template.HTML
	Examples                  []referencePair
	Answers                   []referenceField
	Codes                     []string
}

type referenceSchema struct {
	Name        string
	Description template.HTML
	Type        template.HTML // of one that has no fields
	Fields      []referenceField
}

type referenceField struct {
	Name, Place string
	Required    bool
	Type        template.HTML
	Description template.HTML
}

type referenceProblem struct {
	Code    string
	Status  string
	Meaning template.HTML
}

type referencePair struct{ Name, Text string }

var readReference = sync.OnceValues(func() (*reference, error) {
	var doc yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(OpenAPI, &doc, yaml.UseOrderedMap()); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	root := node{doc}
	info := root.at("info")
	r := &reference{
		Title: info.text("title"), Version: info.text("version"), Intro: marked(info.text("description")),
		Roles: []string{"owner", "manager", "cashier", "agent", "viewer", "platform"},
	}
	byTag := map[string]int{}
	for _, t := range root.at("tags").items() {
		byTag[t.text("name")] = len(r.Groups)
		r.Groups = append(r.Groups, referenceGroup{Name: t.text("name"), Description: t.text("description")})
	}
	for path, at := range root.at("paths").fields() {
		for method, o := range at.fields() {
			if method == "parameters" {
				continue
			}
			op := operationOf(root, path, method, at, o)
			i, ok := byTag[o.at("tags").first()]
			if !ok {
				return nil, fmt.Errorf("openapi.yaml: %s has no tag of the list", op.ID)
			}
			r.Groups[i].Operations = append(r.Groups[i].Operations, op)
		}
	}
	for name, s := range root.at("components", "schemas").fields() {
		one := referenceSchema{Name: name, Description: marked(s.text("description")), Fields: fieldsIn(s)}
		if len(one.Fields) == 0 {
			one.Type = typeOf(s)
		}
		r.Schemas = append(r.Schemas, one)
	}
	for _, p := range root.at("x-problems").items() {
		r.Problems = append(r.Problems, referenceProblem{p.text("code"), p.text("status"), marked(p.text("meaning"))})
	}
	for code, meaning := range root.at("x-field-codes").fields() {
		r.FieldCodes = append(r.FieldCodes, referencePair{code, fmt.Sprint(meaning.v)})
	}
	return r, nil
})

func operationOf(root node, path, method string, at, o node) referenceOperation {
	op := referenceOperation{
		ID: o.text("operationId"), Method: strings.ToUpper(method), Path: path, Summary: o.text("summary"),
		Description: marked(o.text("description")), Public: len(o.at("x-roles").items()) == 0, Allowed: map[string]bool{},
	}
	for _, role := range o.at("x-roles").items() {
		op.Allowed[fmt.Sprint(role.v)] = true
	}
	for _, p := range append(at.at("parameters").items(), o.at("parameters").items()...) {
		p = p.resolved(root)
		op.Parameters = append(op.Parameters, referenceField{
			Name: p.text("name"), Place: p.text("in"), Required: p.text("required") == "true",
			Type: typeOf(p.at("schema")), Description: marked(p.text("description")),
		})
	}
	body := o.at("requestBody", "content", "application/json")
	if schema := body.at("schema"); schema.v != nil {
		op.Body = typeOf(schema)
	}
	for name, e := range body.at("examples").fields() {
		op.Examples = append(op.Examples, referencePair{name, e.at("value").json("")})
	}
	for status, answer := range o.at("responses").fields() {
		if status == "default" {
			continue
		}
		answer = answer.resolved(root)
		f := referenceField{Name: status, Description: marked(answer.text("description"))}
		for mediaType, content := range answer.at("content").fields() {
			if mediaType == fiber.MIMEApplicationJSON {
				f.Type = typeOf(content.at("schema"))
			}
		}
		op.Answers = append(op.Answers, f)
	}
	for _, code := range o.at("x-codes").items() {
		op.Codes = append(op.Codes, fmt.Sprint(code.v))
	}
	return op
}

// fieldsIn lists the fields of an object's schema.
func fieldsIn(s node) (list []referenceField) {
	var required []string
	for _, name := range s.at("required").items() {
		required = append(required, fmt.Sprint(name.v))
	}
	for name, f := range s.at("properties").fields() {
		list = append(list, referenceField{Name: name, Required: slices.Contains(required, name), Type: typeOf(f), Description: marked(f.text("description"))})
	}
	return list
}

// typeOf says what a schema takes, in a few words, with links to what is named.
func typeOf(s node) template.HTML {
	esc := html.EscapeString
	if ref := s.text("$ref"); ref != "" {
		name := ref[strings.LastIndexByte(ref, '/')+1:]
		return template.HTML(`<a href="#schema-` + esc(name) + `">` + esc(name) + `</a>`)
	}
	var any []string
	for _, one := range s.at("anyOf").items() {
		any = append(any, string(typeOf(one)))
	}
	if any != nil {
		return template.HTML(strings.Join(any, " or "))
	}
	if list := s.at("enum").items(); list != nil {
		for _, v := range list {
			any = append(any, `<code>`+esc(v.json(""))+`</code>`)
		}
		return template.HTML(strings.Join(any, ", "))
	}
	if v := s.at("const"); v.v != nil {
		return template.HTML(`<code>` + esc(v.json("")) + `</code>`)
	}
	kinds := []string{s.text("type")}
	if list := s.at("type").items(); list != nil {
		kinds = nil
		for _, k := range list {
			kinds = append(kinds, fmt.Sprint(k.v))
		}
	}
	text := esc(strings.Join(kinds, " or "))
	switch kinds[0] {
	case "array":
		if of := s.at("items"); of.v != nil {
			text = "list of " + string(typeOf(of))
		}
	case "object":
		for i, f := range fieldsIn(s) {
			if i == 0 {
				text += " with "
			} else {
				text += ", "
			}
			text += `<code>` + esc(f.Name) + `</code> ` + string(f.Type)
		}
		if of := s.at("additionalProperties"); of.at("type").v != nil {
			text += " of " + string(typeOf(of))
		}
	case "":
		return "anything"
	}
	for _, limit := range [][2]string{{"minimum", "at least"}, {"maximum", "at most"}, {"maxLength", "characters at most:"}, {"maxItems", "entries at most:"}, {"default", "unless said:"}} {
		if v := s.text(limit[0]); v != "" {
			text += ", " + limit[1] + " " + esc(v)
		}
	}
	return template.HTML(text)
}

// node is a place in the description.
type node struct{ v any }

func (n node) at(path ...string) node {
	for _, name := range path {
		m, _ := n.v.(yaml.MapSlice)
		n = node{}
		for _, item := range m {
			if fmt.Sprint(item.Key) == name {
				n = node{item.Value}
			}
		}
	}
	return n
}

func (n node) text(name string) string {
	if v := n.at(name).v; v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

func (n node) items() (list []node) {
	l, _ := n.v.([]any)
	for _, v := range l {
		list = append(list, node{v})
	}
	return list
}

func (n node) first() string {
	if l := n.items(); len(l) > 0 {
		return fmt.Sprint(l[0].v)
	}
	return ""
}

// fields goes through an object in the order in which it is written.
func (n node) fields() func(yield func(string, node) bool) {
	m, _ := n.v.(yaml.MapSlice)
	return func(yield func(string, node) bool) {
		for _, item := range m {
			if !yield(fmt.Sprint(item.Key), node{item.Value}) {
				return
			}
		}
	}
}

func (n node) resolved(root node) node {
	if ref, ok := strings.CutPrefix(n.text("$ref"), "#/"); ok {
		return root.at(strings.Split(ref, "/")...)
	}
	return n
}

// json writes a value as JSON, objects and lists over several lines.
func (n node) json(indent string) string {
	deeper := indent + "  "
	switch v := n.v.(type) {
	case yaml.MapSlice:
		var b strings.Builder
		for name, f := range n.fields() {
			if b.Len() > 0 {
				b.WriteString(",")
			}
			b.WriteString("\n" + deeper + string(encode(name)) + ": " + f.json(deeper))
		}
		return "{" + b.String() + "\n" + indent + "}"
	case []any:
		var list []string
		for _, one := range n.items() {
			list = append(list, one.json(deeper))
		}
		return "[" + strings.Join(list, ", ") + "]"
	default:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if e.Encode(v) != nil {
			return ""
		}
		return strings.TrimSpace(b.String())
	}
}

var (
	markedCode = regexp.MustCompile("`([^`]+)`")
	markedBold = regexp.MustCompile(`\*\*([^*]+)\*\*`)
)

// marked turns the little Markdown of the description into HTML: paragraphs,
// headings, code and bold.
func marked(text string) template.HTML {
	var b strings.Builder
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		block = html.EscapeString(strings.TrimSpace(block))
		if block == "" {
			continue
		}
		block = markedCode.ReplaceAllString(block, "<code>$1</code>")
		block = markedBold.ReplaceAllString(block, "<strong>$1</strong>")
		if title, ok := strings.CutPrefix(block, "## "); ok {
			b.WriteString("<h2>" + title + "</h2>\n")
			continue
		}
		b.WriteString("<p>" + block + "</p>\n")
	}
	return template.HTML(b.String())
}

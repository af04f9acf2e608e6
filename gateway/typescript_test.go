package gateway

import (
	_ "embed"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var writeTypeScript = flag.Bool("typescript", false, "write integrations/typescript/placard.ts anew")

const typeScriptClient = "../integrations/typescript/placard.ts"

// The TypeScript client is made from openapi.yaml, and is never behind it.
func TestTypeScriptClientIsUpToDate(t *testing.T) {
	made := typeScript(t)
	if *writeTypeScript {
		if err := os.WriteFile(typeScriptClient, []byte(made), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(typeScriptClient)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != made {
		t.Error("integrations/typescript/placard.ts is not what gateway/openapi.yaml says; write it anew: go test ./gateway -run TypeScript -typescript")
	}
}

//go:embed testdata/client.ts
var typeScriptBase string

// typeScript is the whole client: what is the same in every version, a type for each
// schema, and a method for each call of the API that is answered with JSON.
func typeScript(t *testing.T) string {
	t.Helper()
	var doc yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(OpenAPI, &doc, yaml.UseOrderedMap()); err != nil {
		t.Fatal(err)
	}
	root := node{doc}
	var types, methods strings.Builder
	for name, s := range root.at("components", "schemas").fields() {
		if slices.Contains([]string{"Array", "Error", "Map", "Number", "Object", "Placard", "PlacardError", "Promise", "Query", "Record", "Response", "Set", "String"}, name) {
			t.Errorf("components.schemas.%s: the TypeScript client needs that name for something else", name)
		}
		types.WriteString("\n" + comment(s.text("description"), ""))
		if fields := s.at("properties"); fields.v != nil && s.at("anyOf").v == nil {
			fmt.Fprintf(&types, "export interface %s {\n%s}\n", name, members(s, "  "))
		} else {
			fmt.Fprintf(&types, "export type %s = %s;\n", name, scriptType(s, ""))
		}
	}
	for path, at := range root.at("paths").fields() {
		if !strings.HasPrefix(path, "/v1/") {
			continue
		}
		for method, o := range at.fields() {
			if method != "parameters" {
				methods.WriteString(scriptMethod(root, path, strings.ToUpper(method), at, o))
			}
		}
	}
	return strings.NewReplacer("/* types */\n", strings.TrimPrefix(types.String(), "\n"), "  /* methods */\n", strings.TrimPrefix(methods.String(), "\n")).Replace(typeScriptBase)
}

func comment(text, indent string) string {
	text = strings.Join(strings.Fields(text), " ")
	if text == "" {
		return ""
	}
	return indent + "/** " + strings.ReplaceAll(text, "*/", "*\\/") + " */\n"
}

func members(s node, indent string) string {
	var b strings.Builder
	var required []string
	for _, name := range s.at("required").items() {
		required = append(required, fmt.Sprint(name.v))
	}
	for name, f := range s.at("properties").fields() {
		optional := "?"
		if slices.Contains(required, name) {
			optional = ""
		}
		fmt.Fprintf(&b, "%s%s%s%s: %s;\n", comment(f.text("description"), indent), indent, name, optional, scriptType(f, indent))
	}
	if s.text("additionalProperties") == "true" {
		fmt.Fprintf(&b, "%s[further: string]: unknown;\n", indent)
	}
	return b.String()
}

func scriptType(s node, indent string) string {
	if ref := s.text("$ref"); ref != "" {
		return ref[strings.LastIndexByte(ref, '/')+1:]
	}
	var of []string
	for _, one := range s.at("anyOf").items() {
		of = append(of, scriptType(one, indent))
	}
	for _, v := range s.at("enum").items() {
		of = append(of, v.json(""))
	}
	if of != nil {
		return strings.Join(of, " | ")
	}
	if c := s.at("const"); c.v != nil {
		return c.json("")
	}
	kinds := []node{s.at("type")}
	if list := s.at("type").items(); list != nil {
		kinds = list
	}
	for _, k := range kinds {
		switch fmt.Sprint(k.v) {
		case "integer", "number":
			of = append(of, "number")
		case "array":
			item := "unknown"
			if i := s.at("items"); i.v != nil {
				item = scriptType(i, indent)
			}
			if strings.Contains(item, " ") {
				item = "(" + item + ")"
			}
			of = append(of, item+"[]")
		case "object":
			switch {
			case s.at("properties").v != nil:
				of = append(of, "{\n"+members(s, indent+"  ")+indent+"}")
			case s.at("additionalProperties", "type").v != nil:
				of = append(of, "Record<string, "+scriptType(s.at("additionalProperties"), indent)+">")
			default:
				of = append(of, "Record<string, unknown>")
			}
		case "string", "boolean", "null":
			of = append(of, fmt.Sprint(k.v))
		default:
			of = append(of, "unknown")
		}
	}
	return strings.Join(of, " | ")
}

// headerNames are what the parameters of a method are called that are sent as headers.
var headerNames = map[string]string{"Idempotency-Key": "idempotencyKey", "If-Match": "ifMatch", "Prefer": "prefer"}

func scriptMethod(root node, path, method string, at, o node) string {
	answer := ""
	for status, r := range o.at("responses").fields() {
		if schema := r.at("content", "application/json", "schema"); strings.HasPrefix(status, "2") && schema.v != nil && answer == "" {
			answer = scriptType(schema, "  ")
		}
		if status == "204" {
			answer = "void"
		}
	}
	if answer == "" {
		return "" // pictures and streams
	}
	var params, query, headers []string
	needed := false
	for _, p := range append(at.at("parameters").items(), o.at("parameters").items()...) {
		p = p.resolved(root)
		name := p.text("name")
		as, optional := name, "?"
		switch p.text("in") {
		case "path":
			optional, needed = "", true
		case "query":
			query = append(query, name+": params."+name)
		case "header":
			if as = headerNames[name]; as == "" {
				continue
			}
			headers = append(headers, fmt.Sprintf("%q: params.%s", name, as))
		}
		params = append(params, as+optional+": "+scriptType(p.at("schema"), ""))
	}
	url := regexp.MustCompile(`\{([a-z_0-9]+)\}`).ReplaceAllString(path, "$${encodeURIComponent(params.$1)}")
	var args []string
	if params != nil {
		arg := "params: { " + strings.Join(params, "; ") + " }"
		if !needed && method == "GET" {
			arg += " = {}"
		}
		args = append(args, arg)
	}
	body := "undefined"
	if schema := o.at("requestBody", "content", "application/json", "schema"); schema.v != nil {
		arg, optional := "body", "?"
		if o.at("requestBody").text("required") == "true" {
			optional = ""
		}
		body = "body"
		arg += optional + ": " + scriptType(schema, "  ")
		if needed || params == nil || optional == "?" {
			args = append(args, arg)
		} else { // what must be given comes first
			args = append([]string{arg}, args[0]+" = {}")
		}
	} else if !needed && method != "GET" && params != nil {
		args[0] += " = {}"
	}
	return fmt.Sprintf("\n%s  %s(%s): Promise<%s> {\n    return this.call(%q, `%s`, %s, %s, %s);\n  }\n",
		comment(strings.TrimSpace(o.text("summary")+". "+o.text("description")), "  "), o.text("operationId"), strings.Join(args, ", "), answer,
		method, url, braced(query), braced(headers), body)
}

func braced(list []string) string {
	if list == nil {
		return "{}"
	}
	return "{ " + strings.Join(list, ", ") + " }"
}

package gateway

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"placard/linking"
)

// The description is held against the program from both sides: routes, roles, fields
// and codes here; every answer of a run, and every example, in cmd/placard.

func description(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestDescriptionAndItsExamplesAreSound(t *testing.T) {
	if err := description(t).Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
}

// mounted is a gateway with everything on it, for a look at its routes.
func mounted(t *testing.T) (*Server, *api) {
	t.Helper()
	s, err := New(Config{PublicURL: "https://pay.example"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Mount(Nouns{Demo: &Demo{}}); err != nil {
		t.Fatal(err)
	}
	return s, &api{Server: s}
}

var routeParam = regexp.MustCompile(`:([a-z_0-9]+)`)

// described is a route's path as the description writes it.
func described(path string) string { return routeParam.ReplaceAllString(path, "{$1}") }

func operations(doc *openapi3.T) map[string]*openapi3.Operation {
	list := map[string]*openapi3.Operation{}
	for path, item := range doc.Paths.Map() {
		for method, o := range item.Operations() {
			list[method+" "+path] = o
		}
	}
	return list
}

// skeleton is what to put into openapi.yaml for a route, but for the words.
func skeleton(method, path string, roles []linking.Role) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s:\n", path)
	if params := regexp.MustCompile(`\{([a-z_0-9]+)\}`).FindAllStringSubmatch(path, -1); params != nil {
		b.WriteString("    parameters:\n")
		for _, p := range params {
			fmt.Fprintf(&b, "      - {name: %s, in: path, required: true, schema: {type: string}}\n", p[1])
		}
	}
	fmt.Fprintf(&b, "    %s:\n      operationId: …\n      tags: […]\n      summary: …\n", strings.ToLower(method))
	if len(roles) == 0 {
		b.WriteString("      security: []\n")
	}
	fmt.Fprintf(&b, "      x-roles: %s\n      responses:\n", strings.ReplaceAll(fmt.Sprint(roles), " ", ", "))
	b.WriteString("        \"200\": {description: …, content: {application/json: {schema: {$ref: \"#/components/schemas/…\"}}}}\n        default: {$ref: \"#/components/responses/problem\"}\n")
	return b.String()
}

func TestDescriptionHasEveryRouteAndNoOther(t *testing.T) {
	s, a := mounted(t)
	have := operations(description(t))
	roles := map[string][]linking.Role{}
	for _, r := range a.routes() {
		roles[r.method+" "+described(r.path)] = r.roles
	}
	routes := map[string]bool{}
	for _, r := range s.app.GetRoutes(true) {
		if r.Method == "HEAD" || r.Method == "OPTIONS" {
			continue
		}
		name := r.Method + " " + described(r.Path)
		routes[name] = true
		if have[name] == nil {
			t.Errorf("the gateway answers %s, and gateway/openapi.yaml does not say so. Add under paths, and play it in cmd/placard/contract_test.go:\n\n%s", name, skeleton(r.Method, described(r.Path), roles[name]))
		}
	}
	for name, o := range have {
		if !routes[name] {
			t.Errorf("gateway/openapi.yaml has %s (%s), and the gateway has no such route", name, o.OperationID)
		}
	}
}

// The table route × role of the reference is the one that the gateway goes by.
func TestDescriptionHasTheRolesOfEveryRoute(t *testing.T) {
	_, a := mounted(t)
	have := operations(description(t))
	guarded := map[string]bool{}
	for _, r := range a.routes() {
		name := r.method + " " + described(r.path)
		guarded[name] = true
		o := have[name]
		if o == nil {
			continue // the test before says so
		}
		var want, said []string
		for _, role := range r.roles {
			want = append(want, string(role))
		}
		list, _ := o.Extensions["x-roles"].([]any)
		for _, role := range list {
			said = append(said, fmt.Sprint(role))
		}
		if !slices.Equal(said, want) {
			t.Errorf("%s: gateway/openapi.yaml says x-roles: %v, and the route takes %v", name, said, want)
		}
	}
	for name, o := range have {
		if list, _ := o.Extensions["x-roles"].([]any); len(list) > 0 != guarded[name] {
			t.Errorf("%s: gateway/openapi.yaml says x-roles: %v; is it a route of the API at all?", name, list)
		}
		if open := o.Security != nil && len(*o.Security) == 0; open == guarded[name] {
			t.Errorf("%s: gateway/openapi.yaml must say security: [] where no key is asked for, and only there", name)
		}
	}
}

// bodies and views are the Go types behind the schemas: what is read, and what is
// shown. A type that is none of them is held against its schema by the answers alone.
var (
	bodies = map[string]any{
		"NewCode": newCode{}, "CodePatch": codePatch{}, "Attach": attachBody{}, "NewRequest": newRequest{}, "NewLine": newLine{},
		"NewCustomer": customerBody{}, "RequestPatch": requestPatch{}, "Cancel": cancelBody{}, "Acceptance": acceptBody{}, "NewRefund": refundBody{},
		"ConnectionSettings": connectionBody{}, "Pay": payBody{}, "NewWebhook": newWebhook{}, "Replay": replayBody{},
		"NewBatch": newBatch{}, "BatchRow": batchRow{}, "BatchMark": batchMark{}, "NewReading": readingRow{}, "NewReconciliation": reconciliationBody{}, "AccountRow": accountRow{}, "NewBill": billRow{}, "PrintJob": printJob{}, "Word": wordBody{}, "PayerPromise": promiseBody{},
		"NewFees": feesBody{}, "NewFee": feeBody{},
		"MerchantPatch": merchantPatch{}, "NewKey": newKey{}, "OutletName": outletBody{}, "NewStaff": newStaff{}, "StaffPatch": staffPatch{}, "NewDevice": newDevice{},
	}
	views = map[string]any{
		"Code": codeView{}, "Link": historyView{}, "Tender": tenderView{}, "LinkAnswer": linkAnswerView{}, "Refund": refundView{},
		"Payment": paymentView{}, "Exception": exceptionView{}, "Line": lineView{}, "Request": requestView{}, "BankSide": bankView{},
		"Estimate": estimateView{}, "Fee": feeView{}, "Fees": feesView{}, "FeeLine": feeLineView{}, "NotOffered": notOfferedView{}, "Me": meView{},
		"Customer": customerView{}, "Share": shareView{}, "Sale": saleView{}, "Event": eventView{}, "EventRequest": eventRequestView{},
		"Merchant": merchantView{}, "Connection": connectionView{}, "Breaker": BreakerView{}, "Abilities": abilitiesView{}, "CheckStep": probeStepView{},
		"EventReading": eventReadingView{}, "EventBank": eventBankView{}, "EventBatch": eventBatchView{},
		"Reading": readingView{}, "Gap": gapView{}, "Settlement": settlementView{}, "SettlementDay": settlementDay{}, "SettlementReport": settlementReport{},
		"Reconciliation": reconciliationView{}, "Leftover": leftoverView{}, "Account": accountView{},
		"Batch": batchView{}, "Mark": markView{}, "Book": bookView{}, "Row": rowView{}, "Stock": stockView{}, "Size": sizeView{}, "Webhook": webhookView{}, "Attempt": attemptView{},
		"Key": keyView{}, "Outlet": outletView{}, "Staff": staffView{}, "Device": deviceView{}, "Name": nameView{},
	}
)

func TestDescriptionHasTheFieldsOfEveryBodyAndView(t *testing.T) {
	schemas := description(t).Components.Schemas
	hold := func(name string, of any, shown bool) {
		s := schemas[name]
		if s == nil {
			t.Errorf("gateway/openapi.yaml has no schema %s", name)
			return
		}
		typ := reflect.TypeOf(of)
		fields := fieldsOf(typ)
		for f := range fields {
			if s.Value.Properties[f] == nil {
				t.Errorf("%s has the field %s, and components.schemas.%s in gateway/openapi.yaml has not", typ, f, name)
			}
		}
		for f := range s.Value.Properties {
			if _, ok := fields[f]; !ok {
				t.Errorf("components.schemas.%s in gateway/openapi.yaml has the field %s, and %s has not", name, f, typ)
			}
		}
		var required []string
		for f := range typ.Fields() {
			tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if shown && !strings.HasPrefix(options, "omit") || !shown && strings.HasPrefix(f.Tag.Get("validate"), "required,") || !shown && f.Tag.Get("validate") == "required" {
				required = append(required, tag)
			}
		}
		if !sameSet(required, s.Value.Required) {
			t.Errorf("components.schemas.%s in gateway/openapi.yaml must say required: [%s]", name, strings.Join(required, ", "))
		}
		if closed := s.Value.AdditionalProperties.Has != nil && !*s.Value.AdditionalProperties.Has; closed == shown {
			t.Errorf("components.schemas.%s: a body says additionalProperties: false, since unknown fields are refused; an answer does not, since it may grow", name)
		}
	}
	for name, of := range bodies {
		hold(name, of, false)
	}
	for name, of := range views {
		hold(name, of, true)
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// sources are the files whose refusals callers see.
func sources(t *testing.T) (files []*ast.File, text string) {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.go", "../linking/*.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		files, text = append(files, f), text+string(src)
	}
	return files, text
}

// Every code that the sources can refuse with is in the reference, and the reference
// has none that they cannot.
func TestDescriptionHasEveryCode(t *testing.T) {
	files, text := sources(t)
	problems, fields := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				literal(n, problems, fields)
			case *ast.CallExpr:
				switch called(n) {
				case "conflict":
					add(problems, n.Args[0])
				case "invalid", "wrong":
					if len(n.Args) > 1 {
						add(fields, n.Args[1])
					}
				}
			}
			return true
		})
	}
	if len(problems) < 20 || len(fields) < 30 {
		t.Fatalf("only %d and %d codes were found in the sources", len(problems), len(fields))
	}
	doc := description(t)
	said := map[string]bool{}
	list, _ := doc.Extensions["x-problems"].([]any)
	for _, p := range list {
		said[fmt.Sprint(p.(map[string]any)["code"])] = true
	}
	compareCodes(t, "x-problems", problems, said, text)
	said = map[string]bool{}
	meanings, _ := doc.Extensions["x-field-codes"].(map[string]any)
	for code := range meanings {
		said[code] = true
	}
	compareCodes(t, "x-field-codes", fields, said, text)
	for name, o := range operations(doc) {
		codes, _ := o.Extensions["x-codes"].([]any)
		for _, c := range codes {
			if !problems[fmt.Sprint(c)] {
				t.Errorf("%s: x-codes has %v, which nothing refuses with", name, c)
			}
		}
	}
}

func compareCodes(t *testing.T, where string, used, said map[string]bool, text string) {
	for _, code := range slices.Sorted(maps.Keys(used)) {
		if !said[code] {
			t.Errorf("callers can be refused with %q, and %s in gateway/openapi.yaml does not explain it", code, where)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(said)) {
		if !strings.Contains(text, strconv.Quote(code)) {
			t.Errorf("%s in gateway/openapi.yaml explains %q, which nothing says", where, code)
		}
	}
}

// literal notes the codes of a linking.Error, a FieldError, an httpFailure or a ruleText.
func literal(n *ast.CompositeLit, problems, fields map[string]bool) {
	switch typeName(n.Type) {
	case "Error":
		if v := keyed(n, "Code"); v != nil {
			add(problems, v)
		}
	case "FieldError":
		if v := keyed(n, "Code"); v != nil {
			add(fields, v)
		} else if len(n.Elts) == 3 {
			add(fields, n.Elts[1])
		}
	case "[]FieldError", "[]httpFailure", "[]ruleText":
		for _, e := range n.Elts {
			one, ok := e.(*ast.CompositeLit)
			if !ok {
				continue
			}
			switch {
			case typeName(n.Type) == "[]httpFailure":
				add(problems, one.Elts[1])
			case typeName(n.Type) == "[]ruleText":
				add(fields, one.Elts[0])
			default:
				if v := keyed(one, "Code"); v != nil {
					add(fields, v)
				} else if len(one.Elts) == 3 {
					add(fields, one.Elts[1])
				}
			}
		}
	case "map[ruleText]":
		for _, e := range n.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok {
				if one, ok := kv.Value.(*ast.CompositeLit); ok {
					add(fields, one.Elts[0])
				}
			}
		}
	case "httpFailure":
		if len(n.Elts) == 3 {
			add(problems, n.Elts[1])
		}
	case "ruleText":
		if len(n.Elts) == 2 {
			add(fields, n.Elts[0])
		}
	}
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.ArrayType:
		return "[]" + typeName(e.Elt)
	case *ast.MapType:
		return "map[" + typeName(e.Value) + "]"
	}
	return ""
}

func called(n *ast.CallExpr) string {
	switch f := n.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

func keyed(n *ast.CompositeLit, name string) ast.Expr {
	for _, e := range n.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			if k, ok := kv.Key.(*ast.Ident); ok && k.Name == name {
				return kv.Value
			}
		}
	}
	return nil
}

func add(codes map[string]bool, e ast.Expr) {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		code, err := strconv.Unquote(lit.Value)
		if err == nil && regexp.MustCompile(`^[a-z_0-9]+$`).MatchString(code) {
			codes[code] = true
		}
	}
}

func TestReferencePage(t *testing.T) {
	r, err := readReference()
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, g := range r.Groups {
		if len(g.Operations) == 0 {
			t.Errorf("nothing stands under %q", g.Name)
		}
		calls += len(g.Operations)
	}
	if want := len(operations(description(t))); calls != want {
		t.Errorf("the reference has %d calls of %d", calls, want)
	}
	g := startGateway(t, Config{}, func(s *Server) {
		if err := s.Mount(Nouns{}); err != nil {
			t.Fatal(err)
		}
	})
	resp, page := do(t, "GET", g.url+"/docs", "")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Security-Policy") != docsPolicy.content {
		t.Fatalf("/docs answered %d with the policy %q: %s", resp.StatusCode, resp.Header.Get("Content-Security-Policy"), page)
	}
	for _, p := range r.Problems {
		if !strings.Contains(page, `<tr id="`+p.Code+`">`) {
			t.Errorf("a problem's type leads to /docs#%s, and there is no such place", p.Code)
		}
	}
	places := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if places[m[1]] {
			t.Errorf("two places of the page are called %s", m[1])
		}
		places[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if !places[m[1]] {
			t.Errorf("the page leads to #%s, which it has not", m[1])
		}
	}
	if m := regexp.MustCompile(`(?:src|href)="(?:https?:)?//[^"]*"|<script|style="`).FindString(page); m != "" {
		t.Errorf("the page has %s", m)
	}
	if resp, body := do(t, "GET", g.url+"/openapi.yaml", ""); resp.StatusCode != 200 || body != string(OpenAPI) {
		t.Errorf("/openapi.yaml answered %d, not the description", resp.StatusCode)
	}
}

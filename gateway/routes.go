package gateway

import (
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// Who may do what: the roles of a route. See api.md, "Roles".
var (
	anyone   = []linking.Role{linking.Owner, linking.Manager, linking.Cashier, linking.Agent, linking.Viewer}
	readers  = []linking.Role{linking.Owner, linking.Manager, linking.Cashier, linking.Viewer}
	tills    = []linking.Role{linking.Owner, linking.Manager, linking.Cashier}
	managers = []linking.Role{linking.Owner, linking.Manager}
	route    = []linking.Role{linking.Owner, linking.Manager, linking.Agent}
	auditors = []linking.Role{linking.Owner, linking.Manager, linking.Viewer}
	owners   = []linking.Role{linking.Owner}
)

// apiRoute is a call of the merchant API.
type apiRoute struct {
	method, path string
	roles        []linking.Role
	reads        func(c *fiber.Ctx, who linking.Caller) error        // answers by itself
	changes      func(c *fiber.Ctx, who linking.Caller) (any, error) // returns an *answer, or a replayed one
}

// routes are all calls of the merchant API.
func (a *api) routes() []apiRoute {
	get := func(path string, roles []linking.Role, h func(*fiber.Ctx, linking.Caller) error) apiRoute {
		return apiRoute{method: fiber.MethodGet, path: path, roles: roles, reads: h}
	}
	do := func(method, path string, roles []linking.Role, h func(*fiber.Ctx, linking.Caller) (any, error)) apiRoute {
		return apiRoute{method: method, path: path, roles: roles, changes: h}
	}
	return []apiRoute{
		do("POST", "/v1/codes", managers, a.makeCode),
		get("/v1/codes", readers, a.listCodes),
		do("POST", "/v1/codes/batches", managers, a.makeBatch),
		get("/v1/codes/batches", readers, a.listBatches),
		get("/v1/codes/batches/:batch", readers, a.getBatch),
		get("/v1/codes/batches/:batch/rows", readers, a.batchRows),
		do("POST", "/v1/codes/batches/:batch/mark", managers, a.markBatch),
		get("/v1/codes/:code", readers, a.getCode),
		do("PATCH", "/v1/codes/:code", managers, a.patchCode),
		do("POST", "/v1/codes/:code/replace", managers, a.replaceCode),
		get("/v1/codes/:code/history", readers, a.codeHistory),
		get("/v1/codes/:code/qr.:form", readers, a.codeQR),
		{method: fiber.MethodPost, path: "/v1/print/sheets", roles: managers, reads: a.printSheets},
		{method: fiber.MethodPost, path: "/v1/print/proofs", roles: managers, reads: a.proveSheets},
		get("/v1/print/proofs/:sha256", readers, a.getProof),
		get("/v1/print/stocks", readers, a.listStocks),
		do("PUT", "/v1/codes/:code/link", tills, a.attach),
		do("DELETE", "/v1/codes/:code/link", tills, a.detach),
		get("/v1/codes/:code/link", readers, a.shown),

		do("POST", "/v1/requests", anyone, a.createRequest),
		get("/v1/requests", readers, a.listRequests),
		get("/v1/requests/:request", readers, a.getRequest),
		do("PATCH", "/v1/requests/:request", tills, a.patchRequest),
		do("POST", "/v1/requests/:request/submit", tills, a.submitRequest),
		do("POST", "/v1/requests/:request/cancel", tills, a.cancelRequest),
		do("POST", "/v1/requests/:request/renew", tills, a.renewRequest),
		do("POST", "/v1/requests/:request/capture", managers, a.captureRequest),
		do("POST", "/v1/requests/:request/refunds", tills, a.refundRequest),
		get("/v1/requests/:request/qr.:form", readers, a.requestQR),
		get("/v1/requests/:request/receipt", readers, a.requestReceipt),

		{method: fiber.MethodPost, path: "/v1/readings", roles: route, reads: a.postReadings},
		get("/v1/readings", readers, a.listReadings),
		get("/v1/readings/gaps", readers, a.readingGaps),
		{method: fiber.MethodPost, path: "/v1/accounts", roles: managers, reads: a.bindAccounts},
		get("/v1/accounts/:account", readers, a.getAccount),
		{method: fiber.MethodPost, path: "/v1/bills/import", roles: managers, reads: a.importBills},
		do("POST", "/v1/readings/:reading/approve", managers, a.approveReading),
		do("POST", "/v1/readings/:reading/reject", managers, a.rejectReading),

		get("/v1/reports/settlement", auditors, a.settlement),
		{method: fiber.MethodPost, path: "/v1/reports/reconciliation", roles: auditors, reads: a.reconcile},

		get("/v1/exceptions", readers, a.listExceptions),
		do("POST", "/v1/exceptions/:exception/accept", managers, a.acceptException),
		do("POST", "/v1/exceptions/:exception/return", managers, a.returnException),

		get("/v1/bank-connections/:rail", managers, a.getConnection),
		do("PUT", "/v1/bank-connections/:rail", owners, a.putConnection),
		do("POST", "/v1/bank-connections/:rail/check", owners, a.checkConnection),

		do("POST", "/v1/webhooks", managers, a.makeWebhook),
		get("/v1/webhooks", managers, a.listWebhooks),
		get("/v1/webhooks/:webhook", managers, a.getWebhook),
		do("DELETE", "/v1/webhooks/:webhook", managers, a.deleteWebhook),
		do("POST", "/v1/webhooks/:webhook/rotate", managers, a.rotateWebhook),
		do("POST", "/v1/webhooks/:webhook/replay", managers, a.replayWebhook),
		get("/v1/webhooks/:webhook/attempts", managers, a.webhookAttempts),

		get("/v1/sales/:sale", readers, a.getSale),
		get("/v1/events", readers, a.events),
		get("/v1/merchant", anyone, a.getMerchant),
		get("/v1/me", anyone, a.getMe),
		get("/v1/merchant/fees", readers, a.getFees),
		do("PUT", "/v1/merchant/fees", owners, a.putFees),
		do("PATCH", "/v1/merchant", owners, a.patchMerchant),

		get("/v1/keys", owners, a.listKeys),
		do("POST", "/v1/keys", owners, a.issueKey),
		do("DELETE", "/v1/keys/:key", owners, a.endKey),
		get("/v1/outlets", anyone, a.listOutlets),
		do("POST", "/v1/outlets", managers, a.openOutlet),
		do("PATCH", "/v1/outlets/:outlet", managers, a.renameOutlet),
		do("PUT", "/v1/merchant/logo", owners, a.putLogo),
		do("DELETE", "/v1/merchant/logo", owners, a.deleteLogo),
		get("/v1/names", readers, a.listNames),
		get("/v1/staff", managers, a.listStaff),
		do("POST", "/v1/staff", managers, a.inviteStaff),
		do("PATCH", "/v1/staff/:staff", managers, a.patchStaff),
		do("DELETE", "/v1/staff/:staff", managers, a.endStaff),
		do("POST", "/v1/staff/:staff/invite", managers, a.inviteAgain),
		get("/v1/devices", managers, a.listDevices),
		do("POST", "/v1/devices", managers, a.prepareDevice),
		do("DELETE", "/v1/devices/:device", managers, a.endDevice),
	}
}

// mount puts everything the gateway answers on the app.
func (s *Server) mount(a *api) {
	s.app.Get("/healthz", s.healthz)
	s.app.Get("/readyz", s.readyz)
	s.app.Get("/metrics", s.metricsPage())
	s.app.Get("/version", a.version)
	s.app.Get("/openapi.yaml", a.openapi)
	s.app.Get("/docs", a.docs)
	s.app.Get("/assets/:file", a.assets.serve)

	s.largeBody("POST", "/v1/codes/batches", rowsBody, rowsRead)
	s.largeBody("POST", "/v1/codes/batches/*/mark", rowsBody, rowsRead)
	s.longAnswer("/v1/codes/batches/", rowsTime)
	s.largeBody("POST", "/v1/readings", manyRows, rowsRead)
	s.longAnswer("/v1/readings", rowsTime)
	s.largeBody("POST", "/v1/reports/reconciliation", statementBody, rowsRead)
	s.longAnswer("/v1/reports/", rowsTime)
	s.largeBody("POST", "/v1/accounts", manyRows, rowsRead)
	s.longAnswer("/v1/accounts", rowsTime)
	s.largeBody("POST", "/v1/bills/import", manyRows, rowsRead)
	s.longAnswer("/v1/bills/", rowsTime)
	s.longAnswer("/v1/print/", printTime)
	s.longAnswer("/v1/requests", rowsTime)
	s.largeBody("POST", "/v1/print/sheets", printBody, rowsRead)
	s.largeBody("POST", "/v1/print/proofs", printBody, rowsRead)
	for _, r := range a.routes() {
		s.app.Add(r.method, r.path, a.handler(r))
	}

	// Payers. Paths ignore case: what is printed is in capitals.
	s.app.Get("/q/:token", a.scan)
	s.app.Get("/q/:token/events", a.scanEvents)
	s.app.Post("/q/:token/pay", s.sameOrigin, a.pay)
	s.app.Post("/q/:token/word", s.sameOrigin, a.word)
	s.app.Post("/q/:token/notify", s.sameOrigin, a.promise)
	s.app.Get("/p/:secret", a.page)
	s.app.Get("/p/:secret/back", a.pageBack)
	s.app.Get("/p/:secret/events", a.pageEvents)
	s.app.Get("/p/:secret/receipt", a.receipt)
	s.app.Post("/p/:secret/pay", s.sameOrigin, a.payPage)
	s.app.Get("/m/:merchant/logo", a.logo)

	// Banks.
	s.app.Post("/callbacks/:rail/:connection", a.callback)
	s.app.Post("/callbacks/:rail/:connection/:more", a.callback)

	// Staff.
	s.app.Get("/till/:code", a.till)
	s.app.Get("/print", a.printPage)
	s.app.Get("/inbox", a.inboxPage)
	s.app.Get("/inbox/new", a.newLinkPage)
	s.app.Get("/inbox/:request", a.inboxRequestPage)
	s.app.Get("/login", a.loginPage)
	s.app.Post("/login", s.sameOrigin, a.login)
	s.app.Post("/logout", a.logout)
	s.app.Post("/session", a.stay)
	s.app.Get("/join/:secret", a.joinPage)
	s.app.Post("/join/:secret", s.sameOrigin, a.join)
	s.app.Get("/pair/:secret", a.pairPage)
	s.app.Post("/pair/:secret", s.sameOrigin, a.pair)
	s.app.Get("/account", a.signedIn(anyone, a.accountPage))
	s.app.Post("/account", a.signedIn(anyone, a.account))
	s.largeBody("POST", "/settings/merchant", logoBody, rowsRead)
	s.largeBody("PUT", "/v1/merchant/logo", logoBody, rowsRead)
	s.app.Get("/settings", a.signedIn(managers, a.settingsPage))
	s.app.Get("/settings/:section", a.signedIn(managers, a.settingsPage))
	s.app.Post("/settings/:section", a.signedIn(managers, a.changeSettings))
	if a.demo != nil {
		s.app.Get("/demo", a.demoPage)
	}
}

// handler authenticates the caller of a route, holds his role against it, and for a
// call that changes something, makes a repeat of it harmless.
func (a *api) handler(r apiRoute) fiber.Handler {
	return func(c *fiber.Ctx) error {
		who, err := a.caller(c)
		if err != nil {
			return err
		}
		if !slices.Contains(r.roles, who.Role) {
			return &linking.Error{Kind: linking.Forbidden, Code: "forbidden", Detail: "The role " + string(who.Role) + " may not do this."}
		}
		if r.reads != nil {
			asked := time.Now()
			if err := r.reads(c, who); err != nil || time.Since(asked) < time.Second {
				return err
			}
			return a.svc.StillAdmitted(c.UserContext(), who) // he waited, and may have lost his key meanwhile
		}
		return a.once(c, who, r.changes)
	}
}

// Placard's API for TypeScript and JavaScript: browsers, Node 18 and later, Deno, Bun.
// Made from gateway/openapi.yaml by `go test ./gateway -run TypeScript -typescript`;
// change that, not this.

/** A refusal by the gateway. `code` is stable; the reference at /docs lists them. */
export class PlacardError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    /** The whole document, with facts about the present state. */
    readonly problem: Problem,
    readonly retryAfter: number,
  ) {
    super(`placard: ${code}: ${problem.detail}`);
  }
}

type Query = Record<string, string | number | boolean | undefined>;

/** How often a call is made whose outcome is not known. */
const tries = 4;

/** One gateway and one key. */
export class Placard {
  constructor(
    /** Of the gateway, without a slash at the end. */
    readonly url: string,
    readonly key: string,
  ) {}

  /**
   * Every event after a number, in order and without a gap; it waits for the next. Keep
   * the last `seq` that was dealt with, and a till that was away begins there.
   */
  async *watch(filter: { after: number | "latest"; code?: string; request?: string; sale?: string; type?: string }): AsyncGenerator<Event> {
    for (let after = String(filter.after); ; ) {
      const page = await this.events({ ...filter, after, wait: 25, limit: 100 });
      yield* page.data;
      after = page.next;
    }
  }

  /** The number of the newest event: read it before a sale, and watch from there. */
  async lastSeq(): Promise<number> {
    return Number((await this.events({ after: "latest" })).next);
  }

  /** Every call goes through here. One without an answer is repeated with the same Idempotency-Key. */
  private async call<T>(method: string, path: string, query: Query, headers: Record<string, string | undefined>, body: unknown): Promise<T> {
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value));
    const sent: Record<string, string> = { Authorization: `Bearer ${this.key}`, Accept: "application/json" };
    for (const [name, value] of Object.entries(headers)) if (value !== undefined) sent[name] = value;
    if (body !== undefined) sent["Content-Type"] = "application/json";
    if (method !== "GET") sent["Idempotency-Key"] ??= crypto.randomUUID();
    for (let one = 1; ; one++) {
      let failure: unknown;
      try {
        const answer = await fetch(`${this.url}${path}${search.size ? `?${search}` : ""}`, {
          method,
          headers: sent,
          body: body === undefined ? undefined : JSON.stringify(body),
        });
        const text = await answer.text();
        if (answer.ok) return (text ? JSON.parse(text) : undefined) as T;
        failure = refusal(answer, text);
      } catch (noAnswer) {
        failure = noAnswer;
      }
      const p = failure instanceof PlacardError ? failure : undefined;
      const again = !p || (p.status >= 500 && p.code !== "internal") || p.code === "idempotency_in_progress" || p.code === "rate_limited";
      if (!again || one === tries) throw failure;
      await new Promise((done) => setTimeout(done, Math.max(one * one * 200, (p?.retryAfter ?? 0) * 1000)));
    }
  }

  /** Make a code. */
  makeCode(body: NewCode, params: { idempotencyKey?: string } = {}): Promise<Code> {
    return this.call("POST", `/v1/codes`, {}, { "Idempotency-Key": params.idempotencyKey }, body);
  }

  /** List codes. Single codes first, then those of each batch by serial. */
  listCodes(params: { kind?: "counter" | "bill" | "account"; linked?: boolean; stock?: "made" | "printed" | "delivered"; status?: "active" | "void" | "lost" | "retired" | "replaced"; batch?: string; outlet?: string; q?: string; limit?: number; after?: string } = {}): Promise<CodePage> {
    return this.call("GET", `/v1/codes`, { kind: params.kind, linked: params.linked, stock: params.stock, status: params.status, batch: params.batch, outlet: params.outlet, q: params.q, limit: params.limit, after: params.after }, {}, undefined);
  }

  /** Make 1 to 1,000,000 codes. A `count`, or `rows`, one for each code; {n} in `label_pattern` is the serial. A printed, unused code costs nothing. As text/csv: rows whose first line names the columns (label, account, and others, which become metadata), with everything else in the address. With `dry_run`, nothing is made. Codes that the bank resolves are made at a pace: `status` and `done` tell how far. */
  makeBatch(body: NewBatch, params: { dry_run?: boolean; idempotencyKey?: string } = {}): Promise<Batch> {
    return this.call("POST", `/v1/codes/batches`, { dry_run: params.dry_run }, { "Idempotency-Key": params.idempotencyKey }, body);
  }

  /** List batches. */
  listBatches(params: { limit?: number; after?: string } = {}): Promise<BatchPage> {
    return this.call("GET", `/v1/codes/batches`, { limit: params.limit, after: params.after }, {}, undefined);
  }

  /** Read a batch. */
  getBatch(params: { batch: string; book?: boolean }): Promise<Batch> {
    return this.call("GET", `/v1/codes/batches/${encodeURIComponent(params.batch)}`, { book: params.book }, {}, undefined);
  }

  /** The codes of a batch, with what is printed in each. A page as JSON, or all of them as CSV or JSON lines (`format`, or `Accept`). Placard-Rows says how many lines there are to be: whoever has fewer has not got all. */
  batchRows(params: { batch: string; format?: "json" | "csv" | "ndjson"; from?: number; to?: number; limit?: number; after?: string }): Promise<RowPage> {
    return this.call("GET", `/v1/codes/batches/${encodeURIComponent(params.batch)}/rows`, { format: params.format, from: params.from, to: params.to, limit: params.limit, after: params.after }, {}, undefined);
  }

  /** Say what became of a batch, a range, or what a print shop lists. Of all codes, of the serials from `from` to `to`, or of those in `file`, a line each a serial, a run of serials (1-500), a token or what was printed. */
  markBatch(params: { batch: string; idempotencyKey?: string }, body: BatchMark): Promise<MarkedBatch> {
    return this.call("POST", `/v1/codes/batches/${encodeURIComponent(params.batch)}/mark`, {}, { "Idempotency-Key": params.idempotencyKey }, body);
  }

  /** The label stocks there are. */
  listStocks(): Promise<StockPage> {
    return this.call("GET", `/v1/print/stocks`, {}, {}, undefined);
  }

  /** Say what would be printed, and print nothing. */
  proveSheets(body: PrintJob): Promise<Proofs> {
    return this.call("POST", `/v1/print/proofs`, {}, {}, body);
  }

  /** What was seen on a sheet before it was printed. */
  getProof(params: { sha256: string }): Promise<Proof> {
    return this.call("GET", `/v1/print/proofs/${encodeURIComponent(params.sha256)}`, {}, {}, undefined);
  }

  /** Read a code. */
  getCode(params: { code: string }): Promise<Code> {
    return this.call("GET", `/v1/codes/${encodeURIComponent(params.code)}`, {}, {}, undefined);
  }

  /** Change a code. A code that is `void`, `lost` or `retired` shows nothing any more, and whoever scans it is told so. */
  changeCode(params: { code: string; idempotencyKey?: string; ifMatch?: string }, body: CodePatch): Promise<Code> {
    return this.call("PATCH", `/v1/codes/${encodeURIComponent(params.code)}`, {}, { "Idempotency-Key": params.idempotencyKey, "If-Match": params.ifMatch }, body);
  }

  /** Replace a code by a new one. The new code takes over what the old one shows; whoever scans the old one is sent to the newer. */
  replaceCode(params: { code: string; idempotencyKey?: string }): Promise<Code> {
    return this.call("POST", `/v1/codes/${encodeURIComponent(params.code)}/replace`, {}, { "Idempotency-Key": params.idempotencyKey }, undefined);
  }

  /** Every link of a code, newest first. */
  codeHistory(params: { code: string; limit?: number; after?: string }): Promise<LinkPage> {
    return this.call("GET", `/v1/codes/${encodeURIComponent(params.code)}/history`, { limit: params.limit, after: params.after }, {}, undefined);
  }

  /** Attach a request to a code, or swap it in. From the answer on, every scan on every gateway sees this request or something later. A code that shows an open request of another sale is `code_busy` unless `replace` is true or `If-Match` names its epoch. A `request_id` must be draft (it is submitted), unvalued, preparing or active; shown by another code, it needs `move`. */
  attach(params: { code: string; idempotencyKey?: string; ifMatch?: string; prefer?: string }, body: Attach): Promise<LinkAnswer> {
    return this.call("PUT", `/v1/codes/${encodeURIComponent(params.code)}/link`, {}, { "Idempotency-Key": params.idempotencyKey, "If-Match": params.ifMatch, "Prefer": params.prefer }, body);
  }

  /** Detach what a code shows. Only the caller's own sale is touched: name it with `request_id`, or with the epoch in `If-Match`. The request is cancelled if asked, if PUT made it, or if the bank resolves the code. If it is paid: 409 `already_paid`, with it. */
  detach(params: { code: string; request_id?: string; cancel?: boolean; idempotencyKey?: string; ifMatch?: string; prefer?: string }): Promise<LinkAnswer> {
    return this.call("DELETE", `/v1/codes/${encodeURIComponent(params.code)}/link`, { request_id: params.request_id, cancel: params.cancel }, { "Idempotency-Key": params.idempotencyKey, "If-Match": params.ifMatch, "Prefer": params.prefer }, undefined);
  }

  /** What a code shows now. */
  shown(params: { code: string }): Promise<LinkAnswer> {
    return this.call("GET", `/v1/codes/${encodeURIComponent(params.code)}/link`, {}, {}, undefined);
  }

  /** Make a request that no code shows. For a link that is sent, or a bill. Its `url` is a page of its own. With `replaces`, an open request is cancelled in the same step: its page says that it was replaced, and the new one is payable once nobody can pay the old one any more. If the old one turns out to be paid after all, the new one becomes `cancelled`, with `sale_paid`. With `dry_run`, nothing is made: the answer says what it would come to, and refuses what would be refused. Of the roles below, those may that the merchant's `send_links` names. */
  createRequest(body: NewRequest, params: { idempotencyKey?: string; prefer?: string; dry_run?: boolean } = {}): Promise<Estimate> {
    return this.call("POST", `/v1/requests`, { dry_run: params.dry_run }, { "Idempotency-Key": params.idempotencyKey, "Prefer": params.prefer }, body);
  }

  /** The inbox, newest first. One call reads 20,000 requests at most, so that a page may hold fewer than `limit` while `next` leads on. As CSV (UTF-8, RFC 4180) all of it is written in one answer, and `limit` is not looked at: amounts are decimal numbers in the major unit, and a cell that begins like a formula has an apostrophe before it. */
  listRequests(params: { status?: string; reference?: string; sale?: string; code?: string; outlet?: string; end_reason?: "cancel" | "expiry" | "swap" | "replaced" | "return" | "detach" | "paid_otherwise" | "bank_rejected" | "bank_closed" | "sale_paid"; opened_unpaid?: boolean; exceptions?: boolean; from?: string; to?: string; q?: string; format?: "json" | "csv"; limit?: number; after?: string } = {}): Promise<RequestPage> {
    return this.call("GET", `/v1/requests`, { status: params.status, reference: params.reference, sale: params.sale, code: params.code, outlet: params.outlet, end_reason: params.end_reason, opened_unpaid: params.opened_unpaid, exceptions: params.exceptions, from: params.from, to: params.to, q: params.q, format: params.format, limit: params.limit, after: params.after }, {}, undefined);
  }

  /** Read a request, or wait until it changes. With `wait` and `after_status`, the answer comes once the status is another one, or the time is over. */
  getRequest(params: { request: string; revision?: number; wait?: number; after_status?: Status }): Promise<Request> {
    return this.call("GET", `/v1/requests/${encodeURIComponent(params.request)}`, { revision: params.revision, wait: params.wait, after_status: params.after_status }, {}, undefined);
  }

  /** Change a request. A new amount, lines, expiry or reference is a new revision, which is payable once the bank holds it. The amount of what was sent out or made with one is fixed; make a new one with `replaces`. */
  changeRequest(params: { request: string; idempotencyKey?: string; ifMatch?: string; prefer?: string }, body: RequestPatch): Promise<Request> {
    return this.call("PATCH", `/v1/requests/${encodeURIComponent(params.request)}`, {}, { "Idempotency-Key": params.idempotencyKey, "If-Match": params.ifMatch, "Prefer": params.prefer }, body);
  }

  /** Submit a draft. */
  submitRequest(params: { request: string; idempotencyKey?: string; prefer?: string }): Promise<Request> {
    return this.call("POST", `/v1/requests/${encodeURIComponent(params.request)}/submit`, {}, { "Idempotency-Key": params.idempotencyKey, "Prefer": params.prefer }, undefined);
  }

  /** Cancel a request. 200 `cancelled`. 202 `closing`: asked to end, the bank has not confirmed. 202 `processing` with `in_flight`: the payer has confirmed at the bank. `may_take_other_tender` says whether the till may take other money now. */
  cancelRequest(params: { request: string; idempotencyKey?: string; prefer?: string }, body?: Cancel): Promise<Request> {
    return this.call("POST", `/v1/requests/${encodeURIComponent(params.request)}/cancel`, {}, { "Idempotency-Key": params.idempotencyKey, "Prefer": params.prefer }, body);
  }

  /** Ask again for the same. A new request with the same content; the old one stays dead. */
  renewRequest(params: { request: string; idempotencyKey?: string; prefer?: string }): Promise<Request> {
    return this.call("POST", `/v1/requests/${encodeURIComponent(params.request)}/renew`, {}, { "Idempotency-Key": params.idempotencyKey, "Prefer": params.prefer }, undefined);
  }

  /** Take money that was authorised. */
  captureRequest(params: { request: string; idempotencyKey?: string; prefer?: string }): Promise<Request> {
    return this.call("POST", `/v1/requests/${encodeURIComponent(params.request)}/capture`, {}, { "Idempotency-Key": params.idempotencyKey, "Prefer": params.prefer }, undefined);
  }

  /** Send money back. All that is left of a payment, or a part. A cashier may refund up to the merchant's limit. */
  refundRequest(params: { request: string; idempotencyKey?: string; prefer?: string }, body?: NewRefund): Promise<Refund> {
    return this.call("POST", `/v1/requests/${encodeURIComponent(params.request)}/refunds`, {}, { "Idempotency-Key": params.idempotencyKey, "Prefer": params.prefer }, body);
  }

  /** Send readings, some or ten thousand. A JSON list, JSON lines, or CSV whose first line names the columns (separated by commas or semicolons). Every row gets a fate. Rows may be sent again, in part, in any order: the bills are the same in the end, so no Idempotency-Key is needed. Of all rows about a bill, the office's goes before an agent's, then the later recorded one. The answer is written as rows are taken. `complete: false` at its end: the rows without a fate were not taken, send them again. `gaps` names numbers of these devices that have not come. */
  postReadings(body: NewReading[], params: { format?: "json" | "ndjson" } = {}): Promise<ReadingFates> {
    return this.call("POST", `/v1/readings`, { format: params.format }, {}, body);
  }

  /** List readings. A page as JSON, or all of them as CSV or JSON lines (`format`, or `Accept`). `state=recorded` is what billing takes over; `state=held` waits for a second person. Placard-Rows says how many lines there are to be at least. */
  listReadings(params: { state?: "recorded" | "held" | "valued" | "adjustment" | "superseded" | "duplicate" | "rejected"; from?: string; to?: string; format?: "json" | "csv" | "ndjson"; limit?: number; after?: string } = {}): Promise<ReadingPage> {
    return this.call("GET", `/v1/readings`, { state: params.state, from: params.from, to: params.to, format: params.format, limit: params.limit, after: params.after }, {}, undefined);
  }

  /** Numbers of a device that have not come. A number that never came is a row that somebody wrote down and nobody has. */
  readingGaps(params: { device?: string } = {}): Promise<GapPage> {
    return this.call("GET", `/v1/readings/gaps`, { device: params.device }, {}, undefined);
  }

  /** Let a held reading in. Whoever recorded it is not the one to decide. */
  approveReading(params: { reading: string; idempotencyKey?: string }): Promise<Reading> {
    return this.call("POST", `/v1/readings/${encodeURIComponent(params.reading)}/approve`, {}, { "Idempotency-Key": params.idempotencyKey }, undefined);
  }

  /** Keep a held reading out. */
  rejectReading(params: { reading: string; idempotencyKey?: string }): Promise<Reading> {
    return this.call("POST", `/v1/readings/${encodeURIComponent(params.reading)}/reject`, {}, { "Idempotency-Key": params.idempotencyKey }, undefined);
  }

  /** Say which codes stand for which accounts. Some rows or ten thousand, as with readings. An account's code stands for its account for ever; of bills, the one that was bound last. Rows that are bound already change nothing. */
  bindAccounts(body: AccountRow[], params: { dry_run?: boolean; format?: "json" | "ndjson" } = {}): Promise<BoundFates> {
    return this.call("POST", `/v1/accounts`, { dry_run: params.dry_run, format: params.format }, {}, body);
  }

  /** The codes of an account. */
  getAccount(params: { account: string }): Promise<Account> {
    return this.call("GET", `/v1/accounts/${encodeURIComponent(params.account)}`, {}, {}, undefined);
  }

  /** Take a billing system's list. Some bills or ten thousand, as with readings; `placard bills import` does it with a map of columns. It is the office's word on what bills ask for. The same row again changes nothing, whenever it comes. On an account's code, a bill that nobody paid becomes a line of the next, unless `arrears` is `included`: never are two of them payable. */
  importBills(body: NewBill[], params: { dry_run?: boolean; format?: "json" | "ndjson" } = {}): Promise<BillFates> {
    return this.call("POST", `/v1/bills/import`, { dry_run: params.dry_run, format: params.format }, {}, body);
  }

  /** What was settled, by business day. In the merchant's time zone, and by the time at which its day ends. A line for each payment, refund, bill paid another way, and money outside the rules; days and their sums beside them in JSON. */
  settlement(params: { day?: string; from?: string; to?: string; format?: "json" | "csv" } = {}): Promise<SettlementReport> {
    return this.call("GET", `/v1/reports/settlement`, { day: params.day, from: params.from, to: params.to, format: params.format }, {}, undefined);
  }

  /** Hold a bank's statement, and the till's list, against what was paid. The body is the statement: camt.053.001.02 or .08, or CSV with columns such as date, amount, reference and text. Or a JSON document with the statement, the till's or the billing system's own list, or both. Each leftover has one cause and one action. A statement of an account that is none of the merchant's `settlement_accounts` is refused. */
  reconcile(body: NewReconciliation, params: { day?: string; from?: string; to?: string; account?: string; decimal?: "comma" | "point"; format?: "json" | "csv" } = {}): Promise<Reconciliation> {
    return this.call("POST", `/v1/reports/reconciliation`, { day: params.day, from: params.from, to: params.to, account: params.account, decimal: params.decimal, format: params.format }, {}, body);
  }

  /** List money outside the rules. */
  listExceptions(params: { open?: boolean; limit?: number; after?: string } = {}): Promise<ExceptionPage> {
    return this.call("GET", `/v1/exceptions`, { open: params.open, limit: params.limit, after: params.after }, {}, undefined);
  }

  /** Take the money as payment. Money of kind `unknown` came for a request that the store had lost. With `request_id` it counts as payment of that request, which must have ended without being paid, and the answer is that request. */
  acceptException(params: { exception: string; idempotencyKey?: string; prefer?: string }, body?: Acceptance): Promise<Request> {
    return this.call("POST", `/v1/exceptions/${encodeURIComponent(params.exception)}/accept`, {}, { "Idempotency-Key": params.idempotencyKey, "Prefer": params.prefer }, body);
  }

  /** Send the money back. */
  returnException(params: { exception: string; idempotencyKey?: string; prefer?: string }): Promise<Request> {
    return this.call("POST", `/v1/exceptions/${encodeURIComponent(params.exception)}/return`, {}, { "Idempotency-Key": params.idempotencyKey, "Prefer": params.prefer }, undefined);
  }

  /** What became of one cart. With `wait`, the answer comes once one of its requests has another status, or the time is over. */
  getSale(params: { sale: string; wait?: number }): Promise<Sale> {
    return this.call("GET", `/v1/sales/${encodeURIComponent(params.sale)}`, { wait: params.wait }, {}, undefined);
  }

  /** What happened, as a list that may wait or as a stream. As JSON: events with `seq` above `after`, in order; with `wait`, the answer comes with the next one. `next` is what to go on from: one call reads 20,000 events, and may find none that you ask for though there are some further on. With `request` and without `after`, it begins where that request does. As `text/event-stream` (by `Accept`): from `Last-Event-ID` or `after` on, else from now. Kept for 90 days; older ones are 410 `gone`, with the `oldest` there is. The types are described in the repository's docs/events.md. */
  events(params: { after?: string; code?: string; request?: string; sale?: string; type?: string; wait?: number; limit?: number } = {}): Promise<EventPage> {
    return this.call("GET", `/v1/events`, { after: params.after, code: params.code, request: params.request, sale: params.sale, type: params.type, wait: params.wait, limit: params.limit }, {}, undefined);
  }

  /** Be told of every event from now on. Deliveries follow [Standard Webhooks](https://www.standardwebhooks.com): verify `webhook-signature` with the `secret`, which this answer shows and no later one does. (A repeat by Idempotency-Key does not show it either: rotate.) The body is an Event, `webhook-id` its `id`. Answer 2xx within 15 seconds, and expect an event twice now and then. Events of one request come in order; one that fails is tried again after 5 s, 15 s, 1 min, 5 min, then every 15 min, and holds back that request's alone. A receiver that was away gets all of it when it returns, up to 90 days. 410 ends the deliveries until a replay. The address is https on port 443 of a public host; the operator may allow others. */
  makeWebhook(body: NewWebhook, params: { idempotencyKey?: string } = {}): Promise<Webhook> {
    return this.call("POST", `/v1/webhooks`, {}, { "Idempotency-Key": params.idempotencyKey }, body);
  }

  /** List webhooks. All of them, at most 20, and how each is doing. */
  listWebhooks(): Promise<WebhookPage> {
    return this.call("GET", `/v1/webhooks`, {}, {}, undefined);
  }

  /** Read a webhook. */
  getWebhook(params: { webhook: string }): Promise<Webhook> {
    return this.call("GET", `/v1/webhooks/${encodeURIComponent(params.webhook)}`, {}, {}, undefined);
  }

  /** End a webhook. What is under way may still arrive. */
  deleteWebhook(params: { webhook: string; idempotencyKey?: string }): Promise<void> {
    return this.call("DELETE", `/v1/webhooks/${encodeURIComponent(params.webhook)}`, {}, { "Idempotency-Key": params.idempotencyKey }, undefined);
  }

  /** Change a webhook's secret. Deliveries are signed with the old secret too for 24 hours, so that the receiver has time. */
  rotateWebhook(params: { webhook: string; idempotencyKey?: string }): Promise<Webhook> {
    return this.call("POST", `/v1/webhooks/${encodeURIComponent(params.webhook)}/rotate`, {}, { "Idempotency-Key": params.idempotencyKey }, undefined);
  }

  /** Send events again. Every event from this `seq` on, in order. Receivers know a repeat by its id. */
  replayWebhook(params: { webhook: string; idempotencyKey?: string }, body: Replay): Promise<Webhook> {
    return this.call("POST", `/v1/webhooks/${encodeURIComponent(params.webhook)}/replay`, {}, { "Idempotency-Key": params.idempotencyKey }, body);
  }

  /** The last 100 deliveries, newest first. */
  webhookAttempts(params: { webhook: string }): Promise<AttemptPage> {
    return this.call("GET", `/v1/webhooks/${encodeURIComponent(params.webhook)}/attempts`, {}, {}, undefined);
  }

  /** Who the key belongs to. */
  getMerchant(): Promise<Merchant> {
    return this.call("GET", `/v1/merchant`, {}, {}, undefined);
  }

  /** Change what payers see of the merchant, and its rules. What is not given stays. A key that is bound to an outlet or to codes may not. Every gateway goes by the new rules within a minute. */
  changeMerchant(body: MerchantPatch, params: { idempotencyKey?: string } = {}): Promise<Merchant> {
    return this.call("PATCH", `/v1/merchant`, {}, { "Idempotency-Key": params.idempotencyKey }, body);
  }

  /** What the merchant's bank keeps of a payment. */
  getFees(): Promise<Fees> {
    return this.call("GET", `/v1/merchant/fees`, {}, {}, undefined);
  }

  /** Enter what the merchant's bank keeps of a payment. The whole table. Staff see it worked out before a link is sent (`dry_run`); no payer pays it on top. */
  putFees(body: NewFees, params: { idempotencyKey?: string } = {}): Promise<Fees> {
    return this.call("PUT", `/v1/merchant/fees`, {}, { "Idempotency-Key": params.idempotencyKey }, body);
  }

  /** Who calls, and in which role. */
  getMe(): Promise<Me> {
    return this.call("GET", `/v1/me`, {}, {}, undefined);
  }

  /** List the keys that let somebody in. Those that the key that asks could have made. */
  listKeys(params: { limit?: number; after?: string } = {}): Promise<KeyPage> {
    return this.call("GET", `/v1/keys`, { limit: params.limit, after: params.after }, {}, undefined);
  }

  /** Make a key. The `secret` stands in this answer alone, and is stored nowhere; an Idempotency-Key is therefore refused. If no answer came, delete the key that the list shows, and make another. A key that is bound to an outlet or to codes makes keys for these alone. */
  makeKey(body: NewKey): Promise<Key> {
    return this.call("POST", `/v1/keys`, {}, {}, body);
  }

  /** Delete a key. Every gateway refuses it within 5 seconds, and ends the streams it opened. Deleted again, nothing changes. */
  endKey(params: { key: string; idempotencyKey?: string }): Promise<Key> {
    return this.call("DELETE", `/v1/keys/${encodeURIComponent(params.key)}`, {}, { "Idempotency-Key": params.idempotencyKey }, undefined);
  }

  /** List outlets. All of the merchant's, or the one that the key is bound to. */
  listOutlets(params: { limit?: number; after?: string } = {}): Promise<OutletPage> {
    return this.call("GET", `/v1/outlets`, { limit: params.limit, after: params.after }, {}, undefined);
  }

  /** Make an outlet. */
  makeOutlet(body: OutletName, params: { idempotencyKey?: string } = {}): Promise<Outlet> {
    return this.call("POST", `/v1/outlets`, {}, { "Idempotency-Key": params.idempotencyKey }, body);
  }

  /** Give an outlet another name. */
  renameOutlet(params: { outlet: string; idempotencyKey?: string }, body: OutletName): Promise<Outlet> {
    return this.call("PATCH", `/v1/outlets/${encodeURIComponent(params.outlet)}`, {}, { "Idempotency-Key": params.idempotencyKey }, body);
  }

  /** Give the merchant another logo. */
  putLogo(params: { idempotencyKey?: string } = {}): Promise<void> {
    return this.call("PUT", `/v1/merchant/logo`, {}, { "Idempotency-Key": params.idempotencyKey }, undefined);
  }

  /** Take the merchant's logo away. */
  deleteLogo(params: { idempotencyKey?: string } = {}): Promise<void> {
    return this.call("DELETE", `/v1/merchant/logo`, {}, { "Idempotency-Key": params.idempotencyKey }, undefined);
  }

  /** Who stands behind the ids in history and events. People, keys and devices, those that are gone too. */
  listNames(params: { limit?: number; after?: string } = {}): Promise<NamePage> {
    return this.call("GET", `/v1/names`, { limit: params.limit, after: params.after }, {}, undefined);
  }

  /** List people. All of the merchant's, or those of the outlet that the caller is bound to. */
  listStaff(params: { limit?: number; after?: string } = {}): Promise<StaffPage> {
    return this.call("GET", `/v1/staff`, { limit: params.limit, after: params.after }, {}, undefined);
  }

  /** Invite somebody. The `invite_url` stands in this answer alone; it works once, within a week. Whoever opens it chooses a login name and a password. Managers invite no owners, and who is bound to an outlet invites for that outlet. An Idempotency-Key is refused, as for keys. */
  inviteStaff(body: NewStaff): Promise<Staff> {
    return this.call("POST", `/v1/staff`, {}, {}, body);
  }

  /** Change a person's name, role or outlet. Every gateway goes by it within 5 seconds. Nobody changes himself. */
  changeStaff(params: { staff: string; idempotencyKey?: string }, body: StaffPatch): Promise<Staff> {
    return this.call("PATCH", `/v1/staff/${encodeURIComponent(params.staff)}`, {}, { "Idempotency-Key": params.idempotencyKey }, body);
  }

  /** Shut a person out. His sessions end on every gateway within 5 seconds, with their streams. What he did stays in history under his id. */
  endStaff(params: { staff: string; idempotencyKey?: string }): Promise<Staff> {
    return this.call("DELETE", `/v1/staff/${encodeURIComponent(params.staff)}`, {}, { "Idempotency-Key": params.idempotencyKey }, undefined);
  }

  /** Give a person a new link. For whoever lost the first one, or the password. The older link is no good from then on. */
  inviteAgain(params: { staff: string }): Promise<Staff> {
    return this.call("POST", `/v1/staff/${encodeURIComponent(params.staff)}/invite`, {}, {}, undefined);
  }

  /** List paired devices. */
  listDevices(params: { limit?: number; after?: string } = {}): Promise<DevicePage> {
    return this.call("GET", `/v1/devices`, { limit: params.limit, after: params.after }, {}, undefined);
  }

  /** Pair a tablet. The `pair_url`, in this answer alone, is opened on the tablet, once, within half an hour. From then on cashiers log in on it by their PIN, and nowhere else. An Idempotency-Key is refused, as for keys. */
  prepareDevice(body: NewDevice): Promise<Device> {
    return this.call("POST", `/v1/devices`, {}, {}, body);
  }

  /** Revoke a device. Who is logged in on it is out on every gateway within 5 seconds. */
  endDevice(params: { device: string; idempotencyKey?: string }): Promise<Device> {
    return this.call("DELETE", `/v1/devices/${encodeURIComponent(params.device)}`, {}, { "Idempotency-Key": params.idempotencyKey }, undefined);
  }

  /** Read a bank connection. Secrets never come out; only their names do. */
  getConnection(params: { rail: string }): Promise<Connection> {
    return this.call("GET", `/v1/bank-connections/${encodeURIComponent(params.rail)}`, {}, {}, undefined);
  }

  /** Make or change a bank connection. Settings are replaced. Secrets are too, unless none are given. */
  putConnection(params: { rail: string; idempotencyKey?: string }, body: ConnectionSettings): Promise<Connection> {
    return this.call("PUT", `/v1/bank-connections/${encodeURIComponent(params.rail)}`, {}, { "Idempotency-Key": params.idempotencyKey }, body);
  }

  /** Try a bank connection for real. */
  checkConnection(params: { rail: string; idempotencyKey?: string }): Promise<Check> {
    return this.call("POST", `/v1/bank-connections/${encodeURIComponent(params.rail)}/check`, {}, { "Idempotency-Key": params.idempotencyKey }, undefined);
  }
}

function refusal(answer: Response, text: string): PlacardError {
  let problem: Problem;
  try {
    problem = JSON.parse(text) as Problem;
  } catch {
    problem = { type: "", title: "", status: answer.status, detail: `The gateway, or something before it, answered ${answer.status}.`, code: "unreadable", request_id: "" };
  }
  return new PlacardError(answer.status, problem.code, problem, Number(answer.headers.get("Retry-After") ?? 0));
}

/** In the currency's minor unit. */
export type Amount = number;

/** ISO 4217. */
export type Currency = string;

export type Time = string;

export type TimeOrNull = string | null;

export type TextOrNull = string | null;

/** Only an active request can be paid. Paid, expired and cancelled are final. */
export type Status = "draft" | "unvalued" | "preparing" | "active" | "processing" | "closing" | "review" | "paid" | "expired" | "cancelled";

export type EndReason = "cancel" | "expiry" | "swap" | "replaced" | "return" | "detach" | "paid_otherwise" | "bank_rejected" | "bank_closed" | "sale_paid" | null;

/** The caller's own notes. */
export type Metadata = Record<string, string>;

/** RFC 9457. Beside these stand facts about the present state, such as the `request` that is in the way. */
export interface Problem {
  /** A place in the reference, relative to the gateway. */
  type: string;
  title: string;
  status: number;
  /** A sentence for people. */
  detail: string;
  /** Stable, and listed below. */
  code: string;
  /** What is wrong, field by field. */
  errors?: ({
    field: string;
    code: string;
    message: string;
  })[];
  /** Names this call in the operator's log. */
  request_id: string;
  [further: string]: unknown;
}

export interface NewCode {
  /** counter: one sale after another. bill: one bill, valued later. account: one customer's code, month after month. */
  kind: "counter" | "bill" | "account";
  label?: string;
  outlet?: string;
  metadata?: Metadata;
  /** The merchant's default unless said. */
  rail?: string;
  /** Whose address is printed. */
  resolved_by?: "gateway" | "bank";
  charge?: "immediate" | "due_date";
}

export interface CodePatch {
  label?: string;
  outlet?: string;
  metadata?: Metadata;
  status?: "active" | "void" | "lost" | "retired";
  stock?: "made" | "printed" | "delivered";
}

export interface Code {
  /** The same as token. */
  id: string;
  token: string;
  kind: "counter" | "bill" | "account";
  label: string;
  outlet: TextOrNull;
  status: "active" | "void" | "lost" | "retired" | "replaced";
  stock: "made" | "printed" | "delivered";
  batch: TextOrNull;
  serial: number | null;
  rail: TextOrNull;
  resolved_by: "gateway" | "bank";
  charge: "immediate" | "due_date";
  /** Counts the changes of what the code shows. */
  epoch: number;
  /** The address of its page. */
  url: string;
  /** The text inside the symbol. */
  payload: string;
  /** What it shows now. */
  linked: null | {
    request_id: string;
    sale: TextOrNull;
    since: Time;
  };
  /** Of a code that the bank resolves: the request its location shows, or unknown. */
  bank_shows?: string | null;
  replaced_by: TextOrNull;
  created_at: Time;
  metadata: Metadata;
}

export interface CodePage {
  data: Code[];
  next: TextOrNull;
}

/** One span in which a code showed a request. */
export interface Link {
  epoch: number;
  request_id: string;
  sale: TextOrNull;
  from: Time;
  until: TimeOrNull;
  /** The key or person. */
  by: string | null;
  /** The key or person; null: the bank or the clock. */
  ended_by: string | null;
  why: TextOrNull;
}

export interface LinkPage {
  data: Link[];
  next: TextOrNull;
}

/** A new request, or one there is. */
export interface Attach {
  request?: NewRequest;
  request_id?: string;
  /** Take it off the code that shows it now. */
  move?: boolean;
  /** What the code shows gives way. */
  replace?: boolean;
}

/** Whether the till may take other money, such as cash, for the same sale. */
export interface Tender {
  allowed: boolean;
  /** When not: a status, sale_paid, other_request_open or exception_open. */
  why?: string;
}

export interface LinkAnswer {
  code: Code;
  /** What it shows now. */
  request: null | Request;
  /** The request that this call ended or detached. */
  displaced: null | {
    request_id: string;
    sale: TextOrNull;
    status: Status;
    amount: number | null;
    currency: Currency;
  };
  /** The last link that ended by itself, so that a till that asks late learns that it was paid. */
  previous: null | {
    request_id: string;
    sale: TextOrNull;
    status: null | Status;
    at: Time;
  };
  /** About what was displaced. */
  may_take_other_tender: null | Tender;
}

export interface NewLine {
  description: string;
  quantity: string;
  unit_price: Amount;
  /** Percent; the merchant's unless said. */
  vat_rate?: string;
}

/** Seconds, or one such as 15m, 12h, 1d, 1w, 1m (a month). */
export type ExpiresIn = number | string;

/** `amount` may be left out if there are `lines` (their sum, VAT included), or with `value_later`. Unless said, it expires after 15 minutes on a counter code, 48 hours as a sent link, and never as a bill where the bank allows that. */
export interface NewRequest {
  amount?: Amount;
  currency?: Currency;
  /** What the payer reads. */
  reference?: string;
  /** The caller's own id. Used once, it is refused for ever after. */
  client_id?: string;
  /** The till's own id of the cart: at most one open request at a time. */
  sale?: string;
  sale_total?: Amount;
  /** Not yet for the bank; submit it later. */
  draft?: boolean;
  /** The request that this one takes the place of; it is cancelled if it is open. */
  replaces?: string;
  lines?: NewLine[];
  /** Whether unit prices hold it; they do unless said. */
  vat?: "included" | "excluded";
  /** For staff; no payer sees it. */
  note?: string;
  expires_in?: ExpiresIn;
  expires_at?: string;
  /** All that the bank offers unless said. */
  methods?: string[];
  /** manual: authorise now, capture later. */
  capture?: "auto" | "manual";
  customer?: NewCustomer;
  /** The payer chooses. */
  amount_adjustable?: {
    min: Amount;
    max: Amount;
  };
  /** What it belongs to, such as an appointment. */
  context?: string;
  return_url?: string;
  metadata?: Metadata;
  value_later?: boolean;
}

export interface NewCustomer {
  name?: string;
  email?: string;
  /** With country code. */
  phone?: string;
  tax_id?: string;
  address?: string;
}

export interface RequestPatch {
  amount?: Amount;
  lines?: NewLine[];
  expires_in?: ExpiresIn;
  expires_at?: string;
  reference?: string;
  note?: string;
  /** The address of the till's own fiscal receipt. */
  fiscal_receipt?: string;
  metadata?: Metadata;
}

export interface Acceptance {
  /** Only with money of kind unknown: what it was meant for, by our id or the caller's. */
  request_id?: string;
}

export interface Cancel {
  /** paid_otherwise: cash, card, at the office. */
  reason?: "cancel" | "paid_otherwise";
}

export interface NewRefund {
  amount?: Amount;
  /** Needed if there is more than one payment. */
  payment_id?: string;
  reason?: string;
}

export interface Refund {
  id: string;
  payment_id: string;
  amount: Amount;
  status: "pending" | "done" | "failed";
  reason: TextOrNull;
  asked_at: Time;
}

/** Money that the bank says arrived. */
export interface Payment {
  /** The bank's. */
  id: string;
  amount: Amount;
  currency: Currency;
  paid_at: TimeOrNull;
  way: TextOrNull;
  /** It is what was asked for, or was accepted as that. */
  counts: boolean;
}

export interface Exception {
  id: string;
  kind: "late" | "duplicate" | "wrong_amount" | "after_cancel" | "unknown";
  /** In the list alone. */
  request_id?: string;
  payment_id: string;
  amount: Amount;
  currency: Currency;
  opened_at: Time;
  decision: "accepted" | "returned" | null;
  decided_at: TimeOrNull;
  /** A key, or rule. */
  decided_by: string | null;
}

export interface ExceptionPage {
  data: Exception[];
  next: TextOrNull;
}

export interface Line {
  description: string;
  quantity: string;
  unit_price: number;
  vat_rate: string;
  /** Of the line, VAT included. */
  total: number;
  vat: number;
}

export interface Request {
  id: string;
  /** The end of the id, for people to read out. */
  short_id: string;
  client_id: TextOrNull;
  sale: TextOrNull;
  outlet: TextOrNull;
  status: Status;
  end_reason: EndReason;
  end_asked: boolean;
  /** null: not valued yet. */
  amount: number | null;
  currency: Currency;
  reference: string;
  lines: Line[];
  vat: "included" | "excluded";
  amount_adjustable: null | {
    min: number;
    max: number;
  };
  note: TextOrNull;
  methods: string[];
  capture: "auto" | "manual";
  customer: null | Customer;
  context: TextOrNull;
  return_url: TextOrNull;
  metadata: Metadata;
  value_later: boolean;
  replaces: TextOrNull;
  /** Counts the changes of what the bank was asked for. */
  revision: number;
  confirmed_revision: number;
  /** The code that shows it now. */
  code: string | null;
  epoch: number | null;
  /** The word that till and payer's page both show. */
  pairing: string | null;
  /** A page of its own. */
  url: string | null;
  share: null | Share;
  created_at: Time;
  expires_at: TimeOrNull;
  /** A person opened it. */
  opened_at: TimeOrNull;
  paid_at: TimeOrNull;
  paid_amount: number;
  refunded_amount: number;
  payments: Payment[];
  refunds: Refund[];
  exceptions: Exception[];
  deliveries: unknown[];
  collected: Record<string, string>;
  fiscal_receipt: TextOrNull;
  /** The request that took its place. */
  displaced_by: string | null;
  may_take_other_tender?: Tender;
  /** It was asked to end, and the payer has confirmed at the bank. */
  in_flight?: boolean;
  bank: BankSide;
}

export interface BankSide {
  rail: string;
  connection: string;
  id: string;
  state: "open" | "authorised" | "processing" | "paid" | "closed" | "expired" | "rejected" | null;
  last_error?: string;
  bank_shows?: string;
}

export interface Customer {
  name: TextOrNull;
  email: TextOrNull;
  phone: TextOrNull;
  tax_id: TextOrNull;
  address: TextOrNull;
}

/** The same link, for sending from programs of one's own. */
export interface Share {
  url: string;
  text: string;
  mailto: string;
  sms: string;
}

/** What a request would be if it were made now. */
export interface Estimate {
  /** What the payer would pay, and nothing on top. null: not valued yet. */
  amount: number | null;
  currency: Currency;
  /** Of the lines, without VAT. */
  net: number;
  vat: number;
  lines: Line[];
  /** What the merchant's bank would keep, by the merchant's own table. */
  fees: Fee[];
  expires_at: TimeOrNull;
  /** Ways to pay that it would offer by name. Empty: those of the bank's own page. */
  methods: string[];
  /** The open request of its sale that would be answered instead of a new one. */
  have: string | null;
  /** What would not be offered, and why. */
  unavailable: NotOffered[];
}

export interface Fee {
  label: string;
  /** Of this way to pay alone; null: of every one. */
  method: string | null;
  percent: TextOrNull;
  fixed: number;
  /** What it comes to. */
  amount: number;
}

export interface Fees {
  fees: FeeLine[];
}

export interface FeeLine {
  label: string;
  /** Of this way to pay alone; null: of every one. */
  method: string | null;
  percent: TextOrNull;
  fixed: number;
}

export interface NewFees {
  fees?: NewFee[];
}

/** A percentage, a fixed amount, or both. */
export interface NewFee {
  label: string;
  method?: string;
  percent?: string;
  fixed?: number;
}

export interface NotOffered {
  what: "link" | "email" | "sms" | "capture" | "refund" | "amount_adjustable";
  why: "merchant_not_live" | "needs_customer" | "rail_cannot_capture" | "rail_cannot_refund" | "rail_cannot_adjust";
}

/** Who calls. */
export interface Me {
  merchant_id: string;
  role: "owner" | "manager" | "cashier" | "agent" | "viewer" | "platform";
  /** Bound to it; null: to none. */
  outlet: string | null;
  /** Bound to them; empty: to none. */
  codes: string[];
  /** The person's; null: a key calls. */
  name: string | null;
}

export interface RequestPage {
  data: Request[];
  next: TextOrNull;
}

export interface Sale {
  id: string;
  currency: Currency;
  total: number | null;
  paid: number;
  /** Requests that are not final. */
  open: string[];
  /** null: nothing says how much that is. */
  left: number | null;
  requests: Request[];
}

export type EventType = "code.made" | "code.attached" | "code.detached" | "code.scanned" | "code.changed" | "request.created" | "request.changed" | "request.preparing" | "request.active" | "request.rejected" | "request.stalled" | "request.opened" | "request.paying" | "request.processing" | "request.closing" | "request.review" | "request.paid" | "request.expired" | "request.cancelled" | "request.refunded" | "refund.failed" | "exception.opened" | "exception.decided" | "delivery.changed" | "reading.recorded" | "reading.held" | "hold.released" | "bank.changed";

/** What happened, with the request as it stood then. No payer's data. */
export interface Event {
  /** Names it for ever; also the webhook-id. */
  id: string;
  /** Grows by one, without a gap, in one merchant's log. */
  seq: number;
  type: EventType;
  at: Time;
  merchant_id: string;
  outlet: TextOrNull;
  code: TextOrNull;
  epoch: number | null;
  /** The id of the key or the person who did it; null: a payer, the bank or the clock. */
  by: string | null;
  request: null | EventRequest;
  payment?: Payment;
  refund?: Refund;
  exception?: Exception;
  /** Paid after its time by the bank's clock, or by a decision. */
  late?: boolean;
  displaced_by?: string;
  may_take_other_tender?: Tender;
  reading?: EventReading;
  bank?: EventBank;
  batch?: EventBatch;
}

/** A batch of codes, or a range of its serials. */
export interface EventBatch {
  id: string;
  codes: number;
  from: number;
  to: number;
  status: "active" | "void" | "lost" | "retired" | "replaced" | null;
  stock: "made" | "printed" | "delivered" | null;
}

/** How a bank does for one class of calls, as one gateway sees it. */
export interface EventBank {
  rail: string;
  connection: string;
  class: "token" | "create" | "mutate" | "read";
  /** down: it failed too often, and is left alone for a while. */
  state: "up" | "down";
  /** The code of the last failure. */
  why: string | null;
}

/** An amount values the bill; without one, the meter's reading is kept for billing. */
export interface NewReading {
  /** The printed token. */
  code: string;
  amount?: Amount;
  currency?: Currency;
  account?: string;
  meter?: string;
  /** As the meter shows it, a decimal number. */
  reading?: string;
  unit?: string;
  /** Which bill; needed on an account's code. */
  reference?: string;
  /** By the device's clock. If it is ahead, the time of arrival counts. */
  recorded_at: string;
  device: string;
  /** The device's own number, from 1. */
  sequence: number;
}

/** valued: the bill asks for it. recorded: kept for billing. held: waits for a second person. duplicate: known. superseded: another row goes before it. adjustment: the bill is paid, the difference is for the office to decide. refused: nothing was stored. */
export type Fate = "valued" | "recorded" | "held" | "duplicate" | "superseded" | "adjustment" | "refused" | "rejected";

export interface ReadingFate {
  row: number;
  fate: Fate;
  /** Of a held one: above_limit, far_from_past, payment_in_flight. Of a refused one: the field and the rule, or a problem's code. */
  why: string | null;
  detail: TextOrNull;
  code: TextOrNull;
  device: TextOrNull;
  sequence: number;
  reading: TextOrNull;
  request: TextOrNull;
  /** Of an adjustment: the row's amount less what the bill asked for. */
  difference: number;
  /** The device's clock was ahead. */
  cut: boolean;
}

/** How many rows had which fate. */
export type Counts = Record<string, number>;

/** What stopped the work. */
export interface RowsProblem {
  code: string;
  detail: string;
  request_id: string;
}

export interface ReadingFates {
  data: ReadingFate[];
  counts: Counts;
  gaps: Gap[];
  complete: boolean;
  problem: RowsProblem;
}

export interface Gap {
  device: string;
  from: number;
  to: number;
}

export interface GapPage {
  data: Gap[];
  next: TextOrNull;
}

export interface Reading {
  id: string;
  code: string;
  fate: Fate;
  why: TextOrNull;
  amount: number | null;
  currency: TextOrNull;
  account: TextOrNull;
  meter: TextOrNull;
  reading: TextOrNull;
  unit: TextOrNull;
  reference: TextOrNull;
  recorded_at: TimeOrNull;
  arrived_at: TimeOrNull;
  cut: boolean;
  device: string;
  sequence: number;
  /** By somebody who is no agent. */
  office: boolean;
  by: TextOrNull;
  request: TextOrNull;
  difference: number;
  decided_by: TextOrNull;
  decided_at: TimeOrNull;
}

export interface ReadingPage {
  data: Reading[];
  next: TextOrNull;
}

export interface AccountRow {
  /** As the billing system names it. */
  account: string;
  /** The printed token. */
  code: string;
}

export interface BoundFate {
  row: number;
  fate: "bound" | "duplicate" | "refused";
  why: TextOrNull;
  detail: TextOrNull;
  account: TextOrNull;
  code: TextOrNull;
}

export interface BoundFates {
  data: BoundFate[];
  counts: Counts;
  dry_run: boolean;
  complete: boolean;
  problem: RowsProblem;
}

export interface Account {
  account: string;
  /** That stands for it now. */
  code: string | null;
  codes: string[];
}

export interface NewBill {
  /** The code that stands for it is meant. Or give the code. */
  account?: string;
  /** The printed token. */
  code?: string;
  amount: Amount;
  currency?: Currency;
  /** Which bill; needed on an account's code. */
  reference?: string;
  /** Of two rows about a bill, the later one holds; without it, the time of arrival. */
  issued_at?: string;
  expires_at?: string;
  /** carry: what was not paid before becomes a line. included: it is in the amount. */
  arrears?: "carry" | "included";
  /** The debtor, where a due-date charge needs one. */
  name?: string;
  tax_id?: string;
  email?: string;
  phone?: string;
  address?: string;
  note?: string;
}

export interface BillFate {
  row: number;
  fate: "valued" | "duplicate" | "superseded" | "adjustment" | "refused";
  why: TextOrNull;
  detail: TextOrNull;
  account: TextOrNull;
  code: TextOrNull;
  reference: TextOrNull;
  request: TextOrNull;
  /** What the code asks for by this row, arrears included. */
  amount: number | null;
  /** Of an adjustment: the row's amount less what the bill asked for. */
  difference: number;
}

export interface BillFates {
  data: BillFate[];
  counts: Counts;
  dry_run: boolean;
  complete: boolean;
  problem: RowsProblem;
}

export interface SettlementReport {
  time_zone: string;
  currency: Currency;
  days: SettlementDay[];
  data: Settlement[];
}

export interface SettlementDay {
  day: string;
  from: Time;
  to: Time;
  payments: number;
  payment_sum: number;
  refunds: number;
  refund_sum: number;
  /** Cash, card, at the office: not the bank's. */
  paid_otherwise: number;
  paid_otherwise_sum: number;
  /** Money outside the rules that waits for a decision. */
  exceptions: number;
  exception_sum: number;
}

export interface Settlement {
  day: string;
  kind: "payment" | "exception" | "refund" | "paid_otherwise";
  /** In the merchant's time zone. */
  at: string;
  request_id: string;
  client_id: TextOrNull;
  sale: TextOrNull;
  reference: string;
  code: TextOrNull;
  outlet: TextOrNull;
  payment_id: TextOrNull;
  way: TextOrNull;
  exception: "late" | "duplicate" | "wrong_amount" | "after_cancel" | "unknown" | null;
  /** Of a refund, what went back. */
  amount: number;
  currency: Currency;
}

export interface NewReconciliation {
  /** camt.053 or CSV, as it came. */
  statement?: string;
  /** CSV: ref (the request's id or client_id, the sale, or the reference), amount in minor units, and payment_id where it is known. */
  till?: string;
}

export interface Reconciliation {
  days: string[];
  currency: Currency;
  /** The statement's; null: there was none. */
  account: string | null;
  /** Payments of these days. */
  paid: number;
  paid_sum: number;
  /** Of the statement. */
  entries: number;
  credits: number;
  debits: number;
  till_rows: number;
  /** Payments that all lists agree on. */
  matched: number;
  matched_sum: number;
  /** How many leftovers have which cause. */
  counts: Record<string, number>;
  leftovers: Leftover[];
}

export interface Leftover {
  /** fee: the bank kept a part, or charged for its service. not_arrived: paid by the bank's word, and not on its statement. unknown: on the statement, and of nothing that was asked for. */
  cause: "late" | "duplicate" | "wrong_amount" | "after_cancel" | "fee" | "not_arrived" | "not_in_till" | "only_in_till" | "unknown";
  /** The one thing to do. accept_or_return, return: decide the exception. await_statement: the next one has it, or the bank is to be asked. */
  action: "accept_or_return" | "return" | "book_fee" | "await_statement" | "book_in_till" | "correct_till" | "ask_bank";
  request_id: TextOrNull;
  sale: TextOrNull;
  reference: TextOrNull;
  payment_id: TextOrNull;
  /** Of the statement, counted from 1. */
  entry: number | null;
  /** Of the till's list, counted from 1. */
  till_row: number | null;
  /** As the list that has it says. */
  amount: number;
  /** What another says. */
  expected: number | null;
  at: TimeOrNull;
}

/** A row of an agent's book. */
export interface EventReading {
  id: string;
  fate: "valued" | "recorded" | "held" | "duplicate" | "superseded" | "adjustment" | "refused" | "rejected";
  why: TextOrNull;
  device: string;
  sequence: number;
  /** The request that it valued. */
  request_id: string | null;
  /** What a paid bill came short of, in minor units. */
  difference: number;
}

export interface EventRequest {
  id: string;
  client_id: TextOrNull;
  sale: TextOrNull;
  reference: string;
  status: Status;
  revision: number;
  amount: number | null;
  currency: Currency;
  paid_amount: number;
  refunded_amount: number;
  end_reason: EndReason;
  metadata: Metadata;
}

export interface EventPage {
  data: Event[];
  /** What to go on from. */
  next: string;
}

export interface NewWebhook {
  url: string;
  label?: string;
  /** All unless said. */
  types?: EventType[];
}

export interface Webhook {
  id: string;
  url: string;
  label: string;
  /** Empty: all. */
  types: EventType[];
  /** It hears of this outlet alone. */
  outlet: string | null;
  /** failing: something is held back. down: nothing gets through. gone: it answered 410. */
  status: "active" | "failing" | "down" | "gone";
  /** Shown when it is made or rotated, and never again. */
  secret?: string;
  old_secrets_until: TimeOrNull;
  /** Every event up to this seq was delivered, or is held back. */
  delivered_to: number;
  /** Requests whose events are held back because one failed. */
  held: number;
  next_try_at: TimeOrNull;
  last_success_at: TimeOrNull;
  /** Events that were forgotten before the receiver came back. */
  missed: number;
  created_at: Time;
}

export interface WebhookPage {
  data: Webhook[];
  next: null;
}

export interface Replay {
  /** The seq of an event. */
  from: number;
}

export interface Attempt {
  event_id: string;
  seq: number;
  type: EventType;
  request_id: TextOrNull;
  at: Time;
  try: number;
  ok: boolean;
  /** Of the receiver's answer. */
  status: number | null;
  fault: "status" | "redirect" | "gone" | "refused_address" | "dns" | "connect" | "tls" | "timeout" | "secret" | null;
  ms: number;
}

export interface AttemptPage {
  data: Attempt[];
  next: null;
}

export interface Merchant {
  id: string;
  name: string;
  currency: Currency;
  time_zone: string;
  day_ends_at: string;
  mode: "test" | "live";
  vat_rate: string;
  contact: string;
  /** The default one. */
  rail: string;
  lines_shown: "after_payment" | "after_word" | "always";
  late_payments: "hold" | "accept" | "return";
  takeover: boolean;
  cashier_refund_limit: number;
  promise_by_phone: boolean;
  /** The roles that may send links. */
  send_links: string[];
  has_logo: boolean;
  /** Of payers' pages; none: all there are. */
  languages: string[];
  created_at: Time;
  /** Where its money arrives: statements of others are refused. */
  settlement_accounts: string[];
  /** A reading above it waits for a second person; 0: there is none. */
  reading_limit: number;
  /** So does one that is so many times the meter's usual value, or less than that part of it. */
  reading_factor: number;
}

export interface MerchantPatch {
  name?: string;
  /** Whom a payer asks when something is wrong. */
  contact?: string;
  /** Of the IANA database. */
  time_zone?: string;
  /** When the business day ends, such as 04:00. */
  day_ends_at?: string;
  vat_rate?: string;
  /** When a payer reads the lines of a counter's sale. */
  lines_shown?: "after_payment" | "after_word" | "always";
  /** What becomes of money that comes after the end. */
  late_payments?: "hold" | "accept" | "return";
  /** Cashiers may replace what another key attached. */
  takeover?: boolean;
  /** Of payers' pages; none: all. */
  languages?: ("en" | "pt" | "de" | "es" | "fr")[];
  /** Payers of a bill without an amount may leave a phone number. */
  promise_by_phone?: boolean;
  /** The roles that may send links; owners always may. */
  send_links?: ("owner" | "manager" | "cashier" | "agent" | "viewer")[];
  /** The most that a cashier may refund at once, in the currency's minor unit. */
  cashier_refund_limit?: number;
  /** Where the money arrives, by IBAN or the bank's own number. */
  settlement_accounts?: string[];
  reading_limit?: number;
  reading_factor?: number;
}

export interface NewKey {
  role: "owner" | "manager" | "cashier" | "agent" | "viewer";
  label?: string;
  /** The only one it reaches. */
  outlet?: string;
  /** The only ones it reaches. */
  codes?: string[];
}

export interface Key {
  id: string;
  role: "owner" | "manager" | "cashier" | "agent" | "viewer";
  label: string;
  /** null: it reaches all. */
  outlet: string | null;
  /** None: it reaches all. */
  codes: string[];
  created_at: Time;
  deleted_at?: Time;
  /** Told once. */
  secret?: string;
}

export interface KeyPage {
  data: Key[];
  next: TextOrNull;
}

export interface OutletName {
  /** Payers see it. */
  name: string;
}

export interface Outlet {
  id: string;
  name: string;
}

export interface OutletPage {
  data: Outlet[];
  next: TextOrNull;
}

export interface Name {
  /** As `by` says it. */
  id: string;
  kind: "person" | "key" | "device";
  name: string;
}

export interface NamePage {
  data: Name[];
  next: TextOrNull;
}

export interface NewStaff {
  name: string;
  role: "owner" | "manager" | "cashier" | "agent" | "viewer";
  /** The only one he works at. */
  outlet?: string;
}

export interface StaffPatch {
  name?: string;
  role?: "owner" | "manager" | "cashier" | "agent" | "viewer";
  /** Empty: all. */
  outlet?: string;
}

export interface Staff {
  id: string;
  name: string;
  role: "owner" | "manager" | "cashier" | "agent" | "viewer";
  /** null: all. */
  outlet: string | null;
  /** The login name; null: he has not come yet. */
  user: string | null;
  has_pin: boolean;
  invited_by: string | null;
  created_at: Time;
  joined_at: TimeOrNull;
  ended_at?: Time;
  invite_until: TimeOrNull;
  /** Told once. */
  invite_url?: string;
}

export interface StaffPage {
  data: Staff[];
  next: TextOrNull;
}

export interface NewDevice {
  name: string;
  /** The only one it reaches. */
  outlet?: string;
  /** The only ones it reaches. */
  codes?: string[];
}

export interface Device {
  id: string;
  name: string;
  /** null: all. */
  outlet: string | null;
  /** None: it reaches all. */
  codes: string[];
  created_at: Time;
  paired_at: TimeOrNull;
  deleted_at?: Time;
  /** Told once. */
  pair_url?: string;
}

export interface DevicePage {
  data: Device[];
  next: TextOrNull;
}

export interface ConnectionSettings {
  settings?: Record<string, string>;
  secrets?: Record<string, string>;
}

export interface Connection {
  id: string;
  rail: string;
  default: boolean;
  settings: Record<string, string>;
  /** Their names. */
  secrets: string[];
  /** Where the bank is to send its messages. */
  callback_url: string;
  /** null: the bank has not said yet. */
  abilities: null | Abilities;
  breakers: Breaker[];
  revision: number;
  created_at: Time;
}

export interface Breaker {
  class: string;
  state: "closed" | "open" | "half-open";
  since: TimeOrNull;
}

export interface Abilities {
  currencies: Currency[];
  /** Seconds. */
  max_expiry: number | null;
  open_ended: boolean;
  needs_debtor: boolean;
  revise: boolean;
  refund: boolean;
  capture: boolean;
  bank_link: boolean;
  amount_adjustable: boolean;
  charges: ("immediate" | "due_date")[];
  methods: string[];
}

export interface Check {
  ok: boolean;
  steps: CheckStep[];
}

export interface CheckStep {
  step: string;
  ok: boolean;
  code?: string;
  detail?: string;
}

/** An amount is told only where it can be paid, and to the scan that paid. */
export interface Scan {
  resolution: "payable" | "waiting" | "unvalued" | "nothing_due" | "updating" | "busy" | "processing" | "paid" | "settled" | "ended";
  token?: string;
  epoch: number;
  /** This scan, for looking again and for paying. */
  s?: string;
  server_time: Time;
  refresh_after_ms: number;
  merchant: {
    name: string;
    outlet: TextOrNull;
    logo_url: TextOrNull;
    contact: TextOrNull;
    /** No real money. */
    test?: boolean;
  };
  request?: {
    reference: string;
    revision: number;
    amount: Amount;
    currency: Currency;
    expires_at: TimeOrNull;
    /** The word that the till shows too. */
    pairing?: string;
    /** Instead, where the payer is to pick the till's picture. */
    pairing_choices?: string[];
    lines: Line[];
    paid_at?: Time;
    receipt_url?: string;
  };
  pay?: {
    url: string;
    methods: string[];
  };
  /** It takes longer than it should; ask at the till. */
  slow?: boolean;
  /** Why a bill ended. */
  reason?: string;
  settled_on?: Time;
}

export interface NewBatch {
  kind: "counter" | "bill" | "account";
  count?: number;
  rows?: BatchRow[];
  label_pattern?: string;
  outlet?: string;
  metadata?: Metadata;
  rail?: string;
  resolved_by?: "gateway" | "bank";
  charge?: "immediate" | "due_date";
  /** The pace at which the bank is asked for locations. */
  per_second?: number;
}

export interface BatchRow {
  label?: string;
  account?: string;
  metadata?: Metadata;
}

export interface Batch {
  /** null in a dry run. */
  id: string | null;
  kind: "counter" | "bill" | "account";
  count: number;
  /** How many are made. */
  done: number;
  status: "planned" | "making" | "waiting" | "done";
  left_seconds: number;
  /** Why it waits. */
  problem: string | null;
  /** Locations at the bank that no code has. */
  orphans: number;
  label_pattern: string;
  outlet: TextOrNull;
  rail: TextOrNull;
  resolved_by: "gateway" | "bank";
  charge: "immediate" | "due_date";
  metadata: Metadata;
  created_at: TimeOrNull;
  marks: Mark[];
  book?: Book;
}

export interface MarkedBatch {
  /** null in a dry run. */
  id: string | null;
  kind: "counter" | "bill" | "account";
  count: number;
  /** How many are made. */
  done: number;
  status: "planned" | "making" | "waiting" | "done";
  left_seconds: number;
  /** Why it waits. */
  problem: string | null;
  /** Locations at the bank that no code has. */
  orphans: number;
  label_pattern: string;
  outlet: TextOrNull;
  rail: TextOrNull;
  resolved_by: "gateway" | "bank";
  charge: "immediate" | "due_date";
  metadata: Metadata;
  created_at: TimeOrNull;
  marks: Mark[];
  book?: Book;
  /** How many codes. */
  marked: number;
}

/** What became of a range of serials. */
export interface Mark {
  from: number;
  to: number;
  status: "active" | "void" | "lost" | "retired" | null;
  stock: "made" | "printed" | "delivered" | null;
  at: TimeOrNull;
  by: TextOrNull;
}

/** How many codes are what. */
export interface Book {
  made: number;
  printed: number;
  delivered: number;
  bound: number;
  valued: number;
  paid: number;
  active: number;
  void: number;
  lost: number;
  retired: number;
  replaced: number;
}

export interface BatchPage {
  data: Batch[];
  next: TextOrNull;
}

export interface BatchMark {
  stock?: "made" | "printed" | "delivered";
  status?: "active" | "void" | "lost" | "retired";
  from?: number;
  to?: number;
  file?: string;
}

export interface Row {
  serial: number;
  token: string;
  /** The text inside the symbol. */
  payload: string;
  label: string;
  account: string;
  status: "active" | "void" | "lost" | "retired" | "replaced";
  stock: "made" | "printed" | "delivered";
  bound: boolean;
  valued: boolean;
  paid: boolean;
  metadata: Metadata;
}

export interface RowPage {
  data: Row[];
  next: TextOrNull;
}

export interface PrintJob {
  /** Or a batch. */
  codes?: string[];
  batch?: string;
  /** The first serial. */
  from?: number;
  /** The last serial. */
  to?: number;
  /** Number of the first sheet, where a run is printed in parts. */
  sheet?: number;
  /** Sheets of the whole run. */
  of?: number;
  format?: "pdf" | "png" | "zpl" | "escpos";
  title?: string;
  /** An id of GET /v1/print/stocks. */
  stock: string;
  dpi?: number;
  level?: "L" | "M" | "Q" | "H";
  /** A decimal number. */
  module_mm?: string;
  caption?: boolean;
  language?: string;
  help?: string;
  /** #rrggbb */
  ink?: string;
  /** #rrggbb */
  ground?: string;
  logo?: boolean;
  /** The printer draws the symbol itself. */
  native?: boolean;
  /** Cutting marks. */
  marks?: boolean;
  proof?: "read" | "full";
  /** Once all is proved, the codes are marked as printed. */
  mark?: boolean;
}

export interface Stock {
  id: string;
  name: string;
  use: string;
  /** On a sheet. */
  labels: number;
  page_mm: Size;
  label_mm: Size;
  /** Of the usual printer. */
  dpi: number;
}

export interface Size {
  w: number;
  h: number;
}

export interface StockPage {
  data: Stock[];
  next: TextOrNull;
}

export interface Proofs {
  passed: true;
  codes: number;
  /** Codes that are out of use. */
  skipped: number;
  reader: string;
  sheets: Seen[];
  /** What found no room. */
  left_out: string[];
}

export interface Proof {
  sha256: string;
  at: TimeOrNull;
  by: TextOrNull;
  batch: TextOrNull;
  from: number;
  to: number;
  code: TextOrNull;
  stock: string;
  passed: boolean;
  seen: Seen;
}

/** What was read off a sheet, whole and damaged. */
export type Seen = Record<string, unknown>;

export interface Word {
  s: string;
  pairing: string;
}

export interface PayerPromise {
  email?: string;
  phone?: string;
}

export interface Pay {
  s: string;
  revision: number;
  method?: string;
}

export interface Payload {
  kind: "emv";
  payload: string;
  until: TimeOrNull;
  s: string;
}

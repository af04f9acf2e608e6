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

  /* methods */
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

/* types */

// A till in one file: it shows an amount on a printed code, and says when it was paid.
//
//   npm ci && npx tsc && node out/example.js URL KEY CODE CENTS
import { Placard, PlacardError } from "./placard.js";

declare const process: { argv: string[]; exitCode?: number; on(signal: "SIGINT", f: () => void): void };

const [, , url, key, code, cents] = process.argv;
if (!url || !key || !code || !cents) {
  console.error("usage: example URL KEY CODE CENTS");
  process.exitCode = 2;
} else {
  sell(new Placard(url, key), code, Number(cents)).catch((failure) => {
    console.error(String(failure.message));
    process.exitCode = 1;
  });
}

/** Shows an amount on a code and waits for its end. Ctrl-C is the cashier who takes cash after all. */
async function sell(till: Placard, code: string, amount: number): Promise<void> {
  const sale = `example-${Date.now()}`; // the till's own number of the cart
  const after = await till.lastSeq();
  let answer;
  try {
    answer = await till.attach({ code }, { request: { amount, reference: "Table 4", sale } });
  } catch (failure) {
    if (failure instanceof PlacardError && failure.code === "code_busy") throw new Error("another sale is open on this code: finish it first");
    throw failure;
  }
  const request = answer.request!;
  process.on("SIGINT", () => void takeCash(till, code, request.id));
  console.log(`request ${request.id}: ${request.amount} ${request.currency}, pairing ${request.pairing}`);

  for await (const event of till.watch({ after, request: request.id })) {
    switch (event.type) {
      case "request.opened":
        console.log("the customer has opened it");
        break;
      case "request.processing":
        console.log("being confirmed: do not take other money");
        break;
      case "request.paid":
        console.log(`paid ${event.request!.paid_amount} ${event.request!.currency}`);
        return;
      case "request.expired":
      case "request.cancelled":
        throw new Error(`it is over: ${event.request!.status} (${event.request!.end_reason})`);
    }
  }
}

/** Whether cash may be taken, the gateway says. */
async function takeCash(till: Placard, code: string, request: string): Promise<void> {
  try {
    const over = await till.detach({ code, request_id: request, cancel: true });
    const tender = over.may_take_other_tender;
    console.log(tender && !tender.allowed ? `take no cash yet: ${tender.why}` : "cancelled: take cash");
  } catch (failure) {
    console.log(failure instanceof PlacardError && failure.code === "already_paid" ? "it was paid just now: take no cash" : String(failure));
  }
}

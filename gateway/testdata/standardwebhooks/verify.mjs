// Verifies a delivery, given as JSON on standard input, with the library of the
// Standard Webhooks specification.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const { secrets, body, headers } = JSON.parse(readFileSync(0, "utf8"));
let verified = 0;
for (const secret of secrets) {
  const event = new Webhook(secret).verify(body, headers);
  if (event.type !== "request.paid" || event.request.amount !== 1250) throw new Error(`read as ${JSON.stringify(event)}`);
  verified++;
}
let refused = 0;
try {
  new Webhook(secrets[0]).verify(body.replace("1250", "1251"), headers);
} catch {
  refused++;
}
console.log(`${verified} verified, ${refused} refused`);

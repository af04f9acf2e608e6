// Two payers' readers: each reads all codes, and fetches what some of them lead to.
import fs from 'node:fs'
import pixUtils from 'pix-utils'
import { extractPixUrl, getDecodedPixJwt, parseTLV } from 'pix-qr-code-detail'

const { codes, fetched } = JSON.parse(fs.readFileSync(process.argv[2]))
const utils = codes.map(code => {
  const p = pixUtils.parsePix(code)
  return pixUtils.hasError(p) ? { error: p.message } : { type: p.type, url: p.url, name: p.merchantName, city: p.merchantCity }
})
const tag = (list, id) => list.find(t => t.tag === id)?.value
const detail = codes.map(code => {
  const list = parseTLV(code)
  return { url: extractPixUrl(code), name: tag(list, '59'), city: tag(list, '60') }
})
const utilsFetched = [], detailFetched = []
for (const code of fetched) {
  const got = await pixUtils.parsePix(code).fetchPayload({})
  utilsFetched.push(pixUtils.hasError(got) ? { error: got.message } : got.payload)
  detailFetched.push((await getDecodedPixJwt(code)).payload)
}
console.log(JSON.stringify({ utils, detail, utilsFetched, detailFetched }))

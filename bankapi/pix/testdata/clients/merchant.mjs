// A merchant's day by an SDK that another bank gives its customers, and by a client of
// another author's: what they see is printed as one JSON object.
import fs from 'node:fs'
import { EfiPay } from 'sdk-node-apis-efi'
import { endpoints } from './node_modules/sdk-node-apis-efi/dist/esm/constants/endpoints.js'
import brpix from 'brpix-api-node'

const given = JSON.parse(fs.readFileSync(process.argv[2]))
endpoints.APIS.PIX.URL.SANDBOX = given.url // the SDK has no option for it
const efi = new EfiPay({
  sandbox: true, client_id: 'shop', client_secret: 's1', certificate: given.certificate, pemKey: given.key,
})
const seen = {}
const span = { inicio: given.from, fim: given.until }
const txid = '7978c0c97ea847e78e8849634473c1f1'

seen.location = await efi.pixCreateLocation({}, { tipoCob: 'cob' })
seen.made = await efi.pixCreateCharge({ txid }, {
  calendario: { expiracao: 3600 }, loc: { id: seen.location.id }, valor: { original: '37.00' }, chave: given.chave,
  devedor: { cpf: '12345678909', nome: 'Francisco da Silva' }, solicitacaoPagador: 'Serviço realizado.',
})
seen.revised = await efi.pixUpdateCharge({ txid }, { valor: { original: '41.50' } })
seen.got = await efi.pixDetailCharge({ txid })
seen.listed = await efi.pixListCharges(span)
seen.unlinked = await efi.pixUnlinkTxidLocation({ id: seen.location.id })
seen.linked = await efi.pixUpdateCharge({ txid }, { loc: { id: seen.location.id } })
seen.shows = await efi.pixDetailLocation({ id: seen.location.id })
seen.locations = await efi.pixLocationList(span)
await efi.pixConfigWebhook({ chave: given.chave }, { webhookUrl: 'https://shop.example/callbacks' })
seen.webhook = await efi.pixDetailWebhook({ chave: given.chave })

const paid = await fetch(given.control + '/sim/pay', { method: 'POST', body: JSON.stringify({ brcode: seen.linked.pixCopiaECola }) })
if (paid.status !== 200) throw new Error('the payer could not pay: ' + await paid.text())
seen.paid = await efi.pixDetailCharge({ txid })
seen.received = await efi.pixReceivedList(span)
const e2eId = seen.received.pix[0].endToEndId
seen.refund = await efi.pixDevolution({ e2eId, id: 'volta1' }, { valor: '1.50' })
seen.refunded = await efi.pixDetailDevolution({ e2eId, id: 'volta1' })
seen.refusal = await efi.pixUpdateCharge({ txid }, { valor: { original: '1.00' } }).then(() => null, error => error)
seen.absent = await efi.pixDetailCharge({ txid: txid.replace('f1', 'f2') }).then(() => null, error => error)

seen.due = await efi.pixCreateDueCharge({ txid: txid.replace('c1f1', 'c1f3') }, {
  calendario: { dataDeVencimento: given.due, validadeAposVencimento: 30 }, valor: { original: '100.00' }, chave: given.chave,
  devedor: { cpf: '12345678909', nome: 'Francisco da Silva', logradouro: 'Rua 1', cidade: 'Recife', uf: 'PE', cep: '70011750' },
})
seen.removed = await efi.pixUpdateDueCharge({ txid: txid.replace('c1f1', 'c1f3') }, { status: 'REMOVIDA_PELO_USUARIO_RECEBEDOR' })

// The other client has no PATCH and no locations; it asks for its token with JSON.
const other = new brpix.ApiPix({ clientId: 'neighbour', clientSecret: 's2', baseURL: given.other, timeout: 10000 })
await other.init()
const charge = await other.createCob({ calendario: { expiracao: 600 }, valor: { original: '9.99' }, chave: given.otherChave }, txid.replace('c1f1', 'c1f4'))
seen.other = await other.consultCob(charge.txid)

console.log(JSON.stringify(seen))

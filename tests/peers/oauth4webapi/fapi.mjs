// A partner of the gateway with oauth4webapi, a client that nobody here wrote: the whole FAPI flow and its end.
// Usage: node fapi.mjs SETTINGS.json. Prints the address to open, reads from standard input where the browser was sent, prints one JSON object.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import * as oauth from 'oauth4webapi'

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const loopback = { [oauth.allowInsecureRequests]: true }
const issuer = new URL(settings.issuer)
const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...loopback }))
const client = { client_id: settings.client_id }
const key = await crypto.subtle.importKey('jwk', settings.jwk, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
const identity = oauth.PrivateKeyJwt({ key, kid: settings.kid })
const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256'))
const bound = { DPoP, ...loopback }
const verifier = oauth.generateRandomCodeVerifier()
const outcome = { methods: server.token_endpoint_auth_methods_supported, pushed_only: server.require_pushed_authorization_requests }

const asked = {
  client_id: client.client_id,
  response_type: 'code',
  redirect_uri: settings.redirect_uri,
  state: settings.state,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
  authorization_details: JSON.stringify([settings.details])
}
const pushed = await oauth.processPushedAuthorizationResponse(server, client, await oauth.pushedAuthorizationRequest(server, client, identity, asked, bound))
const address = new URL(server.authorization_endpoint)
address.search = new URLSearchParams({ client_id: client.client_id, request_uri: pushed.request_uri })
console.log(JSON.stringify({ open: address.href }))

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const answer = oauth.validateAuthResponse(server, client, new URL((await lines.next()).value), settings.state)
const redeem = () => oauth.authorizationCodeGrantRequest(server, client, identity, answer, settings.redirect_uri, verifier, bound)
const tokens = await oauth.processAuthorizationCodeResponse(server, client, await redeem())
outcome.token_type = tokens.token_type
outcome.access_seconds = tokens.expires_in
outcome.allowed = tokens.authorization_details[0].projections

const renew = async () => await oauth.processRefreshTokenResponse(server, client, await oauth.refreshTokenGrantRequest(server, client, identity, tokens.refresh_token, bound))
const renewed = await renew()
outcome.refresh_stays = renewed.refresh_token === undefined || renewed.refresh_token === tokens.refresh_token
const introspect = async (token) => await oauth.processIntrospectionResponse(server, client, await oauth.introspectionRequest(server, client, identity, token, loopback))
outcome.active = (await introspect(renewed.access_token)).active
outcome.answer = await (await ask(renewed.access_token, { question: settings.question })).json()
outcome.beyond = await codeOf(ask(renewed.access_token, { question: 'show my last 5 transactions' }))
outcome.advertising = await codeOf(ask(renewed.access_token, { question: settings.question, purpose: 'advertising' }))
outcome.without_a_key = await statusOf(fetch(`${settings.api}/answers`, { method: 'POST', headers: { authorization: `Bearer ${renewed.access_token}` } }))

await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, identity, renewed.access_token, loopback))
outcome.after_revocation = await statusOf(ask(renewed.access_token, { question: settings.question }))
const last = await renew()
outcome.grant = (await (await read(last.access_token, 'GET')).json()).grant_id === tokens.grant_id
outcome.second_use_of_the_code = await errorOf(async () => oauth.processAuthorizationCodeResponse(server, client, await redeem()))
outcome.tokens_of_a_code_used_twice = await statusOf(ask(last.access_token, { question: settings.question }))
outcome.renewing_after_that = await errorOf(renew)
console.log(JSON.stringify(outcome))
process.exit(0)

async function ask (token, body) {
  const headers = new Headers({ 'content-type': 'application/json' })
  return await oauth.protectedResourceRequest(token, 'POST', new URL(`${settings.api}/answers`), headers, JSON.stringify(body), bound)
}

async function read (token, method) {
  return await oauth.protectedResourceRequest(token, method, new URL(`${server.grant_management_endpoint}/${tokens.grant_id}`), new Headers(), null, bound)
}

async function statusOf (reading) {
  try { return (await reading).status } catch (error) { return error.status ?? error.response?.status ?? error.name }
}

async function codeOf (reading) {
  try { return (await (await reading).json()).code } catch (error) { return (await error.response.json()).code }
}

async function errorOf (work) {
  try { await work(); return 'accepted' } catch (error) { return error.error ?? error.name }
}

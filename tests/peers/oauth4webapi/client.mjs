// Links a customer at the demo bank with oauth4webapi, a client that nobody here wrote, and prints what came of each step as one JSON object.
// Usage: node client.mjs SETTINGS.json
import { readFileSync } from 'node:fs'
import * as oauth from 'oauth4webapi'

// A browser's cookies and redirects, and nothing else of it.
class Browser {
  cookies = ''
  location = ''

  async go (path, init = {}) {
    const response = await fetch(new URL(path, issuer), { redirect: 'manual', ...init, headers: { cookie: this.cookies } })
    const set = response.headers.getSetCookie().map(each => each.split(';')[0])
    if (set.length > 0) this.cookies = set.join('; ')
    this.location = response.headers.get('location') ?? ''
    const stays = this.location === '' || new URL(this.location, issuer).origin !== issuer.origin
    return stays ? await response.text() : await this.go(this.location)
  }

  async send (path, page, answers) {
    const hidden = [...page.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)">/g)].map(([, name, value]) => [name, value])
    return await this.go(path, { method: 'POST', body: new URLSearchParams([...hidden, ...answers]) })
  }
}

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const loopback = { [oauth.allowInsecureRequests]: true }
const issuer = new URL(settings.issuer)
const bank = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...loopback }))
const client = { client_id: settings.client_id }
const key = await crypto.subtle.importKey('jwk', settings.jwk, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
const proof = oauth.PrivateKeyJwt({ key, kid: settings.kid }, { [oauth.modifyAssertion]: (header, claims) => { claims.aud = bank.issuer } })
const verifier = oauth.generateRandomCodeVerifier()
const outcome = {}

const pushed = await oauth.processPushedAuthorizationResponse(bank, client, await oauth.pushedAuthorizationRequest(bank, client, proof, {
  client_id: client.client_id,
  response_type: 'code',
  redirect_uri: settings.redirect_uri,
  state: settings.state,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
  authorization_details: settings.details,
}, loopback))
outcome.pushed_seconds = pushed.expires_in

const answer = oauth.validateAuthResponse(bank, client, await throughTheBanksPages(pushed.request_uri), settings.state)
const redeem = () => oauth.authorizationCodeGrantRequest(bank, client, proof, answer, settings.redirect_uri, verifier, loopback)
const tokens = await oauth.processAuthorizationCodeResponse(bank, client, await redeem())
outcome.token_type = tokens.token_type
outcome.access_seconds = tokens.expires_in
const renewed = await oauth.processRefreshTokenResponse(bank, client, await oauth.refreshTokenGrantRequest(bank, client, proof, tokens.refresh_token, loopback))
outcome.accounts = (await (await read(renewed.access_token)).json()).accounts.length
await oauth.processRevocationResponse(await oauth.revocationRequest(bank, client, proof, renewed.access_token, loopback))
outcome.after_revocation = await statusOf(read(renewed.access_token))
outcome.second_use_of_the_code = await codeOf(async () => oauth.processAuthorizationCodeResponse(bank, client, await redeem()))
outcome.tokens_of_a_code_used_twice = await statusOf(read(tokens.access_token))
console.log(JSON.stringify(outcome))

function read (token) {
  const headers = new Headers({ 'x-fapi-interaction-id': crypto.randomUUID() })
  return oauth.protectedResourceRequest(token, 'GET', new URL('/fdx/v6/accounts', issuer), headers, null, loopback)
}

async function statusOf (reading) {
  try { return (await reading).status } catch (error) { return error.status ?? error.response?.status ?? error.name }
}

async function codeOf (work) {
  try { await work(); return 'accepted' } catch (error) { return error.error ?? error.name }
}

// The customer in front of the bank's own pages: log in, tick every account, approve.
async function throughTheBanksPages (requestUri) {
  const browser = new Browser()
  let page = await browser.go('/authorize?' + new URLSearchParams({ client_id: client.client_id, request_uri: requestUri }))
  page = await browser.send('/authorize/login', page, [['username', settings.username], ['password', settings.password]])
  const accounts = [...page.matchAll(/name="account" value="([^"]+)"/g)].map(([, value]) => ['account', value])
  await browser.send('/authorize/accounts', page, [...accounts, ['decision', 'approve']])
  return new URL(browser.location)
}

// The official TypeScript client: asks without a token, sends the customer away, comes back with a code, calls a tool, renews, calls again.
// Arguments: the endpoint, the client's id, its redirect address. Prints one JSON line where the customer must go, reads her answer, prints the outcome.
import { createInterface } from "node:readline/promises";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [endpoint, clientId, redirectUri] = process.argv.slice(2);
const kept = { tokens: undefined, verifier: undefined, url: undefined, saved: 0 };
const provider = {
  redirectUrl: redirectUri,
  clientMetadata: { client_name: "Assistant", redirect_uris: [redirectUri], token_endpoint_auth_method: "none" },
  clientInformation: () => ({ client_id: clientId }),
  state: () => "state-of-the-client",
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens; kept.saved += 1; },
  redirectToAuthorization: (url) => { kept.url = url; },
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  codeVerifier: () => kept.verifier,
};

async function connected() {
  const transport = new StreamableHTTPClientTransport(new URL(endpoint), { authProvider: provider });
  const client = new Client({ name: "peer", version: "1" });
  await client.connect(transport);
  return client;
}

const asking = new StreamableHTTPClientTransport(new URL(endpoint), { authProvider: provider });
try {
  await new Client({ name: "peer", version: "1" }).connect(asking);
  throw new Error("let in without a token");
} catch (error) {
  if (!(error instanceof UnauthorizedError)) throw error;
}
console.log(JSON.stringify({ url: kept.url.href }));
const input = createInterface({ input: process.stdin });
const answer = new URL(await input.question(""));
input.close();
if (answer.searchParams.get("state") !== "state-of-the-client") throw new Error("another state");
await asking.finishAuth(answer.searchParams.get("code"), answer.searchParams.get("iss"));

const client = await connected();
const tools = await client.listTools();
const balance = await client.callTool({ name: "get_balance", arguments: {} });
kept.tokens = { ...kept.tokens, access_token: "an-access-token-that-has-ended-0123456789" };
const renewed = await connected();
const again = await renewed.callTool({ name: "get_balance", arguments: { account: "checking" } });
console.log(
  JSON.stringify({
    protocol: client.getServerVersion()?.name,
    tools: tools.tools.map((tool) => tool.name),
    balance: balance.structuredContent,
    receipt: balance._meta["gateway.parley/receipt"],
    again: again.structuredContent.outcome,
    saved: kept.saved,
    scope: kept.tokens.scope,
  }),
);

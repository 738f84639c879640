// A certified authorization server in the place of a bank, with its FAPI 2.0 profile: node server.mjs SETTINGS.json
// Prints its issuer once it listens, and ends when its standard input closes.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import Provider from "oidc-provider";

const settings = JSON.parse(readFileSync(process.argv[2], "utf8"));
const scopes = ["openid", "offline_access", ...(settings.scopes ?? [])];
const server = createServer((request, response) => handle(request, response));
let handle = (request, response) => response.writeHead(503).end();

server.listen(settings.port ?? 0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: settings.clients,
    scopes,
    responseTypes: ["code"],
    cookies: { keys: ["only for tests"] },
    pkce: { required: () => true },
    features: {
      devInteractions: { enabled: true },
      dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, 7), requireNonce: () => settings.nonce ?? false },
      fapi: { enabled: settings.fapi ?? true, profile: settings.fapi === false ? undefined : "2.0" },
      introspection: { enabled: true, allowedPolicy: () => true },
      pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => `${issuer}/api`,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({ scope: scopes.join(" "), accessTokenFormat: "opaque" }),
      },
      revocation: { enabled: true },
      richAuthorizationRequests: {
        enabled: true,
        types: Object.fromEntries((settings.types ?? []).map((type) => [type, { validate: () => {} }])),
        authorizationDetailsForGrantSource: (ctx) => ctx.oidc.params.authorization_details && JSON.parse(ctx.oidc.params.authorization_details),
        authorizationDetailsForAccessToken: (ctx, token, source) => source.rar,
        authorizationDetailsForIntrospection: (ctx, token) => token.rar,
      },
      userinfo: { enabled: true },
    },
    clientAuthMethods: ["private_key_jwt"],
    enabledJWA: { clientAuthSigningAlgValues: ["PS256", "ES256", "EdDSA", "Ed25519"], dPoPSigningAlgValues: ["ES256", "PS256", "EdDSA", "Ed25519"] },
    issueRefreshToken: () => true,
    rotateRefreshToken: () => settings.rotate ?? false,
    ttl: { AccessToken: 300, AuthorizationCode: 60, Grant: 3600, Interaction: 600, RefreshToken: 3600, Session: 600 },
    renderError: (ctx, out) => {
      ctx.type = "json";
      ctx.body = out;
    },
  });
  provider.on("server_error", (ctx, error) => console.error(error));
  handle = provider.callback();
  console.log(issuer);
});

process.stdin.resume();
process.stdin.on("end", () => process.exit(0));

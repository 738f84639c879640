// Checks a receipt with the log's public key, in this browser and with nothing else: format c2sp.org/tlog-proof@v1, Ed25519, SHA-256.
// It is our own script from our own server; who does not want to believe us runs `parley verify`.

const HEADER = "c2sp.org/tlog-proof@v1";
const RECEIPT_CHARS_MAX = 16 * 1024;
const HASHES_MAX = 64;
const utf8 = new TextEncoder();

// Returns { index, size, origin, entry, private } of a receipt that holds; throws an Error with one sentence otherwise.
export async function verifyReceipt(text, vkey) {
  const receipt = parse(text);
  const key = await readVkey(vkey);
  const checkpoint = await readCheckpoint(receipt.note, key);
  const root = await rootFrom(await leafHash(receipt.entry), receipt.index, checkpoint.size, receipt.hashes);
  if (!same(root, checkpoint.root)) throw new Error("The path does not lead from this entry to the log’s root.");
  const entry = readObject(receipt.entry);
  const domain = utf8.encode("parley/v1/commit\0");
  const commitment = await sha256(joined(domain, receipt.salt, receipt.privateHalf));
  if (entry.c !== toBase64(commitment)) throw new Error("The private half is not the one that the log’s entry commits to.");
  return { index: receipt.index, size: checkpoint.size, origin: checkpoint.origin, entry, private: readObject(receipt.privateHalf) };
}

function parse(text) {
  if (text.length > RECEIPT_CHARS_MAX) throw new Error("The receipt is too long.");
  const border = text.indexOf("\n\n");
  const lines = text.slice(0, Math.max(border, 0)).split("\n");
  const ours = lines.length >= 3 && lines.length <= 3 + HASHES_MAX && lines[0] === HEADER;
  if (border < 0 || !ours || !lines[1].startsWith("extra ") || !lines[2].startsWith("index ")) throw new Error("This is not a receipt.");
  const extra = fromBase64(lines[1].slice(6));
  const end = 2 + extra[0] * 256 + extra[1];
  if (extra.length <= end + 32) throw new Error("The receipt is cut short.");
  return {
    entry: extra.slice(2, end),
    salt: extra.slice(end, end + 32),
    privateHalf: extra.slice(end + 32),
    index: number(lines[2].slice(6)),
    hashes: lines.slice(3).map(fromBase64),
    note: text.slice(border + 2),
  };
}

async function readVkey(vkey) {
  const [name, id, ...rest] = vkey.trim().split("+");
  const encoded = fromBase64(rest.join("+"));
  if (!name || encoded.length !== 33 || encoded[0] !== 1) throw new Error("The log’s public key cannot be read.");
  const keyId = (await sha256(joined(utf8.encode(`${name}\n`), encoded))).slice(0, 4);
  if (toHex(keyId) !== id) throw new Error("The log’s public key is not what it says.");
  const key = await crypto.subtle.importKey("raw", encoded.slice(1), { name: "Ed25519" }, false, ["verify"]);
  return { name, keyId, key };
}

async function readCheckpoint(note, { name, keyId, key }) {
  const border = note.lastIndexOf("\n\n");
  if (border < 0 || !note.endsWith("\n")) throw new Error("The log’s head is not a signed note.");
  const body = note.slice(0, border + 1);
  const signatures = note.slice(border + 2, -1).split("\n").map((line) => line.split(" "));
  const own = signatures.filter((parts) => parts.length === 3 && parts[0] === "—" && parts[1] === name && same(fromBase64(parts[2]).slice(0, 4), keyId));
  if (own.length !== 1) throw new Error("The log’s head is not signed by the log’s key.");
  const valid = await crypto.subtle.verify({ name: "Ed25519" }, key, fromBase64(own[0][2]).slice(4), utf8.encode(body));
  if (!valid) throw new Error("The signature on the log’s head is not the log’s.");
  const [origin, size, root, ...rest] = body.split("\n");
  if (origin !== name || rest.length !== 1 || rest[0] !== "") throw new Error("The head is another log’s.");
  return { origin, size: number(size), root: fromBase64(root) };
}

// RFC 9162, section 2.1.3.2. Divisions and not shifts: a shift would cut a number at 32 bits.
async function rootFrom(leaf, index, size, hashes) {
  if (index >= size) throw new Error("The entry lies outside the log.");
  let [here, last, root] = [index, size - 1, leaf];
  for (const sibling of hashes) {
    if (last === 0 || sibling.length !== 32) throw new Error("The path is longer than the log is high.");
    if (here % 2 === 1 || here === last) {
      root = await nodeHash(sibling, root);
      while (here % 2 === 0 && here !== 0) [here, last] = [here / 2, Math.floor(last / 2)];
    } else {
      root = await nodeHash(root, sibling);
    }
    [here, last] = [Math.floor(here / 2), Math.floor(last / 2)];
  }
  if (last !== 0) throw new Error("The path is shorter than the log is high.");
  return root;
}

const leafHash = (entry) => sha256(joined(Uint8Array.of(0), entry));
const nodeHash = (left, right) => sha256(joined(Uint8Array.of(1), left, right));
const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

// In canonical form only (RFC 8785): a doubled key or another spelling does not encode back to the same text.
function readObject(bytes) {
  const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  const value = JSON.parse(text);
  if (value === null || typeof value !== "object" || Array.isArray(value) || canonical(value) !== text) throw new Error("A part of the receipt is not in its only form.");
  return value;
}

function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
}

function number(text) {
  const value = Number(text);
  if (!/^(0|[1-9][0-9]{0,15})$/.test(text) || !Number.isSafeInteger(value)) throw new Error("A number of the receipt cannot be read.");
  return value;
}

function fromBase64(text) {
  let bytes;
  try {
    bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    throw new Error("A part of the receipt is not base64.");
  }
  if (bytes.length === 0 || toBase64(bytes) !== text) throw new Error("A part of the receipt is not in its only spelling.");
  return bytes;
}

const toBase64 = (bytes) => btoa(String.fromCharCode(...bytes));
const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const same = (one, other) => one.length === other.length && one.every((byte, place) => byte === other[place]);

function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  parts.reduce((place, part) => (whole.set(part, place), place + part.length), 0);
  return whole;
}

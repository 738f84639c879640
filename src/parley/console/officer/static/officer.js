// The two passkey ceremonies of the officer's console (Web Authentication Level 3). Nothing else here needs a script.
"use strict";

const outcome = document.getElementById("outcome");

const toBytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
const toText = (bytes) => {
  let letters = "";
  for (const byte of new Uint8Array(bytes)) letters += String.fromCharCode(byte);
  return btoa(letters).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
};

async function send(path, body, invitation) {
  const headers = { "content-type": "application/json" };
  if (invitation) headers["x-parley-invitation"] = invitation;
  const answer = await fetch(path, { method: "POST", headers, body, credentials: "same-origin", redirect: "error" });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.text);
  return told;
}

function known(list) {
  return list.map((each) => ({ ...each, id: toBytes(each.id) }));
}

async function signIn() {
  const options = await send("/officer/sign-in/options", "{}");
  const publicKey = { ...options, challenge: toBytes(options.challenge), allowCredentials: known(options.allowCredentials) };
  const made = await navigator.credentials.get({ publicKey });
  const response = {
    clientDataJSON: toText(made.response.clientDataJSON),
    authenticatorData: toText(made.response.authenticatorData),
    signature: toText(made.response.signature),
  };
  if (made.response.userHandle) response.userHandle = toText(made.response.userHandle);
  return send("/officer/sign-in", JSON.stringify({ id: made.id, rawId: toText(made.rawId), type: made.type, response }));
}

async function enrol() {
  const invitation = location.hash.slice(1);
  const options = await send("/officer/enrol/options", "{}", invitation);
  const user = { ...options.user, id: toBytes(options.user.id) };
  const publicKey = { ...options, user, challenge: toBytes(options.challenge), excludeCredentials: known(options.excludeCredentials) };
  const made = await navigator.credentials.create({ publicKey });
  const response = { clientDataJSON: toText(made.response.clientDataJSON), attestationObject: toText(made.response.attestationObject) };
  return send("/officer/enrol", JSON.stringify({ id: made.id, rawId: toText(made.rawId), type: made.type, response }), invitation);
}

function offer(id, ceremony) {
  const button = document.getElementById(id);
  if (!button) return;
  button.addEventListener("click", async () => {
    button.disabled = true;
    outcome.textContent = "Waiting for your device …";
    try {
      const told = await ceremony();
      location.replace(told.next);
    } catch (trouble) {
      const ours = trouble instanceof Error && !(trouble instanceof DOMException) && !(trouble instanceof TypeError);
      outcome.textContent = ours ? trouble.message : "Your device made no passkey available. Nothing was changed. Please try again.";
      button.disabled = false;
      button.focus();
    }
  });
}

offer("sign-in", signIn);
offer("enrol", enrol);

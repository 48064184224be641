// Passkeys need script: the browser is asked to make one, or to prove one.
// Without it, or where the browser has none, the form stays hidden.
(() => {
  const K = window.PublicKeyCredential;
  if (!K || !K.parseCreationOptionsFromJSON || !window.isSecureContext) return;
  const post = async (to, body) => {
    const r = await fetch(to, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? null) });
    const answer = await r.json();
    if (!r.ok) throw { said: answer.error };
    return answer;
  };
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.hidden = false;
    const error = form.querySelector(".error"), button = form.querySelector("button");
    form.addEventListener("submit", async (e) => {
      e.preventDefault();
      error.hidden = true;
      button.disabled = true;
      try {
        const ask = await post(form.dataset.ask), v = Object.fromEntries(new FormData(form));
        if (form.dataset.passkey === "make") {
          const made = await navigator.credentials.create({ publicKey: K.parseCreationOptionsFromJSON(ask) });
          location.assign((await post(form.dataset.send, { title: v.title, password: v.current || "", answer: made.toJSON() })).to);
        } else {
          const proof = await navigator.credentials.get({ publicKey: K.parseRequestOptionsFromJSON(ask) });
          location.assign((await post(form.dataset.send, proof.toJSON())).to || v.back);
        }
      } catch (x) {
        error.textContent = x.said || form.dataset.unable;
        error.hidden = false;
        button.disabled = false;
      }
    });
  }
})();

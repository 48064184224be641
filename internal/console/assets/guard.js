// What htmx may do on these pages. The one trusted-types policy is given to
// htmx alone, which puts only what this server rendered and escaped into the
// page; scripts in it are refused all the same. Everything that evaluates text
// as code is taken away from it.
(() => {
  const html = (s) => {
    if (/<script/i.test(s)) throw new TypeError("a fragment holds a script");
    return s;
  };
  const policy = window.trustedTypes ? trustedTypes.createPolicy("dun", { createHTML: html }) : { createHTML: html };
  const refuse = function () {
    throw new TypeError("nothing is evaluated here");
  };
  htmx.registerExtension("dun", { init: (api) => api.initSecurity(policy, refuse, refuse) });
})();

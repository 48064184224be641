// What needs a hand from script: charts, the chosen rows, dialogs and keys.
// Every page works without it. Nothing here makes HTML of text.
(() => {
  const tint = (name) => {
    const probe = document.createElement("i");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const c = getComputedStyle(probe).color;
    probe.remove();
    return c;
  };
  class Chart extends HTMLElement {
    static observedAttributes = ["data-points"];
    connectedCallback() {
      this.dark = matchMedia("(prefers-color-scheme: dark)");
      this.again = () => { this.plot?.destroy(); this.plot = null; this.draw(); };
      this.dark.addEventListener("change", this.again);
      this.size = new ResizeObserver(() => this.plot?.setSize({ width: this.clientWidth, height: 120 }));
      this.size.observe(this);
      this.draw();
    }
    disconnectedCallback() {
      this.dark?.removeEventListener("change", this.again);
      this.size?.disconnect();
      this.plot?.destroy();
      this.plot = null;
    }
    attributeChangedCallback() { if (this.isConnected) this.draw(); }
    draw() {
      if (!window.uPlot || !this.clientWidth) return;
      const ys = (this.dataset.points || "").split(";").map((s) => s.split(",").map(Number));
      const step = Number(this.dataset.step) || 1, late = this.dataset.from === "start" ? 0 : ys[0].length - 1;
      const data = [ys[0].map((_, i) => (i - late) * step), ...ys];
      if (this.plot?.series.length === data.length) return this.plot.setData(data);
      this.plot?.destroy();
      const soft = tint("--soft"), line = tint("--line");
      const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui" };
      const names = (this.dataset.tints || "accent,bad").split(","), tints = names.map((name) => tint(`--${name}`));
      const short = (n) => n >= 1e9 ? `${+(n / 1e9).toFixed(1)}G` : n >= 1e6 ? `${+(n / 1e6).toFixed(1)}M` : n >= 1e3 ? `${+(n / 1e3).toFixed(1)}k` : `${n}`;
      this.plot = new uPlot({
        width: this.clientWidth, height: 120, legend: { show: false }, cursor: { show: false },
        scales: { x: { time: false }, y: { range: (_, lo, hi) => [0, Math.max(1, hi * 1.1)] } },
        axes: [{ ...axis, size: 22 }, { ...axis, size: 44, values: (_, all) => all.map(short) }],
        series: [{}, ...ys.map((_, i) => ({ stroke: tints[i % tints.length], width: names[i % names.length] === "soft" ? 4 : 1.5, points: { show: false } }))],
      }, data, this);
    }
  }
  customElements.define("dun-chart", Chart);

  document.addEventListener("change", (e) => {
    const all = e.target.dataset?.all;
    if (all) for (const x of e.target.closest("form").querySelectorAll(`input[name="${all}"]`)) x.checked = e.target.checked;
  });
  document.addEventListener("click", (e) => {
    const id = e.target.closest?.("[data-dialog]")?.dataset.dialog;
    if (id) document.getElementById(id)?.showModal();
  });
  let went = 0;
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest?.("input, textarea, select, dialog[open]")) return;
    const to = { o: "/", e: "/events", a: "/audit" }[e.key];
    if (to && Date.now() - went < 1500) location.assign(to);
    else if (e.key === "g") went = Date.now();
    else if (e.key === "/") { e.preventDefault(); document.getElementById("find")?.focus(); }
    else if (e.key === "?") document.getElementById("keys")?.showModal();
  });
})();

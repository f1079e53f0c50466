"use strict";
// Words tell about themselves when they are pointed at, tapped or moved to; those of the attention panel show where they look.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;

  // One stop of the Tab key for a whole text; arrow keys move from word to word.
  function move(panel, show, hide) {
    const words = [...panel.querySelectorAll(".word")];
    const index = (word) => Number(word.dataset.index);
    let held = null;
    const hold = (word) => {
      held?.classList.remove("chosen");
      held = word;
      held?.classList.add("chosen");
    };
    words.forEach((word, place) => {
      word.tabIndex = place === 0 ? 0 : -1;
      word.addEventListener("pointerenter", () => held || show(index(word)));
      word.addEventListener("pointerleave", () => held || hide());
      word.addEventListener("click", () => {
        hold(held === word ? null : word);
        show(index(word));
      });
      word.addEventListener("focus", () => held || show(index(word)));
      word.addEventListener("blur", () => held || hide());
      word.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (event.key === "Escape") {
          hold(null);
          hide();
        } else if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          word.click();
        } else if (step && words[place + step]) {
          event.preventDefault();
          word.tabIndex = -1;
          words[place + step].tabIndex = 0;
          hold(null);
          words[place + step].focus();
        }
      });
    });
    return { words, held: () => (held ? index(held) : null) };
  }

  for (const panel of document.querySelectorAll("[data-told]")) {
    const told = read(panel.dataset.told);
    const output = panel.querySelector("output");
    const invitation = output.textContent;
    move(
      panel,
      (index) => (output.textContent = told[index] || invitation),
      () => (output.textContent = invitation),
    );
  }

  const panel = document.getElementById("looks");
  if (!panel) return;
  const data = read("looks-data");
  const numbers = (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Uint16Array.from({ length: bytes.length / 2 }, (_, place) => view.getUint16(2 * place, true));
  };
  const keys = numbers(data.keys);
  const weights = numbers(data.weights);
  const UNIT = 65535;
  const output = panel.querySelector("output");
  const list = document.getElementById("looked-at");
  const layer = document.getElementById("layer");
  const head = document.getElementById("head");
  data.choices.forEach(([name]) => layer.append(new Option(name, layer.length)));
  const { words, held } = move(panel, show, rest);

  function map() {
    const before = data.choices.slice(0, layer.selectedIndex).reduce((sum, [, heads]) => sum + heads.length, 0);
    return before + Math.max(0, head.selectedIndex);
  }

  function paint(shares) {
    const strongest = Math.max(...shares, 1e-9);
    for (const word of words) word.style.setProperty("--w", ((shares[word.dataset.index] ?? 0) / strongest).toFixed(3));
  }

  function ranked(shares, opening) {
    const order = shares.map((share, index) => [share, index]).sort((a, b) => b[0] - a[0]).slice(0, 8);
    output.textContent = opening;
    list.replaceChildren(
      ...order.filter(([share]) => share > 0).map(([share, index]) => {
        const item = document.createElement("li");
        const name = Object.assign(document.createElement("span"), { className: "name", textContent: data.words[index], dir: "auto" });
        const track = Object.assign(document.createElement("span"), { className: "track" });
        const bar = document.createElement("span");
        bar.style.width = percent(share).replace(" ", "");
        track.append(bar);
        item.append(name, track, Object.assign(document.createElement("span"), { className: "share", textContent: percent(share) }));
        return item;
      }),
    );
    paint(shares);
  }

  function show(index) {
    const start = (map() * data.words.length + index) * data.kept;
    const shares = new Array(data.words.length).fill(0);
    for (let place = start; place < start + data.kept; place += 1) shares[keys[place]] = weights[place] / UNIT;
    ranked(shares, `“${data.words[index]}” looks at`);
  }

  function rest() {
    ranked(data.received[map()].map((share) => share / UNIT), "Looked at most, on average over the words:");
  }

  function again() {
    if (held() === null) rest();
    else show(held());
  }

  function chooseLayer() {
    const heads = data.choices[layer.selectedIndex][1];
    head.replaceChildren(...heads.map((name) => new Option(name)));
    head.parentElement.hidden = heads.length < 2;
    again();
  }
  layer.addEventListener("change", chooseLayer);
  head.addEventListener("change", again);
  chooseLayer();
})();

"use strict";
// Draws each figure's chart in the reader's colours, again when those change, and saves what is seen.
(() => {
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const figures = [...document.querySelectorAll("figure")];
  const drawn = new Map();
  const COLUMN = 190; // pixels that a name in a legend takes

  const columns = (place) => Math.max(1, Math.floor(place.clientWidth / COLUMN));

  async function draw(figure) {
    const place = figure.querySelector(".chart");
    const specification = JSON.parse(figure.querySelector("script").textContent);
    const mode = dark.matches ? "dark" : "light";
    const config = structuredClone(themes[mode]);
    config.legend.columns = columns(place);
    drawn.get(figure)?.finalize();
    try {
      drawn.set(figure, await vegaEmbed(place, specification, { mode: "vega-lite", renderer: "svg", actions: false, config, tooltip: { theme: mode } }));
    } catch (error) {
      place.textContent = `This chart could not be drawn: ${error.message}`;
      console.error(error);
    }
  }

  // One drawing at a time: a change of colours may come while the last one is still under way.
  let drawing = Promise.resolve();
  let legendColumns = "";
  function drawAll() {
    drawing = drawing.then(async () => {
      delete document.documentElement.dataset.drawn;
      legendColumns = figures.map((figure) => columns(figure.querySelector(".chart"))).join();
      for (const figure of figures) await draw(figure);
      document.documentElement.dataset.drawn = dark.matches ? "dark" : "light";
    });
  }

  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (figures.map((figure) => columns(figure.querySelector(".chart"))).join() !== legendColumns) drawAll();
    }, 150);
  });
  dark.addEventListener("change", drawAll);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));

  for (const figure of figures) {
    for (const button of figure.querySelectorAll(".download button")) {
      button.addEventListener("click", async () => {
        const kind = button.dataset.type;
        const link = document.createElement("a");
        link.href = await drawn.get(figure).view.toImageURL(kind, kind === "png" ? 2 : 1);
        link.download = `${figure.id}.${kind}`;
        link.click();
      });
    }
  }
  drawAll();
})();

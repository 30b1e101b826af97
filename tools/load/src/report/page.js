// Shows the values under the pointer. The page is complete without it.
for (const plot of document.querySelectorAll(".plot[data-hover]")) {
  const { at, called, rows } = JSON.parse(plot.dataset.hover);
  const canvas = plot.querySelector(".canvas");
  if (!at.length || !canvas) continue;
  const make = (name, className, text) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const line = make("span", "at"), tip = make("span", "tip");
  const show = (event) => {
    const box = canvas.getBoundingClientRect();
    const place = (event.clientX - box.left) / box.width * 1000;
    let nearest = 0;
    at.forEach((other, index) => {
      if (Math.abs(other - place) < Math.abs(at[nearest] - place)) nearest = index;
    });
    tip.replaceChildren(make("b", "", called[nearest]));
    for (const { name, colour, values } of rows) {
      const row = make("div"), label = make("span");
      label.append(make("i", colour), name);
      row.append(label, make("span", "", values[nearest]));
      tip.append(row);
    }
    line.style.left = at[nearest] / 10 + "%";
    canvas.append(line, tip);
    const right = at[nearest] > 500;
    tip.style.left = right ? "auto" : `calc(${at[nearest] / 10}% + 10px)`;
    tip.style.right = right ? `calc(${100 - at[nearest] / 10}% + 10px)` : "auto";
  };
  plot.addEventListener("pointermove", show);
  plot.addEventListener("pointerdown", show);
  plot.addEventListener("pointerleave", () => { line.remove(); tip.remove(); });
}

// Whoever follows a link to a section wants to see it.
addEventListener("hashchange", () => {
  const section = document.getElementById(location.hash.slice(1));
  if (section instanceof HTMLDetailsElement) section.open = true;
});

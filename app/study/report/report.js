// Series on and off, and the name of what is pointed at; without it the page shows everything.
(() => {
  for (const button of document.querySelectorAll(".legend button")) {
    button.disabled = false;
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") === "false";
      button.setAttribute("aria-pressed", String(on));
      for (const mark of document.querySelectorAll("[data-series]"))
        if (mark.dataset.series === button.dataset.of) mark.classList.toggle("off", !on);
    });
  }
  const tip = document.getElementById("tip");
  const nearest = (event) => { // a finger is wider than a dot
    let best = null, least = 20;
    for (const mark of event.target.closest("svg")?.querySelectorAll("[data-name]:not(.off)") ?? []) {
      const box = mark.getBoundingClientRect();
      const far = Math.hypot(event.clientX - box.x - box.width / 2, event.clientY - box.y - box.height / 2);
      if (far < least) [best, least] = [mark, far];
    }
    return best;
  };
  const show = (event) => {
    const mark = event.target.closest?.("[data-name]") ?? (event.type === "click" ? nearest(event) : null);
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.name;
    tip.style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = (event.clientY > 60 ? event.clientY - tip.offsetHeight - 10 : event.clientY + 18) + "px";
  };
  document.addEventListener("pointermove", show);
  document.addEventListener("click", show);
})();

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark"
    : window.matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
document.getElementById("turn").addEventListener("click", () => {
  const svg = document.querySelector("svg.flame");
  const height = svg.viewBox.baseVal.height;
  for (const g of svg.querySelectorAll(".f")) {
    const rect = g.querySelector("rect"), text = g.querySelector("text");
    const y = height - Number(rect.getAttribute("y")) - 18;
    rect.setAttribute("y", y);
    text.setAttribute("y", y + 13);
  }
});

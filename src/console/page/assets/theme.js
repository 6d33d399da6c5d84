// The theme that was chosen here, before anything is drawn. Without a choice the browser's own preference holds.
"use strict";
document.documentElement.classList.add("js");
try {
  const theme = localStorage.getItem("seawall-theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is off: the browser's preference holds.
}

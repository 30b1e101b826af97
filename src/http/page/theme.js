// Sets the colours before the page is drawn; a classic script, because modules run after that.
'use strict';
try {
  const theme = localStorage.getItem('sluice-theme');
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // Storage is switched off: the colours are those of the system.
}

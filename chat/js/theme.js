// The chosen theme, before anything is drawn: the page must not flash. A plain script, because modules run later.
(() => {
  try {
    const theme = localStorage.getItem('perseid.theme');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch {
    // Storage is forbidden here: the system's theme it is.
  }
})();

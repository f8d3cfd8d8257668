// Sets the theme that the user chose, before the first paint.
try {
  const theme = localStorage.getItem('axon.theme');
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* storage is switched off: the theme of the system holds */ }

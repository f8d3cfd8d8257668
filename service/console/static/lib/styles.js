// The styles of the views that try, draw, watch and explain: they come with the first of these, before it is drawn.

await new Promise((done) => {
  const sheet = Object.assign(document.createElement('link'), { rel: 'stylesheet', href: new URL('../views.css', import.meta.url) });
  sheet.onload = done;
  sheet.onerror = done;
  document.head.append(sheet);
});

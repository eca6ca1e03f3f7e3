// Draws each Bokeh figure of the page from the JSON that stands beside it.
for (const source of document.querySelectorAll("script[data-figure]")) {
  window.Bokeh.embed.embed_item(JSON.parse(source.textContent));
}
